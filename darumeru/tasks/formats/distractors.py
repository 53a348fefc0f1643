"""shlepa: questions with four answers, to which eight wrong ones of the questions beside them are added."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from darumeru.core.errors import UserError
from darumeru.core.message import Message
from darumeru.tasks.formats.few_shot import reversed_before
from darumeru.tasks.formats.protocol import FormatOptions, RecordFormat
from darumeru.tasks.record import Record
from darumeru.tasks.sample import Sample
from darumeru.tasks.spec import TaskSpec

FIELDS = ("answerA", "answerB", "answerC", "answerD")
NEIGHBOURS, ADDED = 5, 8
_LETTERS = {"A": 0, "А": 0, "B": 1, "Б": 1, "C": 2, "С": 2, "D": 3, "Д": 3}
_LOOKS_LIKE_B = "В"


@dataclass(frozen=True, kw_only=True)
class Options(FormatOptions):
    """answer: opens the assistant message. request: follows the list of answers. mended: also ask the questions that
    the published program leaves out by mistake."""

    answer: str
    request: str
    mended: bool = False


def samples(spec: TaskSpec, test: Sequence[Record], shots: Sequence[Record], wanted: int) -> list[Sample]:
    """One sample a question, always without examples. Answers are shuffled by the name of the task and the row."""
    mended = spec.options.get("mended", False)
    result = []
    for row, record in enumerate(test):
        right = right_option(record, mended)
        if right is None or (right == 0 and not mended):
            continue
        answers = options(test, row)
        text = answers[right]
        rng = np.random.default_rng((zlib.crc32(spec.name.encode()), row))
        shuffled = [answers[place] for place in rng.permutation(len(answers))]
        query = (Message("user", question(spec, record, shuffled)), Message("assistant", spec.options["answer"]))
        target = spec.choices[shuffled.index(text)]
        result.append(Sample(spec.name, str(row), str(row), reversed_before((), query), 0, target))
    return result


def question(spec: TaskSpec, record: Record, answers: Sequence[str]) -> str:
    """The question with lettered answers and the request to choose."""
    lines = [f"{letter}. {answer}" for letter, answer in zip(spec.choices, answers, strict=True)]
    return "\n".join([record.need_text("question"), *lines]) + f"\n\n{spec.options['request']}"


def options(records: Sequence[Record], row: int) -> list[str]:
    """The four answers of a row and the first eight that differ from them among the answers of five rows beside it: of
    the next five, or of the five before for the last five rows; first all answers A, then all B, C and D."""
    own = _answers(records[row])
    start = row + 1 if row + NEIGHBOURS < len(records) else row - NEIGHBOURS
    beside = [_answers(records[place]) for place in range(max(start, 0), start + NEIGHBOURS)]
    others = [each[column] for column in range(len(FIELDS)) for each in beside if each[column] not in own]
    if len(others) < ADDED:
        raise UserError(
            f"needs {ADDED} other answers of the rows beside it, there are {len(others)}", records[row].where
        )
    return own + others[:ADDED]


def right_option(record: Record, mended: bool) -> int | None:
    """Which of the four answers is right: given as a letter, as a field or as its text; None where nothing fits."""
    given = record.need("correct_answer", str)
    if given in _LETTERS:
        return _LETTERS[given]
    if given in FIELDS:
        return FIELDS.index(given)
    if given == _LOOKS_LIKE_B:
        return 1 if mended else None
    own = _answers(record)
    if given in own:
        return own.index(given)
    raise UserError(f"field `correct_answer` is {given!r}, neither a letter nor one of the answers", record.where)


def _answers(record: Record) -> list[str]:
    return [str(record.need(name, str)) for name in FIELDS]


FORMAT = RecordFormat(samples, Options)
