"""The runs of a folder as a list, and the boards that those which are finished make up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from darumeru.core.errors import UserError
from darumeru.core.numbers import interval, number
from darumeru.leaderboard.board import BoardOptions, build_board
from darumeru.leaderboard.contenders import unique_names
from darumeru.leaderboard.curve import TITLES, measures_of, scores_of
from darumeru.leaderboard.table import Table
from darumeru.metrics.measure import SCORE
from darumeru.runs.results import Score
from darumeru.runs.run import Run
from darumeru.viewer.folder import FoundRun


@dataclass(frozen=True)
class Line:
    """One run of the list. state: "finished", "running", "interrupted" or "broken_run"; reason: why it is broken.
    score, measure, interval: its main number, what that is, and its 95 % interval."""

    id: str
    name: str
    state: str
    link: str = ""
    score: str = ""
    measure: str = ""
    interval: str = ""
    answered: int = 0
    expected: int = 0
    profile: str = ""
    started: str = ""
    reason: str = ""


def line_of(found: FoundRun, run: Run, link: str) -> Line:
    """The line of a run that can be read."""
    results = run.results
    scores = scores_of(results)
    main = next((name for name in TITLES if name in scores), None)
    best = scores.get(main or "", Score(None))
    digits = measures_of(results).get(main or "", SCORE).digits
    return Line(
        id=found.id,
        name=run.name,
        state=str(run.manifest["status"]),
        link=link,
        score=number(best.value, digits) if main else "",
        measure=TITLES.get(main or "", ""),
        interval=interval(best.low, best.high, digits),
        answered=sum(task.n for task in results.tasks.values()),
        expected=sum(task.expected for task in results.tasks.values()),
        profile=str(run.manifest["profile"]),
        started=str(run.manifest["started"])[:16].replace("T", " "),
    )


def sets_of(runs: Sequence[Run]) -> list[list[Run]]:
    """The finished runs by what can stand on one board: those with a task in common, the richest set first."""
    sets: list[tuple[set[str], list[Run]]] = []
    for run in sorted(runs, key=lambda one: -len(one.results.tasks)):
        tasks = set(run.results.tasks)
        for common, members in sets:
            if common & tasks:
                common &= tasks
                members.append(run)
                break
        else:
            sets.append((tasks, [run]))
    order = {id(run): place for place, run in enumerate(runs)}
    return [sorted(members, key=lambda run: order[id(run)]) for _, members in sets]


def board_of(runs: Sequence[Run]) -> tuple[Table | None, str]:
    """The board of these runs, incomplete ones and those made otherwise among them, marked; or why there is none."""
    try:
        return build_board(runs, (), BoardOptions(allow_partial=True, allow_different=True)), ""
    except UserError as error:
        return None, error.line()


def board_links(runs: Sequence[Run], links: Sequence[str]) -> dict[str, str]:
    """Key of a board's row -> address of the run's report."""
    return dict(zip(unique_names(runs), links, strict=True))


def set_title(runs: Sequence[Run]) -> str:
    """What a board is over, in a few words."""
    groups = list(dict.fromkeys(task.group for run in runs for task in run.results.tasks.values()))
    return ", ".join(groups[:3]) + (" …" if len(groups) > 3 else "")
