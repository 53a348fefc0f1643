"""F1 and exact match equal the SQuAD functions that the authors' program calls."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers.data.metrics.squad_metrics import compute_exact, compute_f1

from darumeru.metrics import metric
from tests.metrics.rows import said

words = st.lists(
    st.sampled_from(["The", "a", "Анна", "анна", "И. Р.", "река", "—", "river,", "«Обь»", "ан"]), max_size=6
)
texts = words.map(" ".join)


@given(targets=st.lists(texts.filter(bool), min_size=1, max_size=3), answer=texts.filter(bool))
def test_scores_equal_the_best_squad_score_over_golds(targets: list[str], answer: str) -> None:
    row = said(answer, targets)
    assert metric("f1").values(row)["f1"] == pytest.approx(
        max(compute_f1(answer, target) for target in targets), abs=1e-12
    )
    assert metric("em").values(row)["em"] == max(compute_exact(answer, target) for target in targets)


def test_case_punctuation_articles_and_spaces_do_not_matter() -> None:
    assert metric("em").values(said("  The  «Обь», река. ", ["обь» река", "«обь» река"]))["em"] == 1


def test_an_empty_answer_is_wrong_even_where_the_gold_answer_has_no_words() -> None:
    for name in ("f1", "em"):
        assert metric(name).values(said(" \n", ["the"]))[name] == 0
        assert metric(name).unparsed(said(" \n", ["the"]))
    assert metric("f1").unparsed(said(" ... ", ["река"]))


def test_a_single_gold_string_is_one_answer() -> None:
    assert metric("em").values(said("Обь", "Обь"))["em"] == 1


def test_score_is_the_mean_over_samples_and_only_exact_match_is_binary() -> None:
    rows = [said("Обь река", ["Обь"], "0"), said("Обь", ["Обь"], "1"), said("Лена", ["Обь"], "2")]
    f1, em = metric("f1").statistic(rows), metric("em").statistic(rows)
    assert f1.value == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert em.value == pytest.approx(1 / 3)
    assert f1.binary is None
    assert em.binary is not None
    assert em.binary.tolist() == [0, 1, 0]
