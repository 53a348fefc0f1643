"""A Darumeru sample in lm-eval's words: the requests that ask it, and the row that their responses make.

lm-eval passes texts, never token ids. `differences` says what that changes; everything else is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from darumeru.core.answer import Answer
from darumeru.core.row import SampleRow
from darumeru.tasks.sample import Sample
from darumeru.tasks.spec import TaskSpec

# Metrics over tokens, which here count characters.
TOKEN_METRICS = frozenset({"length_ratio", "original_length_ratio", "token_copy_rate"})


@dataclass(frozen=True)
class Line:
    """One lm-eval request: its type and its arguments."""

    kind: str
    arguments: tuple[Any, ...]


def lines(spec: TaskSpec, sample: Sample, prompt: str, shortest: int, stop: Sequence[str] = ()) -> list[Line]:
    """The requests that ask one sample after `prompt`. shortest: characters of the shortest continuation that stands
    against this one (extractive summaries), 0 when there is none. stop: texts that end a generated answer."""
    if spec.method == "generate":
        settings = {
            "until": list(stop),
            "max_gen_toks": spec.max_new_tokens,
            "do_sample": False,
            "temperature": 0.0,
        }
        return [Line("generate_until", (prompt, settings))]
    if spec.method == "loglikelihood":
        return [Line("loglikelihood", (prompt, (sample.continuation or "")[: shortest or None]))]
    space = "" if prompt.endswith(("\n", " ")) else " "
    return [Line("loglikelihood", (prompt, space + choice)) for choice in sample.choices or spec.choices]


def row(spec: TaskSpec, sample: Sample, shots: int, responses: Sequence[Any]) -> SampleRow:
    """The answered sample. responses: one for each of its `lines`: (log-likelihood, is greedy) or a text."""
    if spec.method == "generate":
        text = str(responses[0])
        answer = Answer(text=text, tokens=tuple(map(ord, text.strip())), finish_reason="stop")
    elif spec.method == "loglikelihood":
        answer = Answer(logprobs=(float(responses[0][0]),))
    else:
        values = [math.exp(float(likelihood)) for likelihood, _ in responses]
        answer = Answer(probabilities=dict(zip(sample.choices or spec.choices, values, strict=True)))
    return SampleRow(
        task=spec.name,
        id=sample.id,
        cluster=sample.cluster,
        key="",
        prompt="",
        prompt_tokens=0,
        target=sample.target,
        answer=answer,
        meta=dict(sample.meta) | _lengths(spec, sample),
        num_fewshot=shots,
    )


def _lengths(spec: TaskSpec, sample: Sample) -> dict[str, Any]:
    if not spec.copies_reference:
        return {}
    characters = [ord(letter) for letter in sample.target.strip()]
    return {"reference_ids": characters, "reference_tokens": len(characters)}


def differences(spec: TaskSpec) -> tuple[str, ...]:
    """What stock lm-eval measures otherwise than `darumeru run` in this task, as sentences."""
    found = []
    if spec.method == "multiple_choice":
        found.append(
            "an answer's probability is that of all its tokens with a space before it, not the larger one of those "
            "with and without the space"
        )
    if spec.format == "document":
        found.append("a text that is longer than the model's context is cut on the left, instead of scored in windows")
    elif spec.method == "loglikelihood":
        found.append("candidates are cut to the characters of the shortest one, not to its tokens")
    if TOKEN_METRICS & set(spec.metrics):
        found.append("lengths are counted in characters, not in tokens")
    if spec.few_shot:
        found.append("a prompt that is too long is cut on the left by lm-eval's model, instead of losing examples")
    if spec.format == "dialogue":
        found.append("a dialogue that is too long is cut on the left by lm-eval's model, instead of losing old turns")
    return tuple(found)
