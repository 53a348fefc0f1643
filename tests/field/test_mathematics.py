"""Verdicts of mathematics against the authors' (parity/math.jsonl), and a process that cannot hang."""

from __future__ import annotations

import pytest

from darumeru.metrics import metric
from darumeru.metrics.mathematics import Verifier, verdict
from darumeru.metrics.mathematics_worker import is_words, tidied, words
from tests.field.messages import authors_prompts, exact, samples
from tests.field.messages import said as plainly
from tests.metrics.rows import said
from tests.shared_data import json_lines, shared


def test_every_verdict_agrees_with_the_authors() -> None:
    records = json_lines(shared("field", "parity", "math.jsonl"))
    wrong = [one["n"] for one in records if verdict(one["gold"], one["answer"], False)[0] is not bool(one["verdict"])]
    assert len(records) == 82 and not wrong


@pytest.mark.parametrize(
    ("target", "answer", "right"),
    [
        ("0.5", r"$\boxed{0,5}$", True),
        ("3,5", r"$\boxed{3{,}5}$", True),
        ("3,5", r"$\boxed{35}$", False),
        ("1000", r"$\boxed{1 000}$", True),
        ("0.5", r"$\boxed{\frac12}$", True),
        ("да", r"$\boxed{\text{Да}}$", True),
        ("да", r"$\boxed{\text{нет}}$", False),
        (r"$\{1, 2\}$", r"$\boxed{\{1,2\}}$", True),
        ("7", "Ответ: 7", False),
    ],
)
def test_numbers_and_words_are_read_as_russian_writes_them(target: str, answer: str, right: bool) -> None:
    assert metric("math_answer").values(said(answer, target))["math_answer"] == right


def test_what_is_written_otherwise() -> None:
    assert tidied(r"$x = 2,5$ и \boxed{12 500}, \frac34") == r"$x = 2.5$ и \boxed{12500}, \frac{3}{4}"
    assert tidied("(1,2) и $1,2,3$") == "(1,2) и $1,2,3$"
    assert words(r"Ответ: $\boxed{\text{нет решений}}$") == "нет решений"
    assert is_words("нет решений") and not is_words("$x$") and not is_words("5 м")


def test_what_takes_too_long_is_wrong_and_unreadable_and_the_next_one_is_verified() -> None:
    verifier = Verifier(seconds=0.0)
    assert verifier.verdict("7", r"$\boxed{7}$", False) == (False, False)
    verifier.seconds = 20.0
    assert verifier.verdict("7", r"$\boxed{7}$", False) == (True, True)
    verifier.end()


def test_a_tower_of_powers_ends() -> None:
    """Without a limit a computer algebra system would write the number out."""
    assert verdict("7", r"$\boxed{9^{9^{9^{9^{9}}}}}$", False)[0] is False
    assert verdict("7", r"$\boxed{7}$", False) == (True, True)


def test_an_answer_without_a_formula_is_unreadable() -> None:
    unread = [metric("math_verify").unparsed(said(text, "7")) for text in ("", "Не знаю", r"$\boxed{8}$")]
    assert unread == [True, True, False]


@pytest.mark.parametrize(("task", "name"), [("doom/math", "doom_math"), ("t-bank/t-math", "t_math")])
def test_prompts_are_the_authors(task: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = exact(monkeypatch, f"field/{name}")
    prompts = authors_prompts(task)
    assert prompts
    for one in prompts:
        (sample,) = samples(spec, [one["record"]])
        assert plainly(sample.conversation(0)) == one["messages"] and sample.target == "4"
