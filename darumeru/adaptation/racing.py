"""Races over real candidates: answers from the run folders, each race kept in OUT/races, so that a kill and a repeat
change nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from darumeru.adaptation.predictors import Check, checks, doubt_of, predictors_of
from darumeru.adaptation.race import Line, Outcome, Round, Rules, Standing, going, judge, next_round, outcome
from darumeru.adaptation.race_settings import RaceConfig, asked_tasks, race_rules, score_weights, task_sizes
from darumeru.adaptation.scoring import Scored, Scorer
from darumeru.adaptation.store import Made
from darumeru.core.errors import UserError
from darumeru.core.files import content_hash, parse_json, to_json, write_atomically
from darumeru.core.options import Effect, of_effect
from darumeru.leaderboard.statistics import run_statistics
from darumeru.runs.run import load_run

RACES = "races"
SCHEMA = 1


@dataclass(frozen=True)
class Held:
    """A race that is over. asked, full: samples that were asked of all candidates, and that scoring all in full takes.
    predictors: candidate -> cheap numbers; checks: whether those go with the full score."""

    outcome: Outcome
    verdict: str
    asked: int
    full: int
    predictors: Mapping[str, Mapping[str, float]]
    checks: tuple[Check, ...] = ()

    @property
    def lines(self) -> list[str]:
        """What is to be said of it."""
        saved = (
            f"{self.asked} samples were asked, {self.asked / max(self.full, 1):.0%} of the {self.full} of all in full"
        )
        return [f"race: {self.verdict}; {saved}", *(str(one) for one in self.checks)]

    def said(self, label: str) -> str:
        """What the race says of one candidate."""
        if label in self.outcome.why:
            return self.outcome.why[label]
        if label not in self.outcome.left:
            return ""
        if self.outcome.named or len(self.outcome.left) == 1:
            return "winner of the race"
        return "not told apart from the best"


class Racing:
    """Holds races in an output folder. told: called with the candidates after each round, when there are new scores.
    step_of: the step that made a candidate, None for given models."""

    def __init__(
        self,
        scorer: Scorer,
        config: RaceConfig,
        seed: int,
        say: Callable[[str], None],
        told: Callable[[Made, Scored], None],
        step_of: Callable[[Made], Any],
    ) -> None:
        self.scorer = scorer
        self.config = config
        self.say = say
        self.told = told
        self.step_of = step_of
        drawn = scorer.settings.subset_seed
        self.seed = seed if drawn is None else drawn

    def known(self, candidates: Sequence[Made]) -> Held | None:
        """The race of these candidates, where it is over."""
        stored = self._read(self._file(candidates))
        return _held(stored) if stored.get("over") else None

    def hold(self, candidates: Sequence[Made]) -> Held:
        """Race the candidates, or go on with their race. The winner has its full score afterwards. UserError for tasks
        that no race can be held over."""
        known = self.known(candidates)
        if known is not None:
            return known
        file = self._file(candidates)
        made = {one.label: one for one in candidates}
        settings = self.scorer.settings
        specs = asked_tasks(settings)
        sizes = task_sizes(specs, settings)
        rules = race_rules(self.config, score_weights(specs, settings.metric), sizes, self.seed)
        stored = self._read(file)
        rounds = [_round(one) for one in stored.get("rounds", ())]
        before = stored.get("before") or {name: self._answered(one) for name, one in made.items()}
        write = _writer(file, made, rules, before)
        write(rounds)
        ended = self._rounds(made, rounds, rules, sizes, write)
        return self._close(file, made, outcome(list(made), rounds, ended), rounds, rules, before)

    def _rounds(
        self,
        made: Mapping[str, Made],
        rounds: list[Round],
        rules: Rules,
        sizes: Mapping[str, int],
        write: Callable[[Sequence[Round]], None],
    ) -> str:
        """Add rounds until the race is over; says why it ended early, if it did."""
        deadline = time.monotonic() + 60 * self.config.minutes if self.config.minutes else None
        while len(made) > 1 and (n := next_round(list(made), rounds, rules)) is not None:
            asked: dict[str, Standing | str] = {}
            for name in _best_first(going(list(made), rounds), rounds):
                if deadline is not None and time.monotonic() > deadline:
                    return f"the {self.config.minutes:g} minutes were over"
                asked[name] = self._ask(made[name], n, len(rounds) == 0, rules, sizes)
            rounds.append(judge(asked, rounds, rules))
            write(rounds)
            self._say_round(rounds[-1])
        return ""

    def _ask(self, made: Made, n: int, first: bool, rules: Rules, sizes: Mapping[str, int]) -> Standing | str:
        doubt = doubt_of(self.step_of(made), made.path) if first else ""
        if doubt:
            return f"suspect fit: {doubt}"
        whole = n >= max(sizes.values())
        scored = self.scorer.score(made) if whole else self.scorer.part(made, n, self.seed)
        self.told(made, scored)
        if scored.failed:
            return scored.failed
        used_up = frozenset(name for name, size in sizes.items() if scored.part is None or n >= size)
        return standing_of(scored, rules.weights, used_up)

    def _say_round(self, one: Round) -> None:
        left = [f"{line.name} {line.why}" for line in one.lines if line.why]
        going_on = sum(line.fate in ("leads", "stays") for line in one.lines)
        text = f"race, round {one.number}: {one.n} samples a task, {one.leader} leads, {going_on} go on"
        self.say("; ".join([text, *left]))

    def _close(
        self,
        file: Path,
        made: Mapping[str, Made],
        found: Outcome,
        rounds: Sequence[Round],
        rules: Rules,
        before: Mapping[str, int],
    ) -> Held:
        leader = found.leader or (next(iter(made)) if len(made) == 1 else None)
        full = 0
        if leader is not None:
            scored = self.scorer.score(made[leader])
            self.told(made[leader], scored)
            full = scored.samples
            found = replace(found, leader=leader, left=found.left or (leader,))
        asked = sum(max(0, self._answered(one) - before.get(name, 0)) for name, one in made.items())
        values = {
            name: predictors_of(self.step_of(one), one.path, self.scorer.known(one)) for name, one in made.items()
        }
        held = Held(
            found,
            found.verdict(rules.error),
            asked,
            sum(max(0, full - before.get(name, 0)) for name in made),
            {name: one for name, one in values.items() if one},
            tuple(checks(values, {name: self._full(one) for name, one in made.items()}, rules)),
        )
        document = {**_document(made, rules, rounds, before), "over": not found.ended, **_plain(held)}
        write_atomically(file, to_json(document))
        return held

    def _full(self, made: Made) -> Standing | None:
        """The standing of a candidate that is scored in full, in all tasks."""
        scored = self.scorer.known(made)
        return None if scored is None or scored.failed or scored.part is not None else standing_of(scored)

    def _answered(self, made: Made) -> int:
        scored = self.scorer.known(made)
        return scored.samples if scored else 0

    def _file(self, candidates: Sequence[Made]) -> Path:
        config = dict(of_effect(self.config, Effect.SCORES))
        ids = sorted([one.id, one.label] for one in candidates)
        name = content_hash([ids, self.scorer.key, self.scorer.settings.metric, config, self.seed])[:12]
        return self.scorer.output / RACES / f"{name}.json"

    def _read(self, file: Path) -> dict[str, Any]:
        if not file.is_file():
            return {}
        try:
            values = parse_json(file.read_text(encoding="utf-8"))
            [_round(one) for one in values["rounds"]]
            return dict(values)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"is broken: {error}", str(file), "delete it: answers are stored elsewhere") from error


def standing_of(scored: Scored, tasks: Iterable[str] = (), used_up: frozenset[str] = frozenset()) -> Standing:
    """What a scored candidate's run folder says of these tasks, of all that it has by default."""
    run = load_run(scored.run)
    found = run_statistics(run)
    tasks = list(tasks) or list(found)
    words = run.results.token_efficiency.get("ru", {}).get("tokens_per_word", float("inf"))
    statistics = {name: tuple(found.of(name, found.names(name)).values()) for name in tasks}
    return Standing(statistics, scored.samples, used_up, words)


def _writer(
    file: Path, made: Mapping[str, Made], rules: Rules, before: Mapping[str, int]
) -> Callable[[Sequence[Round]], None]:
    """What keeps a race after each of its rounds."""

    def write(rounds: Sequence[Round]) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, to_json({**_document(made, rules, rounds, before), "over": False}))

    return write


def _document(
    made: Mapping[str, Made], rules: Rules, rounds: Sequence[Round], before: Mapping[str, int]
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "candidates": sorted(made),
        "rules": asdict(rules),
        "before": dict(before),
        "rounds": [asdict(one) for one in rounds],
    }


def _plain(held: Held) -> dict[str, Any]:
    values = asdict(held)
    return {**values, "lines": held.lines}


def _held(values: Mapping[str, Any]) -> Held:
    of = values["outcome"]
    found = Outcome(of["leader"], tuple(of["left"]), of["why"], of["samples"], of["rivals"], of["ended"])
    told = tuple(Check(**one) for one in values["checks"])
    return Held(found, values["verdict"], values["asked"], values["full"], values["predictors"], told)


def _round(values: Mapping[str, Any]) -> Round:
    return Round(values["number"], values["n"], values["level"], tuple(Line(**line) for line in values["lines"]))


def _best_first(names: Sequence[str], rounds: Sequence[Round]) -> list[str]:
    """By the score of the last round, so that a time limit meets the worst first."""
    scores = {line.name: line.score for line in rounds[-1].lines} if rounds else {}
    return sorted(names, key=lambda name: (-(scores.get(name) or 0.0), name))
