"""Retrieval-augmented answers against the authors' functions (parity/answers.jsonl, messages.jsonl)."""

from __future__ import annotations

import pytest

from darumeru.metrics import metric
from tests.field.messages import authors_prompts, exact, samples
from tests.field.messages import said as plainly
from tests.metrics.rows import said
from tests.shared_data import json_lines, shared

NAMES = [
    f"{name}{order}"
    for name in ("rubqqa", "rus_tydiqa", "sberquadqa", "rus_xquadqa")
    for order in ("", "_data_first")
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_prompts_are_the_authors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = exact(monkeypatch, f"rusbeirrag/{name}")
    prompts = authors_prompts(f"rusbeirrag/{name}")
    assert prompts
    for one in prompts:
        if one["as_shot"]:
            (sample,) = samples(spec, [one["record"]], [one["record"]])
            assert plainly(sample.conversation(1)[:2]) == one["messages"]
        else:
            (sample,) = samples(spec, [one["record"]])
            assert plainly(sample.conversation(0)) == one["messages"]


def test_every_score_agrees_with_the_authors() -> None:
    records = [one for one in json_lines(shared("field", "parity", "answers.jsonl")) if "rougel" in one]
    assert len(records) > 10
    for one in records:
        row = said(one["answer"], one["record"]["answers"])
        assert metric("rougeL_f1").values(row)["rougeL_f1"] == pytest.approx(one["rougel"], abs=1e-12)


def test_a_mark_within_a_question_is_not_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = exact(monkeypatch, "rusbeirrag/rubqqa")
    (sample,) = samples(spec, [{"question": "Что такое {segments}?", "answers": ["а"], "context": [{"chunk": "б"}]}])
    assert "Что такое {segments}?" in sample.conversation(0)[0].content
