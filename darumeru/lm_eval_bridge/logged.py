"""Stored answers as the samples that lm-eval logs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from darumeru.core.row import SampleRow
from darumeru.lm_eval_bridge.instances import plain
from darumeru.lm_eval_bridge.scoring import Outcome

Logged = dict[str, Any]


def logged_documents(outcome: Outcome, rows: Sequence[SampleRow]) -> Iterator[Logged]:
    """One line a document and filter of an lm-eval task; only documents that were answered and processed."""
    asked = _arguments(rows)
    for number, name, values in outcome.values:
        instances = outcome.documents[number]
        arguments = [asked.get((number, place), instance.args) for place, instance in enumerate(instances)]
        doc = plain(instances[0].doc)
        yield _line(
            number,
            doc,
            plain(outcome.task.doc_to_target(instances[0].doc)),
            arguments,
            [instance.resps for instance in instances],
            [instance.filtered_resps[name] for instance in instances],
            name,
            {metric: plain(value) for metric, value in values.items()},
        )


def _arguments(rows: Sequence[SampleRow]) -> dict[tuple[int, int], tuple[Any, ...]]:
    """(document, place) -> arguments as they were asked; those of rolling texts are not stored."""
    found: dict[tuple[int, int], tuple[Any, ...]] = {}
    for row in rows:
        number, meta = int(row.meta["document"]), row.meta
        if "arguments" in meta:
            found[number, meta["instances"][0]] = (row.prompt, meta["arguments"])
        elif "continuations" in meta:
            for place, rest in zip(meta["instances"], meta["continuations"], strict=True):
                found[number, place] = (row.prompt, rest)
    return found


def logged_samples(rows: Sequence[SampleRow], ends: Callable[[SampleRow], Sequence[str]]) -> Iterator[Logged]:
    """One line a sample of one of Darumeru's own tasks; metrics are those of this sample. ends: texts at which its
    generated answer ended."""
    for number, row in enumerate(rows):
        doc = {"id": row.id, "cluster": row.cluster, **plain(row.meta)}
        arguments, responses = _asked(row, ends(row))
        flat = [one[0] for one in responses]
        yield _line(number, doc, plain(row.target), arguments, responses, flat, "none", dict(row.metrics))


def _asked(row: SampleRow, ends: Sequence[str]) -> tuple[list[tuple[Any, ...]], list[list[Any]]]:
    answer = row.answer
    if answer.probabilities is not None:
        best = max(answer.probabilities.values(), default=0.0)
        arguments: list[tuple[Any, ...]] = [(row.prompt, label) for label in answer.probabilities]
        logs = [(math.log(p) if p > 0 else -math.inf, p == best) for p in answer.probabilities.values()]
        return arguments, [[one] for one in logs]
    if answer.logprobs is not None:
        greedy = bool(answer.extra.get("greedy", 0.0))
        return [(row.prompt, row.id)], [[(math.fsum(answer.logprobs), greedy)]]
    return [(row.prompt, {"until": list(ends), "do_sample": False})], [[answer.text]]


def _line(
    number: int,
    doc: Any,
    target: Any,
    arguments: Sequence[Any],
    responses: Sequence[Any],
    filtered: Sequence[Any],
    name: str,
    metrics: Mapping[str, Any],
) -> Logged:
    from lm_eval.utils import hash_string

    return {
        "doc_id": number,
        "doc": doc,
        "target": target,
        "arguments": arguments,
        "resps": list(responses),
        "filtered_resps": list(filtered),
        "filter": name,
        "metrics": list(metrics),
        "doc_hash": hash_string(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": hash_string(str(arguments[0][0])),
        "target_hash": hash_string(str(target)),
        **metrics,
    }
