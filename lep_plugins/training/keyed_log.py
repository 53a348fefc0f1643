"""An append-only JSONL file of results by key, so that nothing is computed twice after a kill."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from darumeru.core.errors import UserError
from darumeru.core.files import write_atomically

SCHEMA = 1


class KeyedLog:
    """Lines {"key": ..., ...} under a header line that says what work they belong to.

    job: what the results depend on beside their key, as JSON values. A file of another job is refused; a last line
    cut short by a kill is dropped. Used as a context manager.
    """

    def __init__(self, path: Path, job: Mapping[str, Any]) -> None:
        self.path = path
        self.job = {"schema": SCHEMA, **json.loads(json.dumps(job))}
        self.found: dict[str, dict[str, Any]] = {}
        self._file: IO[bytes] | None = None

    def __enter__(self) -> KeyedLog:
        """Read what is there. UserError: a file of another job, or a broken line that is not the last."""
        if not self.path.is_file():
            write_atomically(self.path, json.dumps(self.job, ensure_ascii=False) + "\n")
        whole = self._read()
        self._file = self.path.open("r+b")
        self._file.truncate(whole)
        self._file.seek(whole)
        return self

    def _read(self) -> int:
        """Fill `found`; the number of bytes that whole lines take."""
        whole = 0
        with self.path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                if not raw.endswith(b"\n"):
                    break
                try:
                    value = json.loads(raw)
                except ValueError as error:
                    raise UserError("a broken line", f"{self.path}, line {number}", "remove the file") from error
                if number == 1:
                    self._check(value)
                else:
                    self.found[str(value["key"])] = value
                whole += len(raw)
        return whole

    def _check(self, header: Any) -> None:
        if header != self.job:
            old = header if isinstance(header, dict) else {}
            changed = sorted(name for name in {*old, *self.job} if old.get(name) != self.job.get(name))
            mend = "remove the file or give another output folder"
            raise UserError(f"holds results of another job ({', '.join(changed)} differ)", str(self.path), mend)

    def add(self, key: str, value: Mapping[str, Any]) -> None:
        """Append one result; it survives a kill of the process."""
        assert self._file is not None
        record = {"key": key, **value}
        self._file.write((json.dumps(record, ensure_ascii=False) + "\n").encode())
        self._file.flush()
        self.found[key] = record

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._file is not None
        self._file.close()
