"""The record format of RefalMachine/darumeru: messages, inputs, outputs, meta."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from darumeru.core.errors import UserError
from darumeru.tasks.formats.few_shot import chosen_shots, record_ids, rendered_messages, reversed_before
from darumeru.tasks.formats.protocol import FormatOptions, RecordFormat
from darumeru.tasks.record import Record
from darumeru.tasks.sample import Sample
from darumeru.tasks.spec import TaskSpec


@dataclass(frozen=True, kw_only=True)
class Options(FormatOptions):
    """target: "label" (a choice), "label_first" (a text that begins with one), "text", "segments" (MultiQ: list of
    objects with `segment`) or "reference" (inputs.text, for copying); default: "label" for choices, else "text". swap:
    two fields that are exchanged in a second sample, with the label. cluster: the meta field whose equal values belong
    together. longest: characters of inputs.text; records with more are left out."""

    target: Literal["label", "label_first", "text", "segments", "reference"] | None = None
    swap: tuple[str, str] | None = None
    cluster: str | None = None
    longest: int | None = None


def samples(spec: TaskSpec, test: Sequence[Record], shots: Sequence[Record], wanted: int) -> list[Sample]:
    """One sample a record; with options.swap two: as it is, and with the fields and the label exchanged."""
    if longest := spec.options.get("longest"):
        test = [record for record in test if len(record.need_text("inputs.text")) <= longest]
    examples = [rendered_messages(record) for record in chosen_shots(spec, shots, wanted)]
    result: list[Sample] = []
    for name, record in zip(record_ids(test), test, strict=True):
        target = _target(spec, record)
        meta = dict(record.values.get("meta") or {})
        cluster = str(meta.get(spec.options["cluster"], name)) if "cluster" in spec.options else name
        conversation = reversed_before(examples, rendered_messages(record))
        sample = Sample(spec.name, name, cluster, conversation, len(examples), target, meta)
        if "swap" not in spec.options:
            result.append(sample)
            continue
        exchanged = reversed_before(examples, rendered_messages(_swapped(spec, record)))
        result.append(replace(sample, meta=meta | {"order": "given"}))
        result.append(
            replace(
                sample,
                id=f"{name}-swapped",
                conversation=exchanged,
                target=_other(spec, target),
                meta=meta | {"order": "swapped"},
            )
        )
    return result


def _target(spec: TaskSpec, record: Record) -> Any:
    kind = spec.options.get("target", "label" if spec.method == "multiple_choice" else "text")
    if kind == "reference":
        return record.need_text("inputs.text")
    if kind == "segments":
        outputs = record.need("outputs", list, str)
        if isinstance(outputs, str):
            return [record.need_text("outputs")]
        segments = [part.get("segment") if isinstance(part, dict) else None for part in outputs]
        if not segments or not all(isinstance(segment, str) and segment.strip() for segment in segments):
            raise UserError("field `outputs` must list objects with a `segment` that is not empty", record.where)
        return segments
    outputs = record.need_text("outputs")
    usable = {"label": outputs in spec.choices, "label_first": outputs.startswith(spec.choices)}
    if not usable.get(kind, True):
        raise UserError(f"field `outputs` is {outputs!r}, not one of {', '.join(spec.choices)}", record.where)
    return outputs


def _swapped(spec: TaskSpec, record: Record) -> Record:
    first, second = spec.options["swap"]
    inputs = dict(record.need("inputs", dict))
    inputs[first], inputs[second] = record.need(f"inputs.{second}"), record.need(f"inputs.{first}")
    return Record({**record.values, "inputs": inputs}, record.where)


def _other(spec: TaskSpec, target: str) -> str:
    first, second = spec.choices
    return second if target == first else first


FORMAT = RecordFormat(samples, Options)
