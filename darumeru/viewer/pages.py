"""The pages of the viewer, made by the renderers of the static ones; what was made is kept while its files stay."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from darumeru.core.errors import UserError
from darumeru.leaderboard import html_comparison, html_report
from darumeru.leaderboard.comparison import compare
from darumeru.leaderboard.curve import Point, learning_curve, read_curve
from darumeru.leaderboard.html_board import board_values
from darumeru.leaderboard.page import Served, render_page
from darumeru.leaderboard.report_pairs import read_pairs
from darumeru.leaderboard.report_samples import Samples, read_samples
from darumeru.leaderboard.table import Table
from darumeru.runs.run import Run, load_run, run_so_far
from darumeru.viewer.folder import Found, FoundCurve, FoundRun, scan
from darumeru.viewer.overview import Line, board_links, board_of, line_of, set_title, sets_of

KEPT_RUNS = 200
KEPT_SAMPLES = 4
EMPTY = Table("", (), (), "")
T = TypeVar("T")


class NoSuchPage(Exception):
    """An address that stands for nothing here."""


@dataclass(frozen=True)
class _Curve:
    """A learning curve with its picture and the addresses of its points' runs."""

    name: str
    picture: str
    points: tuple[tuple[int, str], ...]
    reason: str = ""


class Pages:
    """root: the folder of runs. home: where the pages lie, "/TOKEN/"."""

    def __init__(self, root: Path, home: str) -> None:
        self.root = root
        self.home = home
        self._runs = _Kept[Run | UserError](KEPT_RUNS)
        self._samples = _Kept[Samples](KEPT_SAMPLES)
        self._comparisons = _Kept[Any](KEPT_SAMPLES)
        self._boards = _Kept[tuple[Table | None, str]](KEPT_SAMPLES)

    def version(self, parts: tuple[str, ...], query: Mapping[str, str]) -> str:
        """Of what the page at this address is made from. NoSuchPage when there is none."""
        found = scan(self.root)
        match parts:
            case ("",):
                return found.version
            case ("run", id):
                return _run(found, id).version
            case ("compare",):
                return _pair_version(*_pair(found, query))
        raise NoSuchPage

    def page(self, parts: tuple[str, ...], query: Mapping[str, str]) -> str:
        """The page at this address; the same exceptions, and UserError for a run that cannot be read."""
        found = scan(self.root)
        match parts:
            case ("",):
                return self._overview(found, query.get("board", ""))
            case ("run", id):
                one = _run(found, id)
                run = self._load(one)
                points = html_report.curve_of(run.path)
                return html_report.render(run, self._samples_of(one, run), points, Served(one.version, self.home))
            case ("compare",):
                a, b = _pair(found, query)
                compared, samples = self._compared(a, b)
                return html_comparison.render(compared, samples, Served(_pair_version(a, b), self.home))
        raise NoSuchPage

    def chunk(self, version: str, number: int) -> str:
        """Texts of samples, as the pages hold them (base64 of gzipped JSON), of the version that a page was made
        from; NoSuchPage when that is gone."""
        samples = self._samples.get(version)
        if samples is None or not 0 <= number < len(samples.chunks):
            raise NoSuchPage
        return samples.chunks[number]

    def error(self, reason: str) -> str:
        """A page that says why there is none."""
        return render_page("message.html.j2", ["message.js"], Served("", self.home), title="Darumeru", reason=reason)

    def _overview(self, found: Found, board: str) -> str:
        lines, finished = self._lines(found)
        sets = sets_of([run for run, _ in finished])
        chosen = int(board) if board.isdecimal() and int(board) < len(sets) else 0
        table, reason = EMPTY, ""
        links: dict[str, str] = {}
        if sets:
            made, reason = self._boards.made(
                "".join(found.runs[self._id(run)].version for run in sets[chosen]), lambda: board_of(sets[chosen])
            )
            table = made or EMPTY
            links = board_links(sets[chosen], [self._link(self._id(run)) for run in sets[chosen]]) if made else {}
        return render_page(
            "view.html.j2",
            ["board.js"],
            Served(found.version),
            **board_values(table, links=links) | {"title": self.root.resolve().name},
            runs=lines,
            boards=[(place, set_title(members), len(members)) for place, members in enumerate(sets)],
            chosen=chosen,
            reason=reason,
            curves=[self._curve(one, found) for one in found.curves.values()],
            compare_at=f"{self.home}compare",
        )

    def _lines(self, found: Found) -> tuple[list[Line], list[tuple[Run, str]]]:
        """The lines of the list, and the finished runs that are no points of a curve, each with its id."""
        lines: list[Line] = []
        finished: list[tuple[Run, str]] = []
        for one in found.runs.values():
            if one.of_curve:
                continue
            try:
                run = self._load(one)
            except UserError as error:
                lines.append(Line(one.id, one.id, "broken_run", reason=error.line()))
                continue
            lines.append(line_of(one, run, self._link(one.id)))
            if run.manifest["status"] == "finished":
                finished.append((run, one.id))
        return lines, finished

    def _load(self, one: FoundRun) -> Run:
        def load() -> Run | UserError:
            try:
                return _read(one.path)
            except UserError as error:
                return error

        run = self._runs.made(one.version, load)
        if isinstance(run, UserError):
            raise run
        return run

    def _samples_of(self, one: FoundRun, run: Run) -> Samples:
        return self._samples.made(one.version, lambda: read_samples(run))

    def _compared(self, a: FoundRun, b: FoundRun) -> Any:
        run_a, run_b = self._load(a), self._load(b)
        version = _pair_version(a, b)
        compared = self._comparisons.made(version, lambda: compare(run_a, run_b, allow_different=True))
        tasks = [one.task for one in compared.tasks]
        return compared, self._samples.made(version, lambda: read_pairs(run_a, run_b, tasks))

    def _curve(self, one: FoundCurve, found: Found) -> _Curve:
        try:
            points = read_curve(one.path / "curve.jsonl")
        except UserError as error:
            return _Curve(one.name, "", (), error.line())
        return _Curve(one.name, learning_curve(points, one.name), tuple(self._points(one, points, found)))

    def _points(self, curve: FoundCurve, points: list[Point], found: Found) -> list[tuple[int, str]]:
        of = {point.step: (Path(curve.name) / (point.run or "")).as_posix() for point in points}
        return [(step, self._link(id)) for step, id in of.items() if id in found.runs]

    def _id(self, run: Run) -> str:
        return run.path.relative_to(self.root).as_posix()

    def _link(self, id: str) -> str:
        return f"{self.home}run/{quote(id, safe='', errors='surrogateescape')}"


class _Kept(OrderedDict[str, T]):
    """The latest values by version."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def made(self, version: str, make: Callable[[], T]) -> T:
        if version not in self:
            self[version] = make()
            while len(self) > self.most:
                self.popitem(last=False)
        self.move_to_end(version)
        return self[version]


def _read(path: Path) -> Run:
    """A run with its results; one that is not finished as far as it is answered."""
    run = load_run(path, finished=False) if (path / "results.json").exists() else run_so_far(path)
    return run if run.manifest["status"] == "finished" else run_so_far(path)


def _run(found: Found, id: str) -> FoundRun:
    if id not in found.runs:
        raise NoSuchPage
    return found.runs[id]


def _pair(found: Found, query: Mapping[str, str]) -> tuple[FoundRun, FoundRun]:
    return _run(found, query.get("a", "")), _run(found, query.get("b", ""))


def _pair_version(a: FoundRun, b: FoundRun) -> str:
    return urlencode({"a": a.version, "b": b.version})
