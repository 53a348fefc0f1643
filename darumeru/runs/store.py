"""The store of a run: one append-only JSONL file a task, one writer, nothing finished is ever lost."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from darumeru.core.answer import Answer, fault
from darumeru.core.errors import UserError
from darumeru.core.files import full_disk_fails, json_line
from darumeru.core.row import StoredAnswer
from darumeru.core.shapes import check_shape, is_number

SAMPLES = "samples"
_LONGEST = 150
_MEND = "delete the line to ask that sample again"


def task_file(task: str) -> str:
    """File name of a task's lines, another for each name: "/" becomes "__" and ":" "@"; a name that cannot be read
    back from that, or is too long for a file, ends in a hash of itself. Nothing in a name can leave the folder."""
    stem = "".join(letter if letter.isprintable() and letter not in "\\" else "_" for letter in task)
    stem = stem.replace("/", "__").replace(":", "@")
    plain = stem.replace("__", "/").replace("@", ":") == task and not stem.startswith(".")
    if not plain or len(stem.encode()) > _LONGEST:
        kept = stem.lstrip(".").encode()[:_LONGEST].decode("utf-8", "ignore")
        stem = f"{kept}-{hashlib.sha256(task.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
    return f"{stem}.jsonl"


class SampleStore:
    """Appends answers to RUN/samples/<task>.jsonl under a lock; reads them back, dropping a torn last line.

    Use as a context manager for writing. A second writer on the same folder gets a UserError.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.folder = run / SAMPLES
        self._files: dict[str, IO[bytes]] = {}
        self._lock: IO[bytes] | None = None
        self.answered = 0  # samples whose own answer was appended

    def __enter__(self) -> SampleStore:
        try:
            with full_disk_fails(self.run):
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

    def append(self, row: StoredAnswer) -> None:
        """Append one answer; it is in the file (out of this process) when this returns. RunFailed on a full disk: the
        file then ends with its last whole line."""
        line = json_line(_to_values(row)).encode("utf-8")
        if row.task not in self._files:
            path = self.folder / task_file(row.task)
            _cut_torn_line(path)
            with full_disk_fails(self.run):
                self._files[row.task] = path.open("ab", buffering=0)
        file = self._files[row.task]
        size = os.fstat(file.fileno()).st_size
        try:
            with full_disk_fails(self.run):
                _write_whole(file, line)
        except BaseException:
            os.ftruncate(file.fileno(), size)
            raise
        self.answered += row.part is None

    def rows(self, task: str) -> Iterator[StoredAnswer]:
        """All answers of a task in file order. UserError names a line that is none."""
        path = self.folder / task_file(task)
        if not path.exists():
            return
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return
                try:
                    row = _from_values(json.loads(line))
                except RecursionError as error:
                    raise UserError("is not a sample: nested too deeply", f"{path}:{number}", _MEND) from error
                except ValueError as error:
                    raise UserError(f"is not a sample: {error}", f"{path}:{number}", _MEND) from error
                yield row


def _write_whole(file: IO[bytes], data: bytes) -> None:
    """A full disk may take a part of it: the next write then says why."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


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


def _to_values(row: StoredAnswer) -> dict[str, Any]:
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
    values = {
        "task": row.task,
        "id": row.id,
        "key": row.key,
        "prompt": row.prompt,
        "prompt_tokens": row.prompt_tokens,
        "num_fewshot": row.num_fewshot,
        "answer": answer,
        "seconds": round(row.answer.seconds, 6),
    }
    return values if row.part is None else values | {"part": row.part}


def _from_values(values: Any) -> StoredAnswer:
    """The answer of one parsed line; ValueError when it is none."""
    check_shape(values, _ROW)
    seconds, part = values.get("seconds", 0.0), values.get("part")
    if not is_number(seconds) or seconds < 0:
        raise ValueError("`seconds` must be a number of at least 0")
    if part is not None and (not isinstance(part, int) or isinstance(part, bool)):
        raise ValueError("`part` must be a whole number")
    return StoredAnswer(
        task=values["task"],
        id=values["id"],
        key=values["key"],
        prompt=values["prompt"],
        prompt_tokens=values["prompt_tokens"],
        num_fewshot=values["num_fewshot"],
        answer=_answer(values["answer"], float(seconds)),
        part=part,
    )


_ROW = {"task": str, "id": str, "key": str, "prompt": str, "prompt_tokens": int, "num_fewshot": int, "answer": dict}


def _answer(found: Mapping[str, Any], seconds: float) -> Answer:
    logprobs, tokens, extra = found.get("logprobs"), found.get("tokens"), found.get("extra", {})
    if logprobs is not None and not isinstance(logprobs, list):
        raise ValueError("`logprobs` must be a list")
    if tokens is not None and not (isinstance(tokens, list) and all(type(one) is int for one in tokens)):
        raise ValueError("`tokens` must be whole numbers")
    if not isinstance(extra, dict) or not all(map(is_number, extra.values())):
        raise ValueError("`extra` must be numbers under names")
    answer = Answer(
        probabilities=found.get("probabilities"),
        logprobs=None if logprobs is None else tuple(logprobs),
        text=found.get("text"),
        tokens=None if tokens is None else tuple(tokens),
        finish_reason=found.get("finish_reason"),
        seconds=seconds,
        extra=extra,
    )
    if wrong := fault(answer):
        raise ValueError(wrong)
    return answer
