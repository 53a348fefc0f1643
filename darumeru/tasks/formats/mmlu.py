"""nlpcoreteam MMLU, Russian and English: questions of 57 subjects, examples of the same subject."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from darumeru.core.errors import UserError
from darumeru.core.message import Message
from darumeru.tasks.formats.protocol import FormatOptions, RecordFormat
from darumeru.tasks.record import Record
from darumeru.tasks.sample import Conversation, Sample
from darumeru.tasks.spec import TaskSpec

LETTERS = ("A", "B", "C", "D")


@dataclass(frozen=True, kw_only=True)
class Options(FormatOptions):
    """language: which question_ and choices_ fields. headline: with {subject}. answer: opens the assistant message.
    zero_shot_headline: whether it stands without examples too. subjects: how a subject is written in the headline;
    default: its id with spaces."""

    language: Literal["ru", "en"]
    headline: str
    answer: str
    zero_shot_headline: bool
    subjects: Mapping[str, str] = field(default_factory=dict)


def samples(spec: TaskSpec, test: Sequence[Record], shots: Sequence[Record], wanted: int) -> list[Sample]:
    """One sample a question. Examples come first in order 0..k-1, the headline stands on the first message only."""
    language = spec.options["language"]
    examples: dict[str, list[Record]] = defaultdict(list)
    for record in shots:
        examples[record.need("subject", str)].append(record)
    result = []
    counts: dict[str, int] = defaultdict(int)
    for record in test:
        subject = record.need("subject", str)
        own = examples[subject][:wanted]
        name = f"{subject}-{counts[subject]}"
        counts[subject] += 1
        target = _letter(record)
        _question(spec, record, language)
        conversation = _conversation(spec, own, record, language)
        result.append(Sample(spec.name, name, name, conversation, len(own), target, {"subject": subject}))
    return result


def _conversation(
    spec: TaskSpec, examples: Sequence[Record], query: Record, language: str
) -> Callable[[int], Conversation]:
    def conversation(k: int) -> Conversation:
        messages: list[Message] = []
        for record in (*examples[:k], query):
            headline = _headline(spec, query) if not messages and (k or spec.options["zero_shot_headline"]) else ""
            answer = spec.options["answer"] + ("" if record is query else f" {_letter(record)}")
            messages.append(Message("user", headline + _question(spec, record, language)))
            messages.append(Message("assistant", answer))
        return tuple(messages)

    return conversation


def _headline(spec: TaskSpec, record: Record) -> str:
    subject: str = record.need("subject", str)
    written = spec.options.get("subjects", {}).get(subject, subject.replace("_", " "))
    return str(spec.options["headline"]).replace("{subject}", written)


def _question(spec: TaskSpec, record: Record, language: str) -> str:
    question: str = record.need(f"question_{language}", str)
    choices = record.need(f"choices_{language}", list)
    if len(choices) != len(LETTERS):
        raise UserError(f"field `choices_{language}` must hold four choices, holds {len(choices)}", record.where)
    return question + "".join(f"\n{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=True))


def _letter(record: Record) -> str:
    answer = record.need("answer", int, str)
    letter = LETTERS[answer] if isinstance(answer, int) and 0 <= answer < len(LETTERS) else answer
    if letter not in LETTERS:
        raise UserError(f"field `answer` is {answer!r}, not 0 to 3 or A to D", record.where)
    return str(letter)


FORMAT = RecordFormat(samples, Options)
