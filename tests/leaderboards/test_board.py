"""Boards of runs: aggregates, ranks, marks, published rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from darumeru.core.errors import UserError
from darumeru.core.registry import Registered
from darumeru.core.row import SampleRow
from darumeru.leaderboard.aggregate import make_aggregate
from darumeru.leaderboard.board import BoardOptions, build_board
from darumeru.leaderboard.board_inputs import load_inputs
from darumeru.leaderboard.comparison import compare
from darumeru.leaderboard.html_board import render as render_html
from darumeru.leaderboard.published import load_published
from darumeru.leaderboard.table import Mark, Table
from darumeru.metrics import METRICS
from darumeru.metrics.measure import Measure
from darumeru.runs.run import load_run
from darumeru.runs.run_table import load_runs
from darumeru.runs.score import score_run
from tests.leaderboards.made_runs import chosen, copied, make_run
from tests.shared_data import ROOT

PAPER = ROOT / "leaderboards" / "paper"
TASKS = ("darumeru/one", "darumeru/two", "darumeru/three")


def run(folder: Path, name: str, wrong: int, tasks: tuple[str, ...] = TASKS, n: int = 60, **more: Any) -> Path:
    """A run of which the first `wrong` of the n answers of each task are wrong."""
    rows = [chosen(task, str(i), "A", "B" if i < wrong else "A") for task in tasks for i in range(n)]
    return make_run(folder, rows, name, **more)


def board(paths: list[Path], **options: Any) -> Table:
    return build_board(*load_inputs(paths), BoardOptions(**options))


def test_ranks_ties_and_intervals(tmp_path: Path) -> None:
    paths = [run(tmp_path / f"{wrong}", f"m{wrong}", wrong) for wrong in (40, 10, 11)]
    table = board(paths)
    assert table.columns[0].title == "Mean of 3 tasks" and table.columns[0].key == "mean"
    assert [(row.name, row.rank) for row in table.rows] == [("m10", 1), ("m11", 2), ("m40", 3)]
    best, close, far = (row.cells["mean"] for row in table.rows)
    assert best.value == pytest.approx(5 / 6) and best.low is not None and best.high is not None
    assert best.low < 5 / 6 < best.high
    assert Mark.BEST in best.marks and Mark.TIED in close.marks and not far.marks
    assert table == board(paths), "the board is reproducible"


def test_equal_scores_share_a_place(tmp_path: Path) -> None:
    table = board([run(tmp_path / name, name, wrong) for name, wrong in (("a", 5), ("b", 5), ("c", 30))])
    assert [row.rank for row in table.rows] == [1, 1, 3]


def test_partial_runs_are_refused_or_stand_below(tmp_path: Path) -> None:
    whole, part = run(tmp_path / "whole", "whole", 30), run(tmp_path / "part", "part", 0, TASKS[:2])
    with pytest.raises(UserError, match=r"part: lacks darumeru/three .*--allow-partial"):
        board([whole, part])
    table = board([part, whole], allow_partial=True)
    assert [(row.name, row.rank) for row in table.rows] == [("whole", 1), ("part", None)]
    assert Mark.PARTIAL in table.rows[1].marks and table.rows[1].cells["mean"].value is None
    assert table.rows[1].cells[TASKS[0]].value == 1 and Mark.BEST not in table.rows[1].cells[TASKS[0]].marks
    unanswered = run(tmp_path / "unanswered", "unanswered", 0, absent=("never",))
    with pytest.raises(UserError, match="lacks darumeru/one"):
        board([whole, unanswered])


def test_other_settings_are_refused_or_marked(tmp_path: Path) -> None:
    paths = [run(tmp_path / name, name, 5) for name in ("a", "b")]
    paths.append(run(tmp_path / "c", "c", 5, profile="llmtf-2024"))
    with pytest.raises(UserError, match=r"c: differs .*profile.*--allow-different"):
        board(paths)
    table = board(paths, allow_different=True)
    assert {row.name for row in table.rows if Mark.DIFFERS in row.marks} == {"c"}
    assert any(note.en.startswith("c differs: ") and "llmtf-2024" in note.en for note in table.footer)


def test_runs_of_one_name_carry_their_folder(tmp_path: Path) -> None:
    paths = [run(tmp_path / "x" / "r1", "m", 1), run(tmp_path / "x" / "r2", "m", 2), run(tmp_path / "y" / "r2", "m", 3)]
    table = board([*paths, run(tmp_path / "o", "other", 4)])
    assert [row.name for row in table.rows] == ["m (r1)", "m (x/r2)", "m (y/r2)", "other"]
    with pytest.raises(UserError, match="given twice"):
        load_inputs([paths[0], tmp_path / "x"])


def test_aggregates() -> None:
    groups = {"a": "G", "b": "G", "c": "H"}
    scores = {"a": 0.2, "b": 0.6, "c": 0.9}
    chance = {"a": 0.5, "b": 0.5, "c": 0.0}
    assert make_aggregate("tasks", groups, {}).value(scores) == pytest.approx(1.7 / 3)
    assert make_aggregate("groups", groups, {}).value(scores) == pytest.approx((0.4 + 0.9) / 2)
    assert make_aggregate("normalized", groups, chance).value(scores) == pytest.approx((-0.6 + 0.2 + 0.9) / 3)
    with pytest.raises(UserError, match=r"no aggregate `task`, .*did you mean tasks"):
        make_aggregate("task", groups, {})


def test_one_sample_and_zero_variance_are_said(tmp_path: Path) -> None:
    single = board([run(tmp_path / name, name, wrong, n=1) for name, wrong in (("a", 0), ("b", 1))])
    assert any("darumeru/one is not resampled: 1 common record" in note.en for note in single.footer)
    assert single.rows[0].cells[TASKS[0]].low is None
    equal = board([run(tmp_path / f"z{name}", name, 0, n=20) for name in ("a", "b")])
    assert any(note.en.startswith("Zero variance: ") for note in equal.footer)
    assert equal.rows[0].cells["mean"].low == equal.rows[0].cells["mean"].high == 1


def test_runs_without_common_tasks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no common tasks"):
        board([run(tmp_path / "a", "a", 1, TASKS[:1]), run(tmp_path / "b", "b", 1, TASKS[1:])], allow_partial=True)


def test_the_papers_tables_are_one_board() -> None:
    table = board([PAPER])
    assert len(table.rows) == len({row.key for row in table.rows}) == 58
    assert [column.key for column in table.columns] == [
        "micro_avg", "DaruMMLU", "DaruMERA", "DaruSum", "DaruCopy-EN", "DaruCopy-RU"
    ]  # fmt: skip
    assert all(row.marks == {Mark.PUBLISHED} and row.about["profile"] == "llmtf-2024" for row in table.rows)
    values = [row.cells["micro_avg"].value or 0 for row in table.rows]
    assert values == sorted(values, reverse=True) and table.rows[0].rank == 1
    assert Mark.BEST in table.rows[0].cells["micro_avg"].marks
    grouped = board([PAPER / "table1.json"], aggregate="groups", sort="name")
    first = grouped.rows[0]
    assert first.name == "LLaMa-3-8B (Instruct)"
    assert first.cells["group_mean"].value == pytest.approx((0.571 + 0.51 + 0.322 + 1 + 0.972) / 5)


def test_published_rows_are_not_ranked_beside_runs(tmp_path: Path) -> None:
    table = board([run(tmp_path / "a", "a", 1), run(tmp_path / "b", "b", 30), PAPER / "table1.json"])
    published = [row for row in table.rows if Mark.PUBLISHED in row.marks]
    assert len(published) == 8 and all(row.rank is None for row in published)
    assert all(cell.marks == {Mark.PUBLISHED} for row in published for cell in row.cells.values())
    assert published[0].cells["mean"].value is None, "three tasks are not the 17"


def test_options_that_name_nothing(tmp_path: Path) -> None:
    paths = [run(tmp_path / "a", "a", 1)]
    with pytest.raises(UserError, match=r"no column `onne`.*did you mean darumeru/one"):
        board(paths, sort="onne")
    with pytest.raises(UserError, match="no columns `samples`"):
        board(paths, by="samples")
    assert board(paths, sort="two").sorted_by == "darumeru/two"


def test_published_files_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    document = json.loads((PAPER / "table1.json").read_text("utf-8"))
    for change, said in (({"schema": 9}, "has schema 9"), ({"published": False}, "`published` is missing"),
                         ({"rows": [{}]}, "labels")):  # fmt: skip
        path.write_text(json.dumps(document | change), "utf-8")
        with pytest.raises(UserError, match=said):
            load_published(path)


def test_runs_as_a_data_frame(tmp_path: Path) -> None:
    paths = [run(tmp_path / name, name, wrong) for name, wrong in (("a", 3), ("b", 6))]
    frame = load_runs(paths)
    assert list(frame.groupby("model")["value"].mean().round(6)) == [0.95, 0.9]
    assert len(frame) == 6 and load_run(paths[0]).name == "a"


def test_runs_scored_by_other_metrics_are_refused_or_marked(tmp_path: Path) -> None:
    paths = []
    for name, metric in (("a", "acc"), ("b", "acc"), ("c", "f1_macro")):
        rows = [chosen("mine/rcb", f"{place}", "AB"[place % 2], "AB"[place % 3 == 0]) for place in range(10)]
        paths.append(make_run(tmp_path / name, rows, name, plan={"metrics": ["acc", "f1_macro"], "score": [metric]}))
    with pytest.raises(UserError, match=r"c: differs .*mine/rcb: scored by acc and by f1_macro.*--allow-different"):
        board(paths)
    table = board(paths, allow_different=True)
    assert {row.name for row in table.rows if Mark.DIFFERS in row.marks} == {"c"}
    said = " ".join(note.en for note in table.footer)
    assert "c differs: mine/rcb: scored by acc and by f1_macro." in said
    assert "mine/rcb is not resampled: the runs score it by different metrics" in said


def test_lower_can_be_better_and_is_averaged_with_its_like_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bits per byte 1.1 beats 1.4; no mean mixes it with a share."""
    bits = Bits()
    monkeypatch.setitem(METRICS.entries, "bits", Registered("bits", "tests:none", "test"))  # type: ignore[index]
    monkeypatch.setitem(METRICS._loaded, "bits", bits)
    paths = []
    for name, of_text in (("good", 1.1), ("bad", 1.4)):
        rows = [copied("mine/text", f"{place}", "text", f"{of_text + 0.01 * (place % 2)}") for place in range(8)]
        rows += [chosen("mine/acc", f"{place}", "A", "A" if name == "bad" else "B") for place in range(8)]
        folder = make_run(tmp_path / name, rows, name)
        plan = json.loads((folder / "plan.json").read_text("utf-8"))
        plan["tasks"][0] |= {"metrics": ["bits"], "score": ["bits"]}
        (folder / "plan.json").write_text(json.dumps(plan), "utf-8")
        score_run(folder, json.loads((folder / "manifest.json").read_text("utf-8")))
        paths.append(folder)
    table = board(paths, sort="text")
    column = next(one for one in table.columns if one.key == "mine/text")
    assert (column.heading, column.measure.direction) == ("text ↓", "lower")
    assert [row.name for row in table.rows] == ["good", "bad"]
    assert [Mark.BEST in row.cells["mine/text"].marks for row in table.rows] == [True, False]
    assert column.text(table.rows[0].cells["mine/text"]) == "1.10", "two digits, as the metric says"
    assert [row.cells["mean"].value for row in table.rows] == [0, 1] and "unweighted mean of mine/acc" in str(
        table.footer[0]
    )
    found = compare(load_run(paths[0]), load_run(paths[1]), resamples=100)
    assert "B is better in mine/acc and worse in mine/text" in found.conclusion
    page = render_html(table)
    assert 'data-family="bits_per_byte, lower"' in page and 'data-first="ascending" aria-sort="ascending"' in page


class Bits:
    """What a plugin must say at least, and the measure."""

    name = "bits"
    description = "the number that the answer states"
    measure = Measure("bits_per_byte", "lower", digits=2, low=0)

    def values(self, row: SampleRow) -> dict[str, float]:
        return {"bits": float(row.answer.text or 0)}
