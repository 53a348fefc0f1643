"""Ratings against the authors' program (parity/battles_N.jsonl, ratings.json) and against what made the battles."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from darumeru.arena.battle import A_WINS, B_WINS, TIE, Battle, outcome_of
from darumeru.arena.battles import _outcome
from darumeru.arena.ratings import Fitted, RatingOptions, Table, _loss, _standardised, fit, resampled_elo
from darumeru.arena.style import style_counts
from darumeru.core.errors import UserError
from darumeru.metrics.verdicts import verdict_of
from tests.metrics.rows import picked
from tests.shared_data import json_lines, shared

ANCHOR = "gpt-4o-mini"


def battles_of(number: int) -> list[Battle]:
    lines = json_lines(shared("field", "parity", f"battles_{number}.jsonl"))
    return [
        Battle(one["model_a"], one["model_b"], one["winner"], str(place), one["style_a"], one["style_b"])
        for place, one in enumerate(lines)
    ]


def rated(battles: list[Battle], **options: str) -> Fitted:
    chosen = RatingOptions(**options)
    return fit(Table.of(battles, chosen), chosen)


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize(
    ("style", "column"), [("published", "as_written"), ("none", "without_style"), ("own", "style_repaired")]
)
def test_ratings_are_those_of_the_authors(number: int, style: str, column: str) -> None:
    """To 1e-3 in theta (0.4 points); the mended style and none are theirs with that one change."""
    tables: list[Any] = json.loads(shared("field", "parity", "ratings.json").read_text(encoding="utf-8"))
    right = next(one for one in tables if one["table"] == number)[column]
    found = rated(battles_of(number), style=style)
    elo = found.elo(ANCHOR)
    assert elo.keys() == right["elo"].keys()
    assert all(abs(elo[name] - value) < 0.4 for name, value in right["elo"].items())
    if "ratings_raw" in right:
        theta = dict(zip(found.models, found.theta, strict=True))
        assert all(abs(theta[name] - value) < 1e-3 for name, value in right["ratings_raw"].items())
    if "style_coefficients" in right:
        assert found.beta == pytest.approx(right["style_coefficients"], abs=1e-3)
    if "logit_tie" in right:
        assert found.tau == pytest.approx(right["logit_tie"], abs=1e-3)


def test_style_counts_are_the_authors_and_mended_where_they_delete_text() -> None:
    records = json_lines(shared("field", "parity", "style_counts.jsonl"))
    assert len(records) > 70
    for one in records:
        assert list(style_counts(one["text"], published=True)) == one["counts"], one["origin"]
    other = [one for one in records if list(style_counts(one["text"])) != one["counts"]]
    assert len(other) == 1  # SPEC: one record differs when code is cut by position
    assert style_counts("**а** `а` **а**") == (15, 0, 0, 2, 1) and style_counts("") == (0, 0, 0, 0, 0)


def test_battles_of_two_orders_are_the_authors() -> None:
    names = {"model_wins": A_WINS, "reference_wins": B_WINS, "tie": TIE}
    labels = {"m": 1.0, "M": 0.0, "T": 0.5}
    records = json_lines(shared("field", "parity", "judge_pairs.jsonl"))
    assert len(records) == 19
    for one in records:
        worth = [
            verdict_of(picked(one[order], "", labels=labels, reading="starts"))
            for order in ("p_model_is_m", "p_model_is_M")
        ]
        outcomes = [_outcome(value, swapped) for value, swapped in zip(worth, (False, True), strict=True)]
        assert outcomes == [names[said] for said in one["outcomes"]], one
        assert outcome_of(outcomes) == one["battle"]["winner"]
        assert list(style_counts(one["answer_model"], published=True)) == one["battle"]["style_a"]


def made(strengths: dict[str, float], nu: float, count: int, seed: int) -> list[Battle]:
    """Battles drawn by Rao and Kupper's rule from known strengths."""
    generator = np.random.default_rng(seed)
    names = list(strengths)
    found = []
    for number in range(count):
        a, b = generator.choice(len(names), 2, replace=False)
        s, t = (10 ** strengths[names[one]] for one in (a, b))
        first, second = s / (s + nu * t), t / (t + nu * s)
        drawn = generator.random()
        outcome = A_WINS if drawn < first else B_WINS if drawn < first + second else TIE
        found.append(Battle(names[a], names[b], outcome, str(number)))
    return found


def test_rao_and_kupper_find_the_strengths_that_made_the_battles() -> None:
    strengths = {"a": 0.0, "b": 0.3, "c": -0.4, "d": 0.8}
    found = rated(made(strengths, 2.0, 20_000, 1), ties="rao-kupper", style="none")
    elo = found.elo("a")
    for name, theta in strengths.items():
        assert elo[name] == pytest.approx(1000 + 400 * theta, abs=15)
    assert 1 + np.exp(found.tau) == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("ties", ["independent", "rao-kupper"])
def test_the_gradient_is_that_of_what_is_minimised(ties: str) -> None:
    options = RatingOptions(ties=ties)
    table = Table.of(battles_of(1)[:200], options)
    weights = np.random.default_rng(2).integers(0, 3, 200).astype(float)
    style = _standardised(table.style, weights)
    at = np.random.default_rng(3).normal(size=len(table.models) + style.shape[1] + 1) * 0.5
    _, gradient = _loss(at, table, style, weights, ties)
    for place in range(len(at)):
        step = np.zeros(len(at))
        step[place] = 1e-6
        ends = [_loss(at + sign * step, table, style, weights, ties)[0] for sign in (1, -1)]
        assert gradient[place] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-4)


def test_a_feature_that_never_varies_and_answers_without_marks_are_no_trouble() -> None:
    battles = [Battle("a", "b", number % 3, str(number), (10, 0, 0, 0, 0), (10, 0, 0, 0, 0)) for number in range(9)]
    found = rated(battles)
    assert len(found.beta) == 0 and found.elo("a") == pytest.approx({"a": 1000.0, "b": 1000.0}, abs=1e-3)


def test_the_bootstrap_draws_questions_and_is_seeded() -> None:
    """Two battles of each question with one outcome are one observation: the interval is that of half the battles."""
    once = [Battle("a", "b", A_WINS if number % 3 else B_WINS, str(number)) for number in range(60)]
    twice = [one for one in once for _ in range(2)]
    options = RatingOptions(style="none")
    spreads = []
    for battles in (once, twice):
        table = Table.of(battles, options)
        draws = resampled_elo(table, options, "a", 400, 5, fit(table, options))
        assert np.array_equal(draws["b"], resampled_elo(table, options, "a", 400, 5, fit(table, options))["b"])
        assert set(draws["a"]) == {1000.0}
        spreads.append(float(np.std(draws["b"])))
    assert spreads[1] == pytest.approx(spreads[0], rel=0.1)


def test_options_that_are_none_are_named() -> None:
    with pytest.raises(UserError, match="--ties: must be independent, rao-kupper"):
        RatingOptions(ties="rao")
