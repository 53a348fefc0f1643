"""Accuracy over chosen labels: ties, both orders, categories of MMLU."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darumeru.core.errors import UserError
from darumeru.core.row import SampleRow
from darumeru.metrics import metric
from darumeru.metrics.categories import CATEGORY_OF
from darumeru.metrics.statistic import Statistic, bootstrap, resample_counts
from tests.metrics.rows import picked, picks, repeated
from tests.shared_data import json_lines, shared

SUBJECTS = ("anatomy", "astronomy", "college_physics", "philosophy", "sociology", "virology")


def test_of_equal_probabilities_the_first_label_counts() -> None:
    assert metric("acc").values(picked({"2": 0.5, "1": 0.5}, "2"))["acc"] == 1
    assert metric("acc").values(picked({"1": 0.5, "2": 0.5}, "2"))["acc"] == 0


def test_a_probability_that_is_not_a_number_never_wins() -> None:
    assert metric("acc").values(picked({"1": float("nan"), "2": 0.1}, "1"))["acc"] == 0
    assert metric("acc").values(picked({"1": 0.1, "2": float("nan")}, "1"))["acc"] == 1


def test_an_answer_without_any_probability_is_unparsed() -> None:
    assert metric("acc").unparsed(picked({"1": 0.0, "2": 0.0}, "1"))
    assert metric("acc").unparsed(picked({}, "1"))
    assert not metric("acc").unparsed(picked({"1": 0.0, "2": 1e-30}, "1"))
    assert metric("acc_startswith").values(picked({}, "Да"))["acc_startswith"] == 0


def test_startswith_takes_the_beginning_of_the_gold_answer() -> None:
    longer = picked({"Да": 0.9, "Нет": 0.1}, "Да, относится")
    assert metric("acc_startswith").values(longer)["acc_startswith"] == 1
    assert metric("acc").values(longer)["acc"] == 0
    assert metric("acc_startswith").values(picked({"Да": 0.1, "Нет": 0.9}, "Да"))["acc_startswith"] == 0


def test_accuracy_keeps_the_outcome_of_each_record_and_the_chance_of_each_choice() -> None:
    statistic = metric("acc").statistic(picks("ABCD", "ABDD", "ABCD"))
    assert (statistic.value, statistic.chance) == (0.75, 0.25)
    assert statistic.binary is not None
    assert statistic.binary.tolist() == [1, 1, 0, 1]


def test_accuracy_over_both_orders_is_a_mean_of_samples_without_binary_outcome() -> None:
    statistic = metric("acc").statistic(_orders({"a": (True, False), "b": (True, True)}))
    assert (statistic.value, statistic.binary) == (0.75, None)
    assert statistic.clusters == ("a", "b")


def test_a_record_counts_when_both_orders_are_right() -> None:
    rows = _orders({"a": (True, True), "b": (True, False), "c": (False, True), "d": (False, False)})
    statistic = metric("acc_both_orders").statistic(rows)
    assert (statistic.value, statistic.chance) == (0.25, 0.25)
    assert statistic.binary is not None
    assert statistic.binary.tolist() == [1, 0, 0, 0]


def test_a_record_with_one_order_unanswered_is_left_out() -> None:
    rows = _orders({"a": (True, True), "b": (True, True)})
    statistic = metric("acc_both_orders").statistic(rows[:-1])
    assert (statistic.clusters, statistic.value) == (("a",), 1)
    assert np.isnan(metric("acc_both_orders").statistic(rows[:1]).value)


def test_scores_do_not_depend_on_the_order_in_which_answers_arrived() -> None:
    rng = np.random.default_rng(5)
    rows = _orders({f"r{number}": (rng.random() < 0.6, rng.random() < 0.6) for number in range(40)})
    shuffled = [rows[place] for place in rng.permutation(len(rows))]
    for name in ("acc", "acc_both_orders", "f1_macro", "mcc"):
        one, other = metric(name).statistic(rows), metric(name).statistic(shuffled)
        assert one.clusters == other.clusters
        assert np.array_equal(bootstrap(one, 20), bootstrap(other, 20))


def _orders(records: dict[str, tuple[bool, bool]]) -> list[SampleRow]:
    rows = []
    for name, (given_right, swapped_right) in records.items():
        right, wrong = {"1": 0.9, "2": 0.1}, {"1": 0.1, "2": 0.9}
        rows.append(picked(right if given_right else wrong, "1", name, name))
        rows.append(picked(wrong if swapped_right else right, "2", f"{name}-swapped", name))
    return rows


def test_the_57_subjects_stand_in_four_categories() -> None:
    sizes = {category: list(CATEGORY_OF.values()).count(category) for category in CATEGORY_OF.values()}
    assert sizes == {"STEM": 18, "other": 14, "humanities": 13, "social sciences": 12}


def test_the_subjects_are_those_of_the_data() -> None:
    path = shared("hub", "RefalMachine", "darumeru", "mmlu_nlpcoreteam", "test.jsonl")
    assert {record["subject"] for record in json_lines(path)} == set(CATEGORY_OF)


questions = st.lists(st.tuples(st.sampled_from(SUBJECTS), st.booleans()), min_size=1, max_size=40)


@given(questions=questions, seed=st.integers(0, 2**32 - 1))
def test_accuracy_by_category_is_the_mean_of_means(questions: list[tuple[str, bool]], seed: int) -> None:
    rows = [
        picked({"A": 0.9 if hit else 0.1, "B": 0.5}, "A", f"{number:02d}", subject=subject)
        for number, (subject, hit) in enumerate(questions)
    ]
    statistic = metric("acc_by_category").statistic(rows)
    assert statistic.value == pytest.approx(_mean_of_means(rows), abs=1e-12)
    counts = resample_counts(len(rows), 4, np.random.default_rng(seed), statistic.strata)
    kept = {subject: sum(name == subject for name, _ in questions) for subject in SUBJECTS}
    for score, weights in zip(statistic.combine(counts.astype(float) @ statistic.columns), counts, strict=True):
        again = repeated(rows, statistic.clusters, weights)
        if statistic.strata is not None:
            assert {subject: sum(one.meta["subject"] == subject for one in again) for subject in SUBJECTS} == kept
        assert score == pytest.approx(_mean_of_means(again), abs=1e-12)


def test_a_resample_that_lost_a_subject_leaves_it_out() -> None:
    rows = [
        picked({"A": 1.0, "B": 0.0}, "A", "0", subject="anatomy"),
        picked({"A": 0.0, "B": 1.0}, "A", "1", subject="sociology"),
    ]
    statistic = metric("acc_by_category").statistic(rows)
    assert statistic.value == 0.5
    assert statistic.combine(np.array([2.0, 0.0]) @ statistic.columns) == 1


def test_an_unknown_subject_is_named_with_the_nearest_ones() -> None:
    with pytest.raises(UserError, match=r"`anatomi` is not one of the 57 subjects.*anatomy"):
        metric("acc_by_category").statistic([picked({"A": 1.0}, "A", subject="anatomi")])


def _mean_of_means(rows: list[SampleRow]) -> float:
    hits: dict[str, dict[str, list[float]]] = {}
    for one in rows:
        subject = one.meta["subject"]
        hit = metric("acc").values(one)["acc"]
        hits.setdefault(CATEGORY_OF[subject], {}).setdefault(subject, []).append(hit)
    return float(np.mean([np.mean([np.mean(each) for each in subjects.values()]) for subjects in hits.values()]))


def test_subjects_are_strata_only_where_each_has_questions_to_resample() -> None:
    def statistic(each: int) -> Statistic:
        rows = [
            picked({"A": 0.9 if number % 2 else 0.1, "B": 0.5}, "A", f"{subject}-{number}", subject=subject)
            for subject in SUBJECTS
            for number in range(each)
        ]
        return metric("acc_by_category").statistic(rows)

    assert statistic(1).strata is None and statistic(6).strata is not None
