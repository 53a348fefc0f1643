"""LIBRA against the authors' functions (parity/libra_*.jsonl, messages.jsonl)."""

from __future__ import annotations

import numpy as np
import pytest

from darumeru.core.errors import UserError
from darumeru.metrics import metric
from darumeru.metrics.long_context import LENGTHS, LengthMean, normalized
from darumeru.tasks.formats.long_context import spread
from tests.field.messages import authors_prompts, exact, samples
from tests.field.messages import said as plainly
from tests.metrics.rows import said
from tests.shared_data import ROOT, json_lines, shared


def test_every_score_agrees_with_the_authors() -> None:
    records = json_lines(shared("field", "parity", "libra_scores.jsonl"))
    names = {"em": "libra_em", "f1": "libra_f1", "count_score": "libra_count", "count": "libra_count"}
    wrong = []
    for number, one in enumerate(records):
        row = said(one["prediction"], {"answers": one["positive_outputs"], "length": "4k"})
        name = names[one["metric"]]
        if metric(name).values(row)[name] != pytest.approx(one["score"] or 0.0, abs=1e-12):
            wrong.append((number, one))
    assert len(records) == 102 and not wrong


def test_texts_are_normalized_as_the_authors_do() -> None:
    for one in json_lines(shared("field", "parity", "libra_normalise.jsonl")):
        assert normalized(one["text"]) == one["normalised"]


def test_every_total_agrees_with_the_authors() -> None:
    for one in json_lines(shared("field", "parity", "libra_totals.jsonl")):
        sums = np.zeros(2 * len(LENGTHS))
        for score, length in one["items"]:
            place = LENGTHS.index(length)
            sums[place] += score
            sums[len(LENGTHS) + place] += 1
        assert float(LengthMean(3)(sums)) == pytest.approx(one["score"], abs=1e-12)


def test_records_are_taken_in_the_authors_order() -> None:
    for one in json_lines(shared("field", "parity", "libra_order.jsonl")):
        assert spread(one["n"]) == one["order"]


SLICES = [path.stem for path in sorted((ROOT / "tasks" / "libra").glob("*.yaml"))]


@pytest.mark.parametrize("name", SLICES)
def test_prompts_and_tasks_are_the_authors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Templates, metrics and answer budgets of prompts/libra.jsonl; not every slice is among the recorded prompts."""
    assert len(SLICES) == 21
    spec = exact(monkeypatch, f"libra/{name}")
    (right,) = (one for one in json_lines(shared("field", "prompts", "libra.jsonl")) if one["slice"] == name)
    assert spec.options["template"] == right["template"] and spec.max_new_tokens == right["max_new_tokens"]
    assert spec.metrics == (f"libra_{right['metric'].removesuffix('_score')}_rounded",)
    for one in authors_prompts(f"libra/{name}"):
        (sample,) = samples(spec, [one["record"]])
        assert plainly(sample.conversation(0)) == one["messages"]


def test_a_mean_over_lengths_by_hand() -> None:
    rows = [
        said(text, {"answers": ["Анна"], "length": length}, str(number))
        for number, (text, length) in enumerate([("Анна", "4k"), ("Нет", "4k"), ("Нет", "4k"), ("Анны", "8k")])
    ]
    assert metric("libra_em").statistic(rows).value == pytest.approx((1 / 3 + 1) / 2)
    assert metric("libra_em_rounded").statistic(rows).value == pytest.approx((0.333 + 1) / 2)


def test_whole_words_are_told_from_parts() -> None:
    row = said("Всегда", {"answers": ["да"], "length": "4k"})
    assert metric("libra_em").values(row)["libra_em"] == 1
    assert metric("libra_em_words").values(row)["libra_em_words"] == 0
    empty = said("Что угодно", {"answers": [""], "length": "4k"})
    assert metric("libra_em_words").values(empty)["libra_em_words"] == 0


def test_a_text_that_holds_the_mark_of_the_question_is_not_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = exact(monkeypatch, "libra/passkey")
    record = {"context": "Ключ {input}.", "input": "Какой ключ?", "positive_outputs": ["1"], "length": "4k"}
    (sample,) = samples(spec, [record])
    assert "Ключ {input}." in sample.conversation(0)[0].content
    with pytest.raises(UserError, match="no record has a length"):
        samples(spec, [{**record, "length": "64k"}])
