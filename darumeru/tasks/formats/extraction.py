"""daru_treeway_eval, extractive: how likely is each sentence of a document as one of its most important?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from darumeru.core.errors import UserError
from darumeru.core.message import Message
from darumeru.tasks.formats.few_shot import record_ids, reversed_before
from darumeru.tasks.formats.protocol import FormatOptions, RecordFormat
from darumeru.tasks.formats.summarization import joined
from darumeru.tasks.record import Record
from darumeru.tasks.sample import Sample
from darumeru.tasks.spec import TaskSpec
from darumeru.tasks.template import fill


@dataclass(frozen=True, kw_only=True)
class Options(FormatOptions):
    """instruction: with {text}. answer: opens the assistant message."""

    instruction: str
    answer: str


def samples(spec: TaskSpec, test: Sequence[Record], shots: Sequence[Record], wanted: int) -> list[Sample]:
    """One sample a sentence, clustered by document, always zero-shot. target: 1 when the sentence is in the summary.

    The whole assistant message (options.answer + sentence) is scored after the user's message, which is the same
    for all sentences of a document.
    """
    result = []
    for name, record in zip(record_ids(test), test, strict=True):
        document = joined(record, "src_sents")
        sentences = record.need("src_sents", list)
        chosen = record.need("extractive_summary", list)
        if not chosen or not all(type(index) is int and 0 <= index < len(sentences) for index in chosen):
            what = f"field `extractive_summary` must list indices of src_sents, 0 to {len(sentences) - 1}"
            raise UserError(what, record.where)
        text = fill(spec.options["instruction"], {"text": document}, record.where)
        conversation = reversed_before((), (Message("user", text),))
        for index, sentence in enumerate(sentences):
            target = int(index in chosen)
            meta = {"sentence": index, "sentences": len(sentences)}
            continuation = spec.options["answer"] + sentence
            result.append(Sample(spec.name, f"{name}-{index}", name, conversation, 0, target, meta, continuation))
    return result


FORMAT = RecordFormat(samples, Options)
