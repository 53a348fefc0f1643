"""Drawn answers: the same draws whatever stands beside them, several a question, their mean, best and majority."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from darumeru.engines import Engine, EngineOptions, Generate, Request, load_engine
from darumeru.engines.drawing import kept
from darumeru.engines.request import Sampling
from darumeru.metrics import metric
from darumeru.metrics.repeated import best_of
from darumeru.runs.join import joined_rows
from darumeru.runs.stored_plan import read_plan
from tests.asked import rows_of
from tests.cli.command import Said
from tests.engines.asking import Prompts, answers

TASK = "darumeru/cp_sent_ru"


@pytest.fixture(scope="module")
def transformers_engine(tiny_model: Path) -> Engine:
    return load_engine("transformers", EngineOptions(model=str(tiny_model), max_model_len=2048))


@pytest.fixture(params=["transformers", "vllm"])
def engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.getfixturevalue(f"{request.param}_engine")
    return found


def test_a_draw_depends_on_its_seed_alone(engine: Engine) -> None:
    """Same seed, same text, alone or in a batch and beside greedy answers; other seeds, other texts; a temperature
    near 0 says what greedy decoding says."""
    prompt = Prompts(5).prompt(20)
    kinds = [Generate(12, sampling=Sampling(1.5, seed=seed)) for seed in (1, 2, 3)]
    greedy, cold = Generate(12), Generate(12, sampling=Sampling(1e-4, seed=9))
    asked = [Request(prompt, kind) for kind in (*kinds, greedy, cold)]
    together = [answer.tokens for answer in answers(engine, asked)]
    alone = [answers(engine, [request])[0].tokens for request in asked]
    assert together == alone
    assert len(set(together[:4])) == 4 and together[3] == together[4]


@given(st.lists(st.floats(-8, 8), min_size=2, max_size=12), st.floats(0.05, 1), st.integers(0, 12))
def test_kept_probabilities_are_the_nucleus(logits: list[float], top_p: float, top_k: int) -> None:
    """By hand with numpy: sort, cut at k, add up until p is reached, normalize."""
    found = kept(torch.tensor(logits, dtype=torch.float64), Sampling(1.0, top_p, top_k)).numpy()
    order = np.argsort(-np.array(logits), kind="stable")[: top_k or None]
    weights = np.exp(np.array(logits)[order] - max(logits))
    weights /= weights.sum()
    count = 1
    while count < len(order) and weights[:count].sum() < top_p - 1e-12:
        count += 1
    # A sum that lies on the bound may go either way.
    if not any(abs(weights[:n].sum() - top_p) < 1e-9 for n in range(1, len(order) + 1)):
        expected = np.zeros(len(logits))
        expected[order[:count]] = weights[:count] / weights[:count].sum()
        np.testing.assert_allclose(found, expected, atol=1e-12)


@given(st.lists(st.sampled_from([0.0, 1.0, 0.25]), min_size=1, max_size=7), st.integers(1, 7))
def test_best_of_k_is_the_mean_over_all_choices_of_k(values: list[float], k: int) -> None:
    every = [max(some) for some in combinations(values, min(k, len(values)))]
    assert best_of(k, values) == pytest.approx(np.mean(every))
    assert best_of(k, values, lower_is_better=True) == pytest.approx(-best_of(k, [-one for one in values]))
    if set(values) <= {0.0, 1.0}:  # pass@k of arXiv:2107.03374, equation 1
        n, right = len(values), int(sum(values))
        assert best_of(k, values) == pytest.approx(1 - comb(n - right, min(k, n)) / comb(n, min(k, n)))


@pytest.fixture
def run(command: Callable[..., Said], tiny_model: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def done(*words: str) -> dict[str, Any]:
        common = ("--data", "bundled", "--tasks", TASK, "--engine", "transformers", "--limit", "3", "--json")
        said = command("run", "--model", tiny_model, *common, "--output", tmp_path / "run", *words)
        assert said.code == 0, said.err
        return {**json.loads(said.out), "said": said.err}

    return done


def test_draws_are_stored_scored_and_added_to(run: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """Right values: the mean, the best and the most frequent answer from the run's own lines, by hand."""
    results = run("--temperature", "1.5", "--num-samples", "4")
    rows = rows_of(tmp_path / "run", TASK)
    assert len(rows) == 12 and {row["id"].partition("~")[0] for row in rows} == {"0", "1", "2"}
    assert len({row["key"] for row in rows}) == 12
    task = results["tasks"][TASK]
    assert task["n"] == task["expected"] == 12 and results["manifest"]["decoding"] == "sampled"
    name = task["score_metrics"][0]
    (stored,) = read_plan(tmp_path / "run")
    of_question: dict[str, list[float]] = {}
    texts: dict[str, list[tuple[str, float]]] = {}
    for row in joined_rows(tmp_path / "run", stored):
        worth = metric(name).values(row)[name]
        of_question.setdefault(row.cluster, []).append(worth)
        texts.setdefault(row.cluster, []).append(((row.answer.text or "").strip(), worth))
    assert task["metrics"][name]["value"] == pytest.approx(
        np.mean([one for all in of_question.values() for one in all])
    )
    best = np.mean([max(values) for values in of_question.values()])
    assert task["metrics"][f"best@4:{name}"]["value"] == pytest.approx(best)
    voted = []
    for said in texts.values():
        counts = Counter(text for text, _ in said)
        voted.append(np.mean([dict(reversed(said))[text] for text, n in counts.items() if n == max(counts.values())]))
    assert task["metrics"][f"majority:{name}"]["value"] == pytest.approx(np.mean(voted))

    again = run("--temperature", "1.5", "--num-samples", "4")
    assert len(rows_of(tmp_path / "run", TASK)) == 12 and again["tasks"] == results["tasks"]
    more = run("--temperature", "1.5", "--num-samples", "5")
    assert len(rows_of(tmp_path / "run", TASK)) == 15 and more["tasks"][TASK]["n"] == 15
    other = run("--temperature", "1.5", "--num-samples", "4", "--sampling-seed", "100")
    assert len(rows_of(tmp_path / "run", TASK)) == 27 and other["tasks"][TASK]["n"] == 12


def test_several_greedy_answers_are_refused(command: Callable[..., Said], tiny_model: Path, tmp_path: Path) -> None:
    words = ("--data", "bundled", "--tasks", TASK, "--num-samples", "3", "--output", tmp_path / "run")
    said = command("run", "--model", tiny_model, *words)
    assert said.code == 2 and "--num-samples" in said.err and "--temperature" in said.err
    assert not (tmp_path / "run").exists()
