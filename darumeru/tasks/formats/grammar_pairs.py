"""Minimal pairs: a right sentence and one with a mistake (RuParam, RuBLiMP)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from darumeru.core.message import Message
from darumeru.tasks.formats.few_shot import reversed_before
from darumeru.tasks.formats.protocol import FormatOptions, RecordFormat
from darumeru.tasks.record import Record
from darumeru.tasks.sample import Conversation, Sample
from darumeru.tasks.spec import TaskSpec

INVERTED = "i"


@dataclass(frozen=True, kw_only=True)
class Options(FormatOptions):
    """good, bad: fields of the two sentences; `order: i` in a record says that they are exchanged. ask: "both_orders"
    (which is right, each pair in both orders), "choice" (which is wrong, each pair in one order) or "classify" (is this
    one wrong, each sentence alone). instruction: with {first} and {second}, or {sentence}. answer: opens the assistant
    message, "" for none. first_test: rows before it are examples and never asked; None: the first k rows of each
    configuration are."""

    good: str
    bad: str
    ask: Literal["both_orders", "choice", "classify"]
    instruction: str
    answer: str = ""
    first_test: int | None = None


def samples(spec: TaskSpec, test: Sequence[Record], shots: Sequence[Record], wanted: int) -> list[Sample]:
    """Two samples a pair, one of them for "choice". Configurations take turns, so that a limit takes all of them."""
    by_config: dict[str, list[tuple[int, Record]]] = {}
    for row, record in enumerate(test):
        by_config.setdefault(str(record.values.get("config", "")), []).append((row, record))
    asked = [_of_config(spec, name, rows, wanted if spec.few_shot else 0) for name, rows in by_config.items()]
    return [sample for turn in zip_longest(*asked) for pair in turn if pair for sample in pair]


def _of_config(spec: TaskSpec, config: str, rows: Sequence[tuple[int, Record]], wanted: int) -> list[list[Sample]]:
    first = spec.options.get("first_test")
    # At least half of the pairs are asked, however few there are.
    taken = min(wanted if first is None else first, len(rows) // 2)
    examples = [
        _messages(spec, record, odd=bool(number % 2), complete=True)
        for number, (_, record) in enumerate(rows[: min(wanted, taken)])
    ]
    return [_samples(spec, config, examples, *one, number) for number, one in enumerate(rows[taken:])]


def _samples(
    spec: TaskSpec, config: str, examples: Sequence[Conversation], row: int, record: Record, number: int
) -> list[Sample]:
    """number: of the pair among those of its configuration that are asked."""

    def sample(name: str, odd: bool) -> Sample:
        conversation: Callable[[int], Conversation] = reversed_before(
            examples, _messages(spec, record, odd, complete=False)
        )
        target = _right(spec, odd)
        return Sample(spec.name, name, str(row), conversation, len(examples), target, {"config": config})

    if spec.options["ask"] == "choice":
        return [sample(str(row), odd=bool(number % 2))]
    return [sample(str(row), odd=False), sample(f"{row}-swapped", odd=True)]


def _right(spec: TaskSpec, odd: bool) -> str:
    """odd: the sentences are exchanged, or it is the right one that is asked about alone."""
    first, second = spec.choices
    return first if odd != (spec.options["ask"] == "both_orders") else second


def _messages(spec: TaskSpec, record: Record, odd: bool, complete: bool) -> Conversation:
    good, bad = (record.need_text(spec.options[name]) for name in ("good", "bad"))
    if record.values.get("order") == INVERTED:
        good, bad = bad, good
    first, second = (bad, good) if odd else (good, bad)
    values = {"{first}": first, "{second}": second, "{sentence}": good if odd else bad}
    text = spec.options["instruction"]
    for mark, sentence in values.items():
        before, found, after = text.partition(mark)
        text = before + (sentence if found else "") + after
    answer = spec.options.get("answer", "")
    user = Message("user", text)
    if complete:
        return (user, Message("assistant", answer + _right(spec, odd)))
    return (user, Message("assistant", answer)) if answer else (user,)


FORMAT = RecordFormat(samples, Options)
