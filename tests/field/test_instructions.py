"""IFEval's checks against what the authors' functions said (parity/ifeval*.jsonl), and what was mended."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from darumeru.core.errors import UserError
from darumeru.metrics import metric
from darumeru.metrics.instructions.checks import CHECKS, followed
from darumeru.metrics.instructions.rule import Rule
from darumeru.tasks.registry import load_registry
from tests.field.messages import authors_prompts, exact, samples
from tests.field.messages import said as plainly
from tests.metrics.rows import said
from tests.shared_data import json_lines, shared


def test_every_check_agrees_with_the_authors_functions() -> None:
    records = json_lines(shared("field", "parity", "ifeval.jsonl"))
    wrong = [
        (one["n"], one["instruction_id"])
        for one in records
        if followed(Rule(one["instruction_id"], one["lang"], one["kwargs"], False), one["response"])
        is not bool(one["followed"])
    ]
    assert len(records) == 646 and not wrong
    assert {one["instruction_id"] for one in records} == set(CHECKS)


def test_totals_agree_with_the_authors() -> None:
    """Prompts with one answer and with five; each answer of a prompt is a row of the prompt's cluster."""
    data = {one["key"]: one for one in json_lines(shared("field", "ifeval", "ruIFEval.jsonl"))}
    totals = json_lines(shared("field", "parity", "ifeval_totals.jsonl"))
    assert len(totals) == 4
    for total in totals:
        rows = []
        for number, item in enumerate(total["items"]):
            record = data[item["key"]]
            pairs = zip(record["instruction_id_list"], record["kwargs"], strict=True)
            instructions = [{"id": name, "kwargs": values} for name, values in pairs]
            target = {"language": "ru", "mended": False, "instructions": instructions}
            rows += [
                replace(said(response, target, f"{number:04d}-{sample}"), cluster=f"{number:04d}")
                for sample, response in enumerate(item["responses"])
            ]
        right = total["totals"]
        assert metric("followed_prompts").statistic(rows).value == pytest.approx(right["prompt_level_accuracy"])
        statistic = metric("followed_instructions").statistic(rows)
        assert statistic.value == pytest.approx(right["instruction_level_accuracy"])
        for category, value in right["category_accuracy"].items():
            assert metric(f"followed_{category}").statistic(rows).value == pytest.approx(value)


def test_a_sample_says_how_each_of_its_instructions_fared() -> None:
    instructions = [
        {"id": "punctuation:no_comma", "kwargs": {}},
        {"id": "startend:quotation", "kwargs": {}},
    ]
    row = said("Да", {"language": "ru", "mended": True, "instructions": instructions})
    right = {"followed_instructions": 0.5, "punctuation:no_comma": 1.0, "startend:quotation": 0.0}
    assert metric("followed_instructions").values(row) == right
    assert metric("followed_punctuation").values(row) == {"followed_punctuation": 1.0}
    assert metric("followed_keywords").values(row) == {}


MENDED: list[tuple[str, dict[str, Any], str, bool, bool]] = [
    ("keywords:existence", {"keywords": ["кот"]}, "Человек, который смеётся", True, False),
    ("keywords:existence", {"keywords": ["кот"]}, "У окна сидели коты.", True, True),
    ("keywords:existence", {"keywords": ["Python"]}, "Код на языке си", True, False),
    ("keywords:existence", {"keywords": ["Python"]}, "Код на python.", True, True),
    ("keywords:forbidden_words", {"forbidden_words": ["rock"]}, "Песня о лете", False, True),
    ("keywords:forbidden_words", {"forbidden_words": ["rock"]}, "Это Rock!", False, False),
    ("detectable_content:postscript", {"postscript_marker": "P. S."}, "Пока.\nP.S. До встречи", False, True),
    ("detectable_format:constrained_response", {}, "Мой ответ - да", False, True),
    ("startend:quotation", {}, "«Да будет свет»", False, True),
    ("detectable_format:number_bullet_lists", {"num_bullets": 1}, "- раз\n---", False, True),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Раздел", "num_sections": 2},
        "РАЗДЕЛ: 1\nа\nРАЗДЕЛ: 2\nб",
        False,
        True,
    ),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 1, "nth_paragraph": 1, "first_word": "утро"},
        "**Утро** красит",
        False,
        True,
    ),
]


@pytest.mark.parametrize(("name", "values", "answer", "published", "mended"), MENDED)
def test_what_is_mended_is_read_as_a_person_reads_it(
    name: str, values: dict[str, Any], answer: str, published: bool, mended: bool
) -> None:
    """Right values: by the words of the instruction."""
    assert followed(Rule(name, "ru", values, False), answer) is published
    assert followed(Rule(name, "ru", values, True), answer) is mended


VALUES = {
    "keywords": ["день"],
    "keyword": "день",
    "frequency": 3,
    "relation": "at least",
    "forbidden_words": ["ночь"],
    "letter": "о",
    "let_frequency": 3,
    "let_relation": "at least",
    "language": "ru",
    "num_sentences": 3,
    "num_words": 30,
    "num_paragraphs": 2,
    "nth_paragraph": 1,
    "first_word": "день",
    "num_placeholders": 3,
    "postscript_marker": "P.P.S",
    "num_bullets": 3,
    "num_highlights": 3,
    "section_spliter": "Раздел",
    "num_sections": 2,
    "prompt_to_repeat": "Скажи",
    "end_phrase": "Всё",
    "capital_frequency": 3,
    "capital_relation": "at least",
}


@pytest.mark.parametrize("piece", ["*", "[", " ", "\n", "<<", "p. ", "***\n", "{", '"', "день ", "А. "])
def test_no_answer_keeps_a_check_busy(piece: str) -> None:
    """Twenty thousand characters, five times what 1,024 tokens say, are checked by all checks in seconds."""
    answer = piece * (20_000 // len(piece))
    start = time.monotonic()
    for name in CHECKS:
        for language in ("ru", "en"):
            followed(Rule(name, language, VALUES, language == "ru"), answer)
    assert time.monotonic() - start < 15


def test_what_an_instruction_lacks_is_said() -> None:
    with pytest.raises(UserError, match="needs `num_words`"):
        followed(Rule("length_constraints:number_words", "ru", {"relation": "at least"}, False), "Да")
    with pytest.raises(UserError, match="unknown instruction"):
        followed(Rule("keywords:existance", "ru", {}, False), "Да")


def test_a_blank_answer_follows_nothing() -> None:
    assert not followed(Rule("punctuation:no_comma", "ru", {}, True), " \n")


def test_prompts_are_the_authors(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = exact(monkeypatch, "field/enifeval")
    for one in authors_prompts("enifeval"):
        (sample,) = samples(spec, [one["record"]])
        assert plainly(sample.conversation(0)) == one["messages"]


def test_the_authors_records_are_read_whole() -> None:
    """541 prompts a language, with the numbers of instructions that the specification gives (834)."""
    for language in ("ru", "en"):
        spec = load_registry().specs[f"field/{language}ifeval"]
        made = samples(spec, json_lines(shared("field", "ifeval", f"{language}IFEval.jsonl")))
        assert (len(made), sum(len(sample.target["instructions"]) for sample in made)) == (541, 834)
