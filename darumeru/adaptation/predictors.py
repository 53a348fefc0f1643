"""Cheap numbers about candidates, and whether they go with the full score. They order and warn; they drop nobody but
by a step's own doubt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from darumeru.adaptation.race import Rules, Standing, resampled
from darumeru.adaptation.scoring import Scored
from darumeru.metrics.statistic import FloatArray

FEWEST = 4
"""Candidates scored in full, below which a rank correlation says nothing."""
RESAMPLES = 1000
PREDICTS = 0.5


@dataclass(frozen=True)
class Check:
    """Spearman's rho over `count` candidates that are scored in full between a predictor, turned so that more is
    better, and the score that selects; low, high: 95 % bootstrap interval over samples."""

    predictor: str
    count: int
    rho: float
    low: float
    high: float

    @property
    def predicts(self) -> bool:
        return self.low > PREDICTS

    def __str__(self) -> str:
        verdict = "predicts the order" if self.predicts else "is not shown to predict the order"
        figures = f"Spearman's rho {self.rho:.2f} [{self.low:.2f}, {self.high:.2f}] over {self.count} models"
        return f"{self.predictor} {verdict} ({figures})"


def doubt_of(step: Any, model: Path) -> str:
    """Why the step that made a model takes it for a failure; "" where it does not."""
    doubt = getattr(step, "doubt", None)
    return str(doubt(model)) if doubt else ""


def predictors_of(step: Any, model: Path, scored: Scored | None) -> dict[str, float]:
    """Cheap numbers of which less is better: what the step says of the model (`predictors`), and bits per byte."""
    found: dict[str, float] = dict(step.predictors(model)) if hasattr(step, "predictors") else {}
    for name, measure in (scored.measures if scored else {}).items():
        value = scored.scores[name].value if scored and name in scored.scores else None
        if measure.kind == "bits_per_byte" and "/" in name and value is not None:
            found[name] = value
    return found


def checks(
    values: Mapping[str, Mapping[str, float]], full: Mapping[str, Standing | None], rules: Rules
) -> Iterator[Check]:
    """One check for each predictor that enough candidates with a full score have."""
    rules = replace(rules, resamples=RESAMPLES)
    for name in sorted({name for one in values.values() for name in one}):
        standings = {label: one for label, one in full.items() if one is not None and name in values[label]}
        if len(standings) < FEWEST or list(rules.weights) == [name]:
            continue
        cheap = np.array([-values[label][name] for label in standings])
        scores, draws = resampled(list(standings.values()), rules)
        drawn = np.repeat(cheap[:, None], RESAMPLES, axis=1)
        if all(name in one.tasks for one in standings.values()):
            cheap, drawn = resampled(list(standings.values()), replace(rules, weights={name: -1.0}))
        rho = float(_spearman(cheap[:, None], scores[:, None])[0])
        spread = _spearman(drawn, draws)
        spread = spread[np.isfinite(spread)]
        if np.isfinite(rho) and spread.size:
            low, high = np.quantile(spread, [0.025, 0.975])
            yield Check(name, len(standings), rho, float(low), float(high))


def _spearman(a: FloatArray, b: FloatArray) -> FloatArray:
    """Rank correlations [r] of columns [k, r]; ties share their mean rank; NaN where one side is constant."""
    from scipy.stats import rankdata

    x, y = (rankdata(one, axis=0) - (len(one) + 1) / 2 for one in (a, b))
    with np.errstate(invalid="ignore", divide="ignore"):
        rho: FloatArray = (x * y).sum(axis=0) / np.sqrt((x * x).sum(axis=0) * (y * y).sum(axis=0))
    return rho
