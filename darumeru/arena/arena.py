"""`darumeru arena`: models against each other before a judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from darumeru.arena.battles import BattleSource, Fought, fought
from darumeru.arena.config import ArenaConfig
from darumeru.arena.contestants import Contestant, read_contestants
from darumeru.arena.pairs import ActivePairs, Pairing, all_pairings
from darumeru.arena.ratings import Fitted, RatingOptions, Table, fit, resampled_elo
from darumeru.core.errors import UserError, near_names
from darumeru.engines import load_engine
from darumeru.engines.lent import lent
from darumeru.engines.protocol import Engine, EngineOptions
from darumeru.judging.questions import by_probability
from darumeru.metrics.statistic import FloatArray
from darumeru.runs.evaluate import run_date
from darumeru.runs.progress import Progress, Silent
from darumeru.runs.run import Run
from darumeru.runs.session import EngineLoader, Session, output_folder
from darumeru.runs.subject import Subject, find_subject
from darumeru.tasks.rubrics import Rubric, find_rubric

RUBRIC = "better_answer"


@dataclass(frozen=True)
class Arena:
    """judge: the judge's run. fought: the battles. total: battles that a whole arena has. fitted, plain: ratings with
    and without control of style; elo, plain_elo: model -> points; draws: model -> points [resamples]."""

    config: ArenaConfig
    anchor: str
    contestants: tuple[Contestant, ...]
    judge: Run
    fought: Fought
    total: int
    fitted: Fitted
    elo: Mapping[str, float]
    plain_elo: Mapping[str, float]
    draws: Mapping[str, FloatArray] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def saved(self) -> int:
        """Battles that did not have to be asked."""
        return self.total - self.fought.asked


class _OneEngine:
    """The judge's engine, loaded when it is first needed and kept for all rounds."""

    def __init__(self, load: EngineLoader) -> None:
        self._load = load
        self._engine: Engine | None = None

    def load(self, name: str, options: EngineOptions) -> Engine:
        """What Session.carry_out takes in the place of load_engine."""
        if self._engine is None:
            self._engine = self._load(name, options)
        return lent(self._engine)

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()


class _LaterRound(Silent):
    """Tells of a round after the first only that it asks: all else was said before."""

    def __init__(self, told: Progress) -> None:
        self._told = told

    def start(self, total: int, done: int) -> None:
        self._told.start(total, done)

    def advance(self, task: str) -> None:
        self._told.advance(task)


class _Rounds:
    """Asks battles round by round in one folder; every round is the run of the judge with more questions."""

    def __init__(
        self, config: ArenaConfig, contestants: Sequence[Contestant], progress: Progress, load: EngineLoader
    ) -> None:
        self.config = config
        self.contestants = contestants
        self.progress = progress
        self.engine = _OneEngine(load)
        self.folder = config.folder
        self.rubric = _rubric(config)
        self.asked = config.asked((f"arena:{config.questions}",), config.profile)
        self.subject: Subject = find_subject(self.asked, run_date(config.date, self.folder))
        self.probability = by_probability(self.rubric, self.subject, config.verdict, config.thinking)
        self.pairings: list[Pairing] = []
        self.run: Run | None = None
        self.failures: dict[str, str] = {}

    def ask(self, more: Sequence[Pairing]) -> Fought:
        """Judge these battles too, as far as they are not judged; all so far with their outcomes."""
        self.pairings += more
        source = BattleSource(
            self.config.questions, self.contestants, self.pairings, self.rubric, self.probability
        )  # fmt: skip
        progress = self.progress if self.run is None else _LaterRound(self.progress)
        session = Session.prepare(self.asked, self.subject, progress, [source])
        output_folder(self.folder)
        self.run, failures = session.carry_out(self.folder, self.engine.load)
        self.failures = {**self.run.results.failed, **failures.tasks}
        return fought(self.folder, self.pairings, self.contestants, self.config.style == "published")


def hold_arena(config: ArenaConfig, progress: Progress | None = None, load_engine: EngineLoader = load_engine) -> Arena:
    """Ask the judge whatever it has not judged yet, then rate.

    UserError for what the caller must mend, before weights are loaded; RunFailed when the engine dies: what was
    answered is stored and the same call goes on.
    """
    progress = progress or Silent()
    contestants = read_contestants(config.runs, config.questions)
    anchor = _anchor(config, contestants)
    pairs = all_pairings(contestants, anchor if config.pairs == "anchor" else None, config.seed)
    _check_connected(contestants, list(pairs), anchor)
    progress.phase("looking at the judge")
    options = RatingOptions(config.ties, config.style)
    rounds = _Rounds(config, contestants, progress, load_engine)
    active = ActivePairs(pairs, options, config.precision)
    try:
        if config.active:
            found = rounds.ask(active.first())
            while more := active.next(fit(Table.of(found.battles, options), options)) if found.battles else []:
                found = rounds.ask(more)
        else:
            found = rounds.ask([Pairing(*pair, one) for pair, questions in pairs.items() for one in questions])
    finally:
        rounds.engine.close()
    return _rated(config, anchor, contestants, rounds, found, active.total)


def _rated(
    config: ArenaConfig,
    anchor: str,
    contestants: Sequence[Contestant],
    rounds: _Rounds,
    found: Fought,
    total: int,
) -> Arena:
    assert rounds.run is not None
    options, without = RatingOptions(config.ties, config.style), RatingOptions(config.ties, "none")
    named = {name for one in found.battles for name in (one.a, one.b)}
    if lacking := [one.name for one in contestants if one.name not in named]:
        raise UserError(f"no battle of {lacking[0]} was judged", str(rounds.folder), _why(rounds.failures))
    table = Table.of(found.battles, options)
    fitted = fit(table, options)
    draws: Mapping[str, FloatArray] = {}
    if config.resamples and len(table.questions) > 1:
        rounds.progress.phase("computing intervals")
        draws = resampled_elo(table, options, anchor, config.resamples, config.seed, fitted)
    plain = fit(Table.of(found.battles, without), without)
    return Arena(
        config, anchor, tuple(contestants), rounds.run, found, total, fitted, fitted.elo(anchor), plain.elo(anchor),
        draws, rounds.failures,
    )  # fmt: skip


def _why(failures: Mapping[str, str]) -> str:
    return next(iter(failures.values()), "the same command goes on")


def _rubric(config: ArenaConfig) -> Rubric:
    rubric = find_rubric(config.rubric or RUBRIC, config.profile)
    if rubric.kind != "pair":
        raise UserError(f"rubric `{rubric.name}` is of single answers", "--rubric", "`darumeru judge` asks those")
    return rubric


def _anchor(config: ArenaConfig, contestants: Sequence[Contestant]) -> str:
    names = [one.name for one in contestants]
    anchor = config.anchor or names[0]
    if anchor not in names:
        raise UserError(f"no model is called `{anchor}`", "--anchor", near=near_names(anchor, names))
    return anchor


def _check_connected(contestants: Sequence[Contestant], pairs: Sequence[tuple[str, str]], anchor: str) -> None:
    """UserError for a model that shares no question with the others, however far around: its rating says nothing."""
    reached = {anchor}
    while more := {name for pair in pairs if reached & set(pair) for name in pair} - reached:
        reached |= more
    for one in contestants:
        if one.name not in reached:
            raise UserError(f"{one.name} answered no question that others answered", "RUNS", "ask it the same task")
