"""The samples of a report: a small index of all of them, and their texts in compressed chunks opened on demand."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from darumeru.core.row import SampleRow
from darumeru.leaderboard.report_tokens import NO_TOKENS, TokenMarker
from darumeru.leaderboard.svg import shorten
from darumeru.metrics import metric as metric_named
from darumeru.metrics.choice import chosen
from darumeru.runs.run import Run
from darumeru.runs.stored_plan import StoredTask, read_plan, read_questions

UNPARSED, EMPTY, TRUNCATED = 1, 2, 4
CHUNK_SAMPLES = 200
CHUNK_BYTES = 400_000
PREVIEW = 60


@dataclass
class Answers:
    """Answers of a task, without their texts. values: the sample's part of the task's score, in [0, 1], None where a
    single sample has none. flags: sum of UNPARSED, EMPTY, TRUNCATED. answers: beginnings."""

    values: list[float | None] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)


@dataclass
class TaskIndex(Answers):
    """A task's samples without their texts, in the order of the plan; what the list, the filters and deep links need.

    targets: beginnings. counts: samples in each chunk. first: number of the first chunk. absent: ids that were not
    answered.
    """

    name: str = ""
    first: int = 0
    ids: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Samples:
    """tasks: their indexes. chunks: base64 of gzipped JSON arrays of samples, numbered from 0. with_tokens: samples
    with token boundaries of prompt or answer."""

    tasks: Sequence[TaskIndex]
    chunks: Sequence[str]
    with_tokens: int

    @property
    def count(self) -> int:
        return sum(len(task.ids) for task in self.tasks)


def read_samples(run: Run, marker: TokenMarker = NO_TOKENS) -> Samples:
    """All answered samples of a run, those of private tasks aside; one chunk of texts is held in memory at a time,
    beside the compressed ones."""
    with_tokens = 0
    chunks: list[str] = []
    tasks: list[TaskIndex] = []
    for stored in read_plan(run.path):
        if is_private(stored):
            continue
        index = TaskIndex(name=stored.name, first=len(chunks))
        tasks.append(index)
        rows = list(run.rows(stored.name))
        known = {row.id for row in rows}
        asked = (one.id for one in read_questions(run.path, stored))
        index.absent = [name for name in (*asked, *stored.too_long) if name not in known]
        shares = marker.for_task(len(rows))
        for batch in batches(rows):
            documents = []
            for row in batch:
                add(index, stored, row)
                tokens = shares.mark(row)
                with_tokens += bool(tokens)
                documents.append(document(row, tokens))
            index.counts.append(len(batch))
            chunks.append(pack(documents))
    return Samples(tasks, chunks, with_tokens)


def is_private(task: StoredTask) -> bool:
    """Whether the task's texts are shown on no page."""
    return bool(task.asking.get("options", {}).get("private"))


def pack(value: Any) -> str:
    """base64 of the gzipped JSON; without a time in it, so that the same run gives the same file."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:
        data = json.dumps(value, separators=(",", ":"), allow_nan=False).encode()  # lone surrogates as \ud...
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode()


def batches(rows: Sequence[SampleRow]) -> Iterator[list[SampleRow]]:
    batch: list[SampleRow] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += 2 * len(row.prompt) + len(row.answer.text or "") + 600
        if len(batch) == CHUNK_SAMPLES or size > CHUNK_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def add(index: TaskIndex, task: StoredTask, row: SampleRow) -> None:
    index.ids.append(row.id)
    add_answer(index, task, row)
    index.targets.append(_preview(row.target))


def add_answer(index: Answers, task: StoredTask, row: SampleRow) -> None:
    value = sample_score(task, row)
    index.values.append(None if value is None else round(value, 4))
    index.flags.append(flags(task, row))
    index.answers.append(_preview(_said(row)))


def sample_score(task: StoredTask, row: SampleRow) -> float | None:
    """The sample's part of the best that it could give to the task's score; the mean over those of its metrics that a
    single sample has, None when it has none of them. Unbounded numbers (likelihoods, other sources' metrics past 1)
    have no best."""
    parts = [_part(task, name, row) for name in task.score if name in row.metrics]
    known = [part for part in parts if part is not None]
    return sum(known) / len(known) if known and len(known) == len(parts) else None


def _part(task: StoredTask, name: str, row: SampleRow) -> float | None:
    value = row.metrics[name]
    if task.source:
        return value if 0 <= value <= 1 else None
    metric = metric_named(name)
    if metric.measure.low is None or metric.measure.high is None:
        return None
    most, least = metric.most(row), metric.measure.low
    return (value - least) / (most - least) if metric.measure.sign > 0 else (most - value) / (most - least)


def flags(task: StoredTask, row: SampleRow) -> int:
    """What went wrong with an answer; tasks of other sources do not say what they cannot read."""
    found = 0
    if not task.source and metric_named(task.score[0]).unparsed(row):
        found |= UNPARSED
    if row.answer.text is not None and not row.answer.text.strip():
        found |= EMPTY
    return found | (TRUNCATED if row.answer.finish_reason == "length" else 0)


def _said(row: SampleRow) -> str:
    if row.answer.probabilities is not None:
        label = chosen(row)
        return f"{label} ({row.answer.probabilities[label]:.3g})" if label else ""
    if row.answer.logprobs is not None:
        return f"Σ {sum(row.answer.logprobs):.2f}"
    return row.answer.text or ""


def _preview(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shorten(" ".join(text[: 4 * PREVIEW].split()), PREVIEW)


def document(row: SampleRow, tokens: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    if row.answer.probabilities is not None:
        answer = {"probabilities": list(row.answer.probabilities.items()), "chosen": chosen(row)}
    elif row.answer.logprobs is not None:
        answer = {"logprobs": list(row.answer.logprobs)}
    else:
        answer = {"text": row.answer.text or "", "finish": row.answer.finish_reason}
        answer["count"] = len(row.answer.tokens or ())
    return {
        "id": row.id,
        "cluster": row.cluster,
        "key": row.key,
        "prompt": row.prompt,
        "prompt_tokens": row.prompt_tokens,
        "shots": row.num_fewshot,
        "target": row.target,
        "answer": answer | ({"extra": dict(row.answer.extra)} if row.answer.extra else {}),
        "metrics": dict(row.metrics),
        "meta": dict(row.meta),
        "seconds": row.answer.seconds,
    } | ({"tokens": tokens} if tokens else {})
