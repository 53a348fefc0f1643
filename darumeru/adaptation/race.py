"""A race: successive halving over samples with paired, clustered intervals; pure statistics, no model and no file.

Every candidate answers the same samples in the same order, twice as many in each round. A candidate leaves when the
paired interval of the leader's advantage lies above 0, or when it lies below a margin; never by its place alone. The
chance that the best of candidates is dropped at any time is at most `error`: the level of one interval is error divided
by 2, the rounds and the rivals (Bonferroni; the 2 because the leader may be either of two equal ones).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from math import ceil, inf, isfinite, log2
from typing import Literal

import numpy as np

from darumeru.leaderboard.significance import common_clusters, paired_scores
from darumeru.metrics.statistic import FloatArray, Statistic

Fate = Literal["leads", "stays", "beaten", "equal", "failed"]


@dataclass(frozen=True)
class Rules:
    """error: chance of naming a wrong winner. margin: differences that nobody cares for. first: samples a task in the
    first round. largest: samples of the largest task. resamples: bootstrap replicates of a standard error. weights:
    task -> weight in the full score, negative where lower is better."""

    largest: int
    weights: Mapping[str, float]
    error: float = 0.05
    margin: float = 0.005
    first: int = 8
    resamples: int = 400
    seed: int = 0

    @property
    def rounds(self) -> int:
        """Doublings of `first` that reach `largest`, plus one."""
        return 1 + max(0, ceil(log2(self.largest / self.first)))

    def samples(self, number: int) -> int:
        """Samples a task in round `number`, from 1."""
        return int(min(self.largest, self.first * 2 ** (number - 1)))


@dataclass(frozen=True)
class Standing:
    """What the answers of a candidate say so far. tasks: task -> statistics whose mean is its score. samples: answered
    in all tasks. used_up: tasks of which every sample is answered. tokens_per_word: decides between equal scores."""

    tasks: Mapping[str, tuple[Statistic, ...]]
    samples: int = 0
    used_up: frozenset[str] = frozenset()
    tokens_per_word: float = inf


@dataclass(frozen=True)
class Line:
    """A candidate in a round. score: weighted sum of the task scores, larger is better. difference: the leader's
    advantage with its interval at the level of the round. samples: answered so far. why: of one that leaves."""

    name: str
    fate: Fate
    score: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    samples: int = 0
    why: str = ""


@dataclass(frozen=True)
class Round:
    """number from 1; n: samples a task; level: 1 - a of the one-sided intervals; lines by name."""

    number: int
    n: int
    level: float
    lines: tuple[Line, ...]

    @property
    def leader(self) -> str | None:
        return next((line.name for line in self.lines if line.fate == "leads"), None)


@dataclass(frozen=True)
class Outcome:
    """leader: best score of the last round. left: those not told apart, the leader first; one: it is named. why: name
    -> why a candidate is not among them. samples: name -> answered. ended: why the race ended early, if it did."""

    leader: str | None
    left: tuple[str, ...]
    why: Mapping[str, str] = field(default_factory=dict)
    samples: Mapping[str, int] = field(default_factory=dict)
    rivals: int = 0
    ended: str = ""

    @property
    def named(self) -> bool:
        """Whether one candidate is the best with the stated error."""
        return len(self.left) == 1 and self.rivals > 0

    def verdict(self, error: float) -> str:
        """One sentence."""
        if self.leader is None:
            return "no candidate could be scored"
        if not self.rivals:
            return f"{self.leader} is the only one that could be scored"
        if self.named:
            return f"{self.leader} is the best ({1 - error:.0%} level)"
        ended = f" ({self.ended})" if self.ended else ""
        return f"not told apart: {', '.join(self.left)}{ended}"


def going(names: Sequence[str], rounds: Sequence[Round]) -> list[str]:
    """The candidates that are still asked."""
    left = {line.name for one in rounds for line in one.lines if line.fate in ("beaten", "equal", "failed")}
    return sorted(set(names) - left)


def next_round(names: Sequence[str], rounds: Sequence[Round], rules: Rules) -> int | None:
    """Samples a task that those still going are to have answered next; None when the race is over."""
    if not rounds:
        return rules.samples(1)
    if len(going(names, rounds)) < 2 or rounds[-1].n >= rules.largest:
        return None
    return rules.samples(len(rounds) + 1)


def judge(asked: Mapping[str, Standing | str], rounds: Sequence[Round], rules: Rules) -> Round:
    """The next round. asked: what those still going have answered, or why one could not be asked."""
    number = len(rounds) + 1
    n = rules.samples(number)
    failed = [Line(name, "failed", why=one) for name, one in asked.items() if isinstance(one, str)]
    standing = {name: asked[name] for name in sorted(asked) if not isinstance(asked[name], str)}
    entered = [line for line in rounds[0].lines if line.fate != "failed"] if rounds else list(standing)
    level = 1 - rules.error / (2 * rules.rounds * max(1, len(entered) - 1))
    ready = {name: one for name, one in standing.items() if isinstance(one, Standing)}
    lines = _compared(ready, number, n, level, rules) if ready else []
    return Round(number, n, level, tuple(sorted([*lines, *failed], key=lambda line: line.name)))


def outcome(names: Sequence[str], rounds: Sequence[Round], ended: str = "") -> Outcome:
    """What the rounds say in the end."""
    last = {line.name: line for one in rounds for line in one.lines}
    leader = next((one.leader for one in reversed(rounds) if one.leader), None)
    equal = [name for name in sorted(last) if last[name].fate == "equal"]
    left = [name for name in [*going(names, rounds), *equal] if name != leader]
    started = [line for line in rounds[0].lines if line.fate != "failed"] if rounds else []
    return Outcome(
        leader=leader,
        left=(leader, *left) if leader else (),
        why={name: line.why for name, line in last.items() if line.why},
        samples={name: line.samples for name, line in last.items()},
        rivals=max(0, len(started) - 1),
        ended=ended,
    )


def _compared(ready: Mapping[str, Standing], number: int, n: int, level: float, rules: Rules) -> list[Line]:
    names = list(ready)
    scores, draws = resampled([ready[name] for name in names], rules)
    order = sorted(names, key=lambda name: (_rank(scores[names.index(name)]), ready[name].tokens_per_word, name))
    leader = order[0]
    top = names.index(leader)
    whole = all(set(rules.weights) <= one.used_up for one in ready.values())
    freedom = _freedom(ready, n, rules)
    quantile = _quantile(level, freedom) if freedom else inf
    lines = []
    for place, name in enumerate(names):
        score = float(scores[place]) if isfinite(scores[place]) else None
        if name == leader:
            lines.append(Line(name, "leads", score, samples=ready[name].samples))
            continue
        spread = _spread(draws[top] - draws[place])
        half = quantile * spread if spread else 0.0
        one = Line(name, "stays", score, samples=ready[name].samples)
        advantage = float(scores[top] - scores[place])
        # No spread among the first few answers is no evidence; only equal answers to everything are.
        measured = spread > 0 or (whole and advantage == 0)
        lines.append(_judged(one, advantage, half, leader, number, rules) if measured else one)
    return lines


def _judged(line: Line, advantage: float, half: float, leader: str, number: int, rules: Rules) -> Line:
    """The line with the interval and what follows from it; as it is where a score has no meaning yet."""
    low, high = advantage - half, advantage + half
    if not (isfinite(low) and isfinite(high)):
        return line
    said = f"{leader} in round {number}: {advantage:.4f} [{low:.4f}, {high:.4f}]"
    line = replace(line, difference=advantage, low=low, high=high)
    if low > 0:
        return replace(line, fate="beaten", why=f"beaten by {said}")
    if high < rules.margin:
        return replace(line, fate="equal", why=f"equal within {rules.margin:g} to {said}")
    return line


def _rank(score: float) -> float:
    return -score if isfinite(score) else inf


def _freedom(ready: Mapping[str, Standing], n: int, rules: Rules) -> int:
    """Degrees of freedom: records a task less one, of the task with the fewest that still has others to ask."""
    sizes = [
        len(one.tasks[task][0].clusters)
        for one in ready.values()
        for task in rules.weights
        if task in one.tasks and task not in one.used_up
    ]
    return max(0, min([n, *sizes]) - 1)


def resampled(standings: Sequence[Standing], rules: Rules) -> tuple[FloatArray, FloatArray]:
    """Scores [k] of k candidates on the records that all of them have answered, and [k, resamples] of the same
    resampled clusters for all, tasks independently of each other."""
    values = np.zeros(len(standings))
    draws = np.zeros((len(standings), rules.resamples))
    for task, weight in rules.weights.items():
        of_metrics = [common_clusters(list(each)) for each in zip(*(one.tasks[task] for one in standings), strict=True)]
        share = weight / len(of_metrics)
        for statistics in of_metrics:
            values += share * np.array([one.value for one in statistics])
            if len(statistics[0].clusters) < 2:
                draws += share * np.array([[one.value] for one in statistics])
                continue
            seed = rules.seed * 1_000_003 + zlib.crc32(task.encode())
            draws += share * paired_scores(statistics, rules.resamples, seed)
    return values, draws


def _spread(differences: FloatArray) -> float:
    """Standard deviation of the replicates that have a meaning; NaN where that is fewer than half of them. Below the
    rounding of equal scores it is 0."""
    finite = differences[np.isfinite(differences)]
    if finite.size * 2 < differences.size:
        return float("nan")
    spread = float(finite.std(ddof=1))
    return 0.0 if spread < 1e-12 else spread


@cache
def _quantile(level: float, freedom: int) -> float:
    from scipy.stats import t

    return float(t.ppf(level, freedom))
