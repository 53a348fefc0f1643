"""RuOpinionNE against the authors' functions (parity/ruopinionne*.jsonl, messages.jsonl), and what was mended."""

from __future__ import annotations

import json
from typing import Any

import pytest

from darumeru.metrics import metric
from darumeru.metrics.opinions import kept, parsed
from darumeru.tasks.formats.opinions import _query, opinions, right_answer
from darumeru.tasks.record import Record
from darumeru.tasks.registry import load_registry
from tests.field.messages import authors_prompts, exact, samples
from tests.field.messages import said as plainly
from tests.metrics.rows import said
from tests.shared_data import json_lines, shared

NAMES = {"ruopinionne": True, "ruopinionne_simple": False}


def target(sample: dict[str, Any], expression: bool, mended: bool = False) -> dict[str, Any]:
    found = [{key: value for key, value in one.items() if key != "texts"} for one in opinions(Record(sample, "s:1"))]
    return {"text": sample["text"], "expression": expression, "mended": mended, "opinions": found}


def test_every_answer_agrees_with_the_authors() -> None:
    """A record without opinions and an answer without any has no F1; the authors' function gives 0 or 1 as it may."""
    records = json_lines(shared("field", "parity", "ruopinionne.jsonl"))
    wrong = []
    for number, one in enumerate(records):
        row = said(one["answer"], target(one["sample"], NAMES[one["task"]]))
        value = metric("opinion_f1").statistic([row]).value
        if value != pytest.approx(0.0 if one["error"] else one["f1"], abs=1e-12):
            wrong.append((number, one["case"], value, one["f1"]))
    assert len(records) == 242 and not wrong


def test_every_total_agrees_with_the_authors() -> None:
    totals = json_lines(shared("field", "parity", "ruopinionne_totals.jsonl"))
    for total in totals:
        rows = [
            said(one["answer"], target(one["sample"], NAMES[total["task"]]), f"{number:04d}")
            for number, one in enumerate(total["items"])
        ]
        assert metric("opinion_f1").statistic(rows).value == pytest.approx(total["f1"], abs=1e-12)
    assert len(totals) == 13


@pytest.mark.parametrize("name", NAMES)
def test_prompts_are_the_authors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = exact(monkeypatch, f"field/{name}")
    for one in authors_prompts(name):
        record = Record(one["record"], "record:1")
        messages = [_query(spec, record, first=not one["as_shot"])]
        answer = [{"role": "assistant", "content": right_answer(spec, record)}] if one["as_shot"] else []
        assert plainly(messages) + answer == one["messages"]


def record(number: int, *found: tuple[str, list[str]]) -> dict[str, Any]:
    text = f"Орлов хвалит пьесу и спектакль, номер {number}."
    made = [
        {
            "Source": [[source], ["0:5" if source == "Орлов" else "NULL"]],
            "Target": [["пьесу"], ["13:18"]],
            "Polarity": "POS",
            "Polar_expression": [words, [f"{text.find(word)}:{text.find(word) + len(word)}" for word in words]],
        }
        for source, words in found
    ]
    return {"sent_id": number, "text": text, "opinions": made}


def test_examples_are_taken_in_turn_from_each_type_and_never_asked() -> None:
    """By hand: seven records without opinions and six with one, of which the first five of each are examples."""
    data = [record(number, *([("Орлов", ["хвалит"])] if number % 2 else [])) for number in range(13)]
    spec = load_registry().select(["field/ruopinionne"])[0]
    made = samples(spec, data, data[:3])
    assert [sample.id for sample in made] == ["10", "11", "12"]
    messages = made[0].conversation(3)
    assert [message.role for message in messages] == ["user", "assistant"] * 3 + ["user"]
    assert [json.loads(message.content) != [] for message in messages[1::2]] == [False, True, False]
    assert len(messages[0].content) > 500 > len(messages[2].content)
    assert made[0].conversation(0)[0].content.startswith(messages[0].content[:100])


def test_answers_are_read_as_people_read_them() -> None:
    text = record(0)["text"]
    good = '{"Source": "Орлов", "Target": "пьесу", "Polarity": "POS", "Expression": "хвалит"}'
    for answer in (f"```json\n[{good}]\n``` ", f"```\n[{good}]\n```", f"[{good}, 5, null]", good.replace('"', "'")):
        assert len(kept(parsed(answer, True), text, True, True)) == 1


def test_no_answer_is_run() -> None:
    for answer in ("__import__('os').getcwd()", "[print(1)]", "(" * 100_000, "[" * 100_000, "9" * 5000):
        assert parsed(answer, True) == [] and parsed(answer, False) == []
