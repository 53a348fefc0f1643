"""What a judge's words are worth, against the authors' functions (parity/answers.jsonl, judge_generative.jsonl)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from darumeru.core.answer import Answer
from darumeru.metrics.verdicts import verdict_of
from darumeru.runs.annotate import annotated
from darumeru.tasks.rubrics import find_rubric
from tests.metrics.rows import picked, row
from tests.shared_data import json_lines, shared

YES_NO = {"Yes": 1.0, "No": 0.0}
PAIR = {"m": 1.0, "M": 0.0, "T": 0.5}


def read(text: str, labels: Mapping[str, float], reading: str) -> float | None:
    raw = Answer(text=text, tokens=(), finish_reason="stop")
    made = row(annotated("", raw, ["thoughts"]).answer, None, labels=dict(labels), reading=reading)
    return verdict_of(type(made)(**{**made.__dict__, "raw": raw}))


def test_the_published_reading_is_the_authors() -> None:
    records = [one for one in json_lines(shared("field", "parity", "answers.jsonl")) if "judge_answer" in one]
    assert len(records) == 10
    for one in records:
        assert (read(one["judge_answer"], YES_NO, "starts") or 0.0) == one["score"], one


@pytest.mark.parametrize(
    ("text", "worth"),
    [
        ("Yes", 1.0),
        (" yes.", 1.0),
        ("**No**", 0.0),
        ("«No», потому что", 0.0),
        ("Yesterday", None),
        ("Nothing", None),
        ("<think>No?</think>\n\nYes", 1.0),
        ("<think>Yes", None),
        ("", None),
    ],
)
def test_the_mended_reading_takes_whole_words(text: str, worth: float | None) -> None:
    assert read(text, YES_NO, "word") == worth


def test_letters_that_differ_by_case_alone_are_told_apart() -> None:
    assert [read(text, PAIR, "word") for text in ("m", "`M`", "T", "t")] == [1.0, 0.0, 0.5, None]


def test_six_scores_decide_as_in_the_authors_program() -> None:
    """Their `parsed` counts an object without any score as read, a tie; here it is no verdict, which counts as one."""
    outcomes = {"model_wins": 1.0, "reference_wins": 0.0, "tie": 0.5}
    records = json_lines(shared("field", "parity", "judge_generative.jsonl"))
    assert len(records) == 29
    for one in records:
        worth = read(one["answer"], PAIR, "scores")
        assert worth is not None or one["outcome"] == "tie"
        if worth is not None:
            assert (worth if one["model_label"] == "m" else 1 - worth) == outcomes[one["outcome"]], one
        assert one["parsed"] or worth is None


def test_probabilities_are_compared_and_nothing_is_no_verdict() -> None:
    def worth(probabilities: dict[str, float], reading: str) -> float | None:
        return verdict_of(picked(probabilities, "", labels=dict(PAIR), reading=reading))

    assert worth({"m": 0.1, "M": 0.3, "T": 0.2}, "word") == 0.0
    assert worth({"m": 0.0, "M": 0.0, "T": 0.0}, "word") is None
    assert worth({"m": 0.0, "M": 0.0, "T": 0.0}, "starts") == 1.0  # the authors' argmax


@pytest.mark.parametrize("name", ["right_answer", "better_answer", "better_by_scores"])
def test_the_authors_texts_are_taken_from_their_folder(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARUMERU_PROMPTS", str(shared("field", "prompts")))
    rubric: Any = find_rubric(name, "llmtf-head")
    values = {"question": "В{answer}", "answer": "о", "references": "1) а\n2) б", "first": "п", "second": "в"}
    said = rubric.conversation(values)
    if name == "right_answer":
        assert said[-1].content == "Вопрос: В{answer}\n\nОтвет модели: о\n\nДопустимые ответы:\n1) а\n2) б"
        assert [turn.role for turn in said] == ["user", "assistant"] * 8 + ["user"]
        assert (rubric.by, rubric.reading, rubric.labels) == ("text", "starts", YES_NO)
        return
    kind = "_generative" if name == "better_by_scores" else ""
    text = shared("field", "prompts", f"arena_judge{kind}_user.txt").read_text(encoding="utf-8")
    right = text.replace("{output_m}", "п").replace("{output_M}", "в").replace("{instruction}", "В{answer}")
    assert [turn.role for turn in said] == ["system", "user"] and said[1].content == right
    assert rubric.labels == PAIR
