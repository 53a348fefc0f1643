"""The store of a run: one append-only JSONL file a task, one writer, nothing finished is ever lost."""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from darumeru.core.answer import Answer
from darumeru.core.errors import UserError
from darumeru.core.row import SampleRow

SAMPLES = "samples"


def sample_file(task: str) -> str:
    """File name of a task's samples: "/" and ":" become "__", and nothing in a name can leave the folder."""
    name = task.replace("/", "__").replace("\\", "__").replace(":", "__")
    if name.startswith(".") or "\0" in name:
        raise UserError(f"task name {task!r} cannot be a file name")
    return f"{name}.jsonl"


class SampleStore:
    """Appends rows to RUN/samples/<task>.jsonl under a lock; reads them back, dropping a torn last line.

    Use as a context manager for writing. A second writer on the same folder gets a UserError.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.folder = run / SAMPLES
        self._files: dict[str, IO[bytes]] = {}
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> SampleStore:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.run / ".lock").open("ab")
        except OSError as error:
            raise UserError(f"cannot be written: {error.strerror}", str(self.run), "choose another --output") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise UserError(
                "another darumeru process is writing to this folder",
                str(self.run),
                "wait for it or choose another --output",
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()
        if self._lock:
            self._lock.close()
            self._lock = None

    def append(self, row: SampleRow) -> None:
        """Append one row; it is in the file (out of this process) when this returns."""
        if row.task not in self._files:
            path = self.folder / sample_file(row.task)
            _cut_torn_line(path)
            self._files[row.task] = path.open("ab", buffering=0)
        self._files[row.task].write((row_to_json(row) + "\n").encode("utf-8"))

    def rows(self, task: str) -> Iterator[SampleRow]:
        """All rows of a task in file order."""
        path = self.folder / sample_file(task)
        if not path.exists():
            return
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return
                try:
                    yield row_from_json(json.loads(line))
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise UserError(
                        f"is not a sample: {error}", f"{path}:{number}", "delete the line to ask that sample again"
                    ) from error


def _cut_torn_line(path: Path) -> None:
    """A crash can leave half a line at the end; cut it off so that the next row starts on a line of its own."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) == b"\n":
            return
        content = path.read_bytes()
        file.truncate(content.rfind(b"\n") + 1)


def row_to_json(row: SampleRow) -> str:
    """One line of samples/<task>.jsonl."""
    answer: dict[str, Any] = {}
    if row.answer.probabilities is not None:
        answer = {"probabilities": dict(row.answer.probabilities)}
    elif row.answer.logprobs is not None:
        answer = {"logprobs": list(row.answer.logprobs)}
    else:
        answer = {
            "text": row.answer.text,
            "tokens": list(row.answer.tokens or ()),
            "finish_reason": row.answer.finish_reason,
        }
    if row.answer.extra:
        answer["extra"] = dict(row.answer.extra)
    return json.dumps(
        {
            "task": row.task,
            "id": row.id,
            "cluster": row.cluster,
            "fingerprint": row.fingerprint,
            "prompt": row.prompt,
            "prompt_tokens": row.prompt_tokens,
            "num_fewshot": row.num_fewshot,
            "target": row.target,
            "answer": answer,
            "metrics": dict(row.metrics),
            "meta": dict(row.meta),
            "seconds": round(row.answer.seconds, 6),
        },
        ensure_ascii=False,
        allow_nan=False,
    )


def row_from_json(values: Mapping[str, Any]) -> SampleRow:
    """The row of one parsed line; KeyError, TypeError or ValueError when it is not one."""
    found = values["answer"]
    probabilities, logprobs = found.get("probabilities"), found.get("logprobs")
    if probabilities is not None and not all(math.isfinite(p) for p in probabilities.values()):
        raise ValueError("probabilities must be finite")
    answer = Answer(
        probabilities=probabilities,
        logprobs=tuple(logprobs) if logprobs is not None else None,
        text=found.get("text"),
        tokens=tuple(found["tokens"]) if "tokens" in found else None,
        finish_reason=found.get("finish_reason"),
        seconds=values.get("seconds", 0.0),
        extra=found.get("extra", {}),
    )
    return SampleRow(
        task=values["task"],
        id=values["id"],
        cluster=values["cluster"],
        fingerprint=values["fingerprint"],
        prompt=values["prompt"],
        prompt_tokens=values["prompt_tokens"],
        target=values["target"],
        answer=answer,
        meta=values.get("meta", {}),
        metrics=values.get("metrics", {}),
        num_fewshot=values.get("num_fewshot", 0),
    )
