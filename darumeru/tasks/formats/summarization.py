"""Summaries: daru_treeway_eval (abstractive) and Gazeta."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from darumeru.core.errors import UserError
from darumeru.core.message import Message
from darumeru.tasks.formats.few_shot import chosen_shots, record_ids, reversed_before
from darumeru.tasks.formats.protocol import FormatOptions, RecordFormat
from darumeru.tasks.record import Record
from darumeru.tasks.sample import Conversation, Sample
from darumeru.tasks.spec import TaskSpec
from darumeru.tasks.template import fill


@dataclass(frozen=True, kw_only=True)
class Options(FormatOptions):
    """fields: of the record. instruction: with {text}. answer: opens the assistant message."""

    fields: Literal["sentences", "article"]
    instruction: str
    answer: str


def samples(spec: TaskSpec, test: Sequence[Record], shots: Sequence[Record], wanted: int) -> list[Sample]:
    """One sample a document."""
    examples = [_messages(spec, record, complete=True) for record in chosen_shots(spec, shots, wanted)]
    result = []
    for name, record in zip(record_ids(test), test, strict=True):
        conversation = reversed_before(examples, _messages(spec, record, complete=False))
        result.append(Sample(spec.name, name, name, conversation, len(examples), _texts(spec, record)[1]))
    return result


def joined(record: Record, name: str) -> str:
    """A field that lists sentences, as one text."""
    sentences = record.need(name, list)
    if not sentences or not all(isinstance(sentence, str) for sentence in sentences):
        raise UserError(f"field `{name}` must list sentences", record.where)
    text = " ".join(sentences)
    if not text.strip():
        raise UserError(f"field `{name}` is empty", record.where)
    return text


def _texts(spec: TaskSpec, record: Record) -> tuple[str, str]:
    if spec.options["fields"] == "article":
        return record.need("title", str) + "\n" + record.need_text("text"), record.need_text("summary")
    return joined(record, "src_sents"), joined(record, "summary_sents")


def _messages(spec: TaskSpec, record: Record, complete: bool) -> Conversation:
    document, summary = _texts(spec, record)
    answer: str = spec.options["answer"]
    instruction = fill(spec.options["instruction"], {"text": document}, record.where)
    return (Message("user", instruction), Message("assistant", f"{answer} {summary}" if complete else answer))


FORMAT = RecordFormat(samples, Options)
