"""The store of a run: one append-only JSONL file a task, one writer, nothing finished is ever lost."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from darumeru.core.answer import Answer
from darumeru.core.errors import UserError
from darumeru.core.files import json_line
from darumeru.core.row import StoredAnswer

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

    def append(self, row: StoredAnswer) -> None:
        """Append one answer; it is in the file (out of this process) when this returns."""
        if row.task not in self._files:
            path = self.folder / task_file(row.task)
            _cut_torn_line(path)
            self._files[row.task] = path.open("ab", buffering=0)
        left = memoryview(json_line(_to_values(row)).encode("utf-8"))
        while left:
            # A full disk may take a part of it: the next write then says why.
            left = left[self._files[row.task].write(left) :]

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
                    yield _from_values(json.loads(line))
                except KeyError as error:
                    raise UserError(f"is not a sample: no {error}", f"{path}:{number}", _MEND) from error
                except (ValueError, TypeError, AttributeError) as error:
                    raise UserError(f"is not a sample: {error}", f"{path}:{number}", _MEND) from error


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


def _from_values(values: Mapping[str, Any]) -> StoredAnswer:
    """The answer of one parsed line; KeyError, TypeError or ValueError when it is none."""
    for name, kinds in _FIELDS.items():
        if not isinstance(values[name], kinds) or isinstance(values[name], bool):
            raise ValueError(f"`{name}` must be {_SAID[kinds]}, not {json.dumps(values[name])[:40]}")
    part = values.get("part")
    if part is not None and not isinstance(part, int):
        raise ValueError("`part` must be a whole number")
    return StoredAnswer(
        task=values["task"],
        id=values["id"],
        key=values["key"],
        prompt=values["prompt"],
        prompt_tokens=values["prompt_tokens"],
        num_fewshot=values["num_fewshot"],
        answer=_answer(values["answer"], values.get("seconds", 0.0)),
        part=part,
    )


_FIELDS: Mapping[str, type] = {
    "task": str,
    "id": str,
    "key": str,
    "prompt": str,
    "prompt_tokens": int,
    "num_fewshot": int,
    "answer": dict,
}
_SAID = {str: "text", int: "a whole number", dict: "a mapping"}


def _answer(found: Mapping[str, Any], seconds: float) -> Answer:
    probabilities, logprobs, text = found.get("probabilities"), found.get("logprobs"), found.get("text")
    if (probabilities is not None) + (logprobs is not None) + (text is not None) != 1:
        raise ValueError("`answer` must have one of probabilities, logprobs and text")
    if probabilities is not None and (not probabilities or not all(_is_probability(p) for p in probabilities.values())):
        raise ValueError("`probabilities` must be numbers from 0 to 1")
    if logprobs is not None and not all(_is_number(value) and value <= 1e-4 for value in logprobs):
        raise ValueError("`logprobs` must be numbers of at most 0")
    if text is not None and not isinstance(text, str):
        raise ValueError("`text` must be text")
    return Answer(
        probabilities=probabilities,
        logprobs=tuple(logprobs) if logprobs is not None else None,
        text=text,
        tokens=tuple(found["tokens"]) if "tokens" in found else None,
        finish_reason=found.get("finish_reason"),
        seconds=seconds,
        extra=found.get("extra", {}),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _is_probability(value: Any) -> bool:
    # Rounding can carry a certain answer a little above one.
    return _is_number(value) and 0 <= value <= 1 + 1e-4
