"""Ratings from battles: Bradley-Terry with ties and control of style, on the Elo scale.

The strength of a model is its theta; s_a / s_b = 10^(theta_a - theta_b) e^(beta z), where z holds the standardised
differences of style. Two rules of ties:

independent: p(tie) = sigmoid(tau) for every pair, p(a wins) = (1 - p(tie)) s_a / (s_a + s_b), as the authors' program
rates. rao-kupper: p(a wins) = s_a / (s_a + nu s_b), nu = 1 + e^tau, p(tie) is the rest (Rao and Kupper, 1967).

All parameters maximise the likelihood less PENALTY times the sum of their squares.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from darumeru.arena.battle import A_WINS, B_WINS, TIE, Battle
from darumeru.core.errors import UserError, near_names
from darumeru.metrics.statistic import FloatArray, IntArray

TIES = ("independent", "rao-kupper")
STYLES = ("own", "published", "none")
PENALTY = 0.25
SCALE, ANCHORED = 400.0, 1000.0
_LN10 = math.log(10.0)


@dataclass(frozen=True)
class RatingOptions:
    """ties: one of TIES. style: "own" (each feature against the same of the other answer), "published" (against the
    other's length, as in the authors' program) or "none"."""

    ties: str = "independent"
    style: str = "own"

    def __post_init__(self) -> None:
        for value, known, name in ((self.ties, TIES, "--ties"), (self.style, STYLES, "--style")):
            if value not in known:
                raise UserError(f"must be {', '.join(known)}, not `{value}`", name, near=near_names(value, known))


@dataclass(frozen=True)
class Fitted:
    """models: their names. theta [models]; beta [features], of standardised differences; tau: of ties. information
    [models, models]: second derivatives of what is minimised, for how sure the thetas are."""

    models: tuple[str, ...]
    theta: FloatArray
    beta: FloatArray
    tau: float
    information: FloatArray

    def elo(self, anchor: str) -> dict[str, float]:
        """Model -> rating, on a scale on which the anchor has 1000 and 400 points are odds of ten to one."""
        base = self.theta[self.models.index(anchor)]
        return {
            name: ANCHORED + SCALE * float(theta - base) for name, theta in zip(self.models, self.theta, strict=True)
        }


@dataclass(frozen=True)
class Table:
    """Battles as arrays: places of the models [n], outcomes [n], relative differences of style [n, features], and which
    question each belongs to [n] of `questions`."""

    models: tuple[str, ...]
    a: IntArray
    b: IntArray
    outcome: IntArray
    style: FloatArray
    question: IntArray
    questions: tuple[str, ...]

    @staticmethod
    def of(battles: Sequence[Battle], options: RatingOptions) -> Table:
        """The battles in their order; models by name."""
        models = tuple(sorted({name for one in battles for name in (one.a, one.b)}))
        questions = tuple(dict.fromkeys(one.question for one in battles))
        place = {name: number for number, name in enumerate(models)}
        number = {name: place for place, name in enumerate(questions)}
        pairs = ((one.style_a, one.style_b) for one in battles)
        style = [] if options.style == "none" else [_differences(*pair, options.style) for pair in pairs]
        return Table(
            models,
            np.array([place[one.a] for one in battles], dtype=np.int64),
            np.array([place[one.b] for one in battles], dtype=np.int64),
            np.array([one.outcome for one in battles], dtype=np.int64),
            np.array(style, dtype=np.float64).reshape(len(battles), -1),
            np.array([number[one.question] for one in battles], dtype=np.int64),
            questions,
        )


def _differences(a: Sequence[int], b: Sequence[int], style: str) -> list[float]:
    other = b if style == "own" else [b[0]] * len(b) if b else []
    return [(one - two) / (one + two) if one + two else 0.0 for one, two in zip(a, other, strict=True)]


def fit(table: Table, options: RatingOptions, weights: FloatArray | None = None, start: Fitted | None = None) -> Fitted:
    """The parameters that fit the battles best. weights [n]: how often each battle counts (default once). start: from
    where to look, for resamples of one table."""
    from scipy.optimize import minimize

    weights = np.ones(len(table.a)) if weights is None else weights
    style = _standardised(table.style, weights)
    n, features = len(table.models), style.shape[1]
    first = np.zeros(n + features + 1)
    if start is not None and len(start.beta) == features:
        first = np.concatenate([start.theta, start.beta, [start.tau]])
    found = minimize(
        _loss,
        first,
        args=(table, style, weights, options.ties),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 1000, "gtol": 1e-6, "ftol": 1e-14},
    )
    theta, beta, tau = found.x[:n], found.x[n:-1], float(found.x[-1])
    return Fitted(table.models, theta, beta, tau, _information(found.x, table, style, weights, options.ties))


def _standardised(style: FloatArray, weights: FloatArray) -> FloatArray:
    """Each feature with mean 0 and deviation 1 over the battles; one that never varies is left out."""
    total = max(float(weights.sum()), 1.0)
    centred = style - (weights @ style) / total
    deviation = np.sqrt((weights @ centred**2) / total)
    varied = deviation > 0
    found: FloatArray = centred[:, varied] / deviation[varied]
    return found


def _margin(parameters: FloatArray, table: Table, style: FloatArray) -> FloatArray:
    """ln(s_a / s_b) of each battle."""
    n = len(table.models)
    margin: FloatArray = _LN10 * (parameters[table.a] - parameters[table.b]) + style @ parameters[n:-1]
    return margin


def _loss(
    parameters: FloatArray, table: Table, style: FloatArray, weights: FloatArray, ties: str
) -> tuple[float, FloatArray]:
    """What is minimised, and its gradient."""
    margin, tau = _margin(parameters, table, style), float(parameters[-1])
    logs, slopes, tau_slopes = (_independent if ties == "independent" else _rao_kupper)(margin, tau, table.outcome)
    pulled = weights * slopes
    n = len(table.models)
    gradient = np.concatenate(
        [
            _LN10 * (np.bincount(table.a, pulled, n) - np.bincount(table.b, pulled, n)),
            pulled @ style,
            [weights @ tau_slopes],
        ]
    )
    value = -float(weights @ logs) + PENALTY * float(parameters @ parameters)
    return value, 2 * PENALTY * parameters - gradient


def _independent(margin: FloatArray, tau: float, outcome: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """ln p of each outcome, and its derivatives by margin and tau, where ties carry no strength."""
    sign = np.select([outcome == A_WINS, outcome == B_WINS], [1.0, -1.0], 0.0)
    decided = outcome != TIE
    logs = np.where(decided, _log_sigmoid(sign * margin) + _log_sigmoid(-tau), _log_sigmoid(tau))
    slopes = np.where(decided, sign * _sigmoid(-sign * margin), 0.0)
    tau_slopes = np.where(decided, -_sigmoid(tau), _sigmoid(-tau))
    return logs, slopes, tau_slopes


def _rao_kupper(margin: FloatArray, tau: float, outcome: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The same under Rao and Kupper: ln p(a) = lsig(m - ln nu), ln p(b) = lsig(-m - ln nu), p(tie) = (nu^2 - 1)
    p(a) p(b)."""
    nu = 1 + math.exp(min(tau, 300.0))
    width, by_tau = math.log(nu), (nu - 1) / nu
    a, b = margin - width, -margin - width
    log_a, log_b, rest_a, rest_b = _log_sigmoid(a), _log_sigmoid(b), _sigmoid(-a), _sigmoid(-b)
    kinds = [outcome == A_WINS, outcome == B_WINS]
    extra = math.log(nu + 1) + min(tau, 300.0)
    logs = np.select(kinds, [log_a, log_b], log_a + log_b + extra)
    slopes = np.select(kinds, [rest_a, -rest_b], rest_a - rest_b)
    tie = -by_tau * (rest_a + rest_b) + by_tau * nu / (nu + 1) + 1
    return logs, slopes, np.select(kinds, [-by_tau * rest_a, -by_tau * rest_b], tie)


def _information(parameters: FloatArray, table: Table, style: FloatArray, weights: FloatArray, ties: str) -> FloatArray:
    """Expected second derivatives by the thetas, the other parameters as they are."""
    n = len(table.models)
    each = weights * expected_information(_margin(parameters, table, style), float(parameters[-1]), ties)
    found = 2 * PENALTY * np.eye(n)
    np.add.at(found, (table.a, table.a), each)
    np.add.at(found, (table.b, table.b), each)
    np.add.at(found, (table.a, table.b), -each)
    np.add.at(found, (table.b, table.a), -each)
    return found


def expected_information(margin: FloatArray, tau: float, ties: str) -> FloatArray:
    """How much a battle is expected to tell of theta_a - theta_b (Fisher information), by its margin."""
    if ties == "independent":
        found: FloatArray = _LN10**2 * _sigmoid(-tau) * _sigmoid(margin) * _sigmoid(-margin)
        return found
    width = math.log1p(math.exp(min(tau, 300.0)))
    a, b = _sigmoid(margin - width), _sigmoid(-margin - width)
    tie = np.maximum(1 - a - b, 0.0)
    rest: FloatArray = _LN10**2 * (a * (1 - a) ** 2 + b * (1 - b) ** 2 + tie * (b - a) ** 2)
    return rest


def _sigmoid(x: FloatArray | float) -> FloatArray:
    from scipy.special import expit

    found: FloatArray = np.asarray(expit(x))
    return found


def _log_sigmoid(x: FloatArray | float) -> FloatArray:
    from scipy.special import log_expit

    found: FloatArray = np.asarray(log_expit(x))
    return found


def resampled_elo(
    table: Table, options: RatingOptions, anchor: str, resamples: int, seed: int, start: Fitted
) -> Mapping[str, FloatArray]:
    """Model -> ratings [resamples] of arenas whose questions are drawn with replacement, each with all its battles."""
    generator = np.random.default_rng(seed)
    drawn = {name: np.empty(resamples) for name in table.models}
    for number in range(resamples):
        counts = np.bincount(
            generator.integers(0, len(table.questions), len(table.questions)), minlength=len(table.questions)
        )
        fitted = fit(table, options, counts[table.question].astype(np.float64), start)
        for name, value in fitted.elo(anchor).items():
            drawn[name][number] = value
    return drawn
