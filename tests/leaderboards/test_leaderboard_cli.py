"""`darumeru leaderboard` as a user calls it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.leaderboard_speed import make_run as make_synthetic
from tests.cli.command import Said, darumeru
from tests.leaderboards.made_runs import make_run, rewrite
from tests.leaderboards.test_board import PAPER, TASKS, run
from tests.shared_data import ROOT

Command = Callable[..., Said]


@pytest.fixture
def board(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("COLUMNS", "100")
    return lambda *words: darumeru(capsys, monkeypatch, "leaderboard", *map(str, words))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name, wrong in (("a", 3), ("b", 30)):
        run(tmp_path / "runs" / name, name, wrong)
    return tmp_path / "runs"


def test_a_folder_of_runs_is_a_board(board: Command, runs: Path) -> None:
    said = board(runs)
    assert said.code == 0 and said.err == ""
    assert "Mean of 3 tasks" in said.out and "0.950" in said.out
    assert board(runs / "a", runs / "b").out == said.out


@pytest.mark.parametrize(
    ("name", "start"),
    [("b.md", "**Leaderboard**"), ("b.html", "<!doctype html>"), ("b.csv", "rank,model"), ("b.tex", "% needs"),
     ("b.json", "{")],
)  # fmt: skip
def test_the_suffix_names_the_format(board: Command, runs: Path, tmp_path: Path, name: str, start: str) -> None:
    said = board(runs, PAPER / "table1.json", "--output", tmp_path / "new" / name)
    assert (said.code, said.out, said.err) == (0, "", "")
    text = (tmp_path / "new" / name).read_text("utf-8")
    assert text[: len(start)].lower() == start.lower() and "Qwen-2 7B" in text


def test_json_sort_and_aggregate(board: Command, runs: Path) -> None:
    document = json.loads(board(runs, "--json", "--sort", "name", "--aggregate", "groups", "--by", "groups").out)
    assert [row["name"] for row in document["rows"]] == ["a", "b"] and document["sorted_by"] == "name"
    assert [column["key"] for column in document["columns"]] == ["group_mean", "DaruMERA"]


def test_a_model_card_is_of_one_run(board: Command, runs: Path) -> None:
    assert board(runs / "a", "--model-card").out.startswith("model-index:\n- name: a\n")
    said = board(runs, "--model-card")
    assert said.code == 2 and "of one run" in said.err


def _unfinished(folder: Path) -> None:
    run(folder, "m", 1, status="running")


def _newer(folder: Path) -> None:
    run(folder, "m", 1)
    rewrite(folder / "results.json", {"schema": 99})


def _edited(folder: Path) -> None:
    run(folder, "m", 1)
    rewrite(folder / "results.json", {"micro_avg": {"value": 1.0, "low": 1.0, "high": 1.0}})


def _not_a_run(folder: Path) -> None:
    folder.mkdir()


@pytest.mark.parametrize(
    ("make", "said"),
    [(_unfinished, "the run is not finished"), (_newer, "has schema 99"), (_edited, "edited by hand"),
     (_not_a_run, "is neither a run"), (lambda folder: None, "no such run folder")],
)  # fmt: skip
def test_folders_that_cannot_be_published(
    board: Command, tmp_path: Path, make: Callable[[Path], None], said: str
) -> None:
    make(tmp_path / "bad")
    found = board(tmp_path / "bad")
    assert found.code == 2 and found.out == ""
    assert said in found.err and "bad" in found.err and found.err.count("\n") == 1


def _interrupted(folder: Path) -> None:
    """30 of 60 answers of each task are stored, and no scores yet: a kill."""
    run(folder, "late", 6, status="running")
    for path in folder.glob("samples/*.jsonl"):
        path.write_text("".join(path.read_text("utf-8").splitlines(keepends=True)[:30]), encoding="utf-8")
    (folder / "results.json").unlink()


def _plain_file(path: Path) -> None:
    path.write_text("notes", encoding="utf-8")


def test_what_is_no_finished_run_is_left_out_with_a_line_each(board: Command, runs: Path) -> None:
    """`leaderboard runs/*` as a shell writes it out; the board is that of the finished runs alone."""
    alone = board(runs).out
    for make, name in ((_interrupted, "c"), (_newer, "d"), (_edited, "e"), (_not_a_run, "f"), (_plain_file, "g.txt")):
        make(runs / name)
    said = board(*sorted(runs.iterdir()))
    assert said.code == 0 and said.out == alone
    lines = said.err.splitlines()
    assert [line.split(": ")[0] for line in lines] == ["left out"] * 5
    for line, name, reason in zip(
        lines, ("c", "d", "e", "f", "g.txt"),
        ("not finished", "schema 99", "edited by hand", "neither a run", "not a file of"), strict=True,
    ):  # fmt: skip
        assert f"{runs}/{name}" in line and reason in line
    strict = board(*sorted(runs.iterdir()), "--strict")
    assert strict.code == 2 and "not finished" in strict.err and strict.out == ""


def test_an_interrupted_run_is_shown_with_what_is_answered(board: Command, runs: Path) -> None:
    """By hand: of 30 stored answers of each task the first 6 are wrong, 24 / 30 = 0.800."""
    _interrupted(runs / "c")
    said = board(runs, "--allow-partial")
    assert said.code == 0 and said.err == ""
    (row,) = [line for line in said.out.splitlines() if " late * " in line]
    assert row.split()[0] == "–" and row.count("0.800") == 3
    told = " ".join(said.out.split())
    assert "late is not finished, not ranked, it lacks darumeru/one (n 30 of 60)" in told
    assert not (runs / "c" / "results.json").exists()
    cells = json.loads(board(runs, "--allow-partial", "--json").out)
    (found,) = [one for one in cells["rows"] if one["name"] == "late"]
    assert found["rank"] is None and found["cells"]["darumeru/one"]["n"] == 30


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--sort", "mena"), "did you mean mean"), (("--aggregate", "median"), "no aggregate `median`"),
     (("--format", "xlsx"), "no format `xlsx`"), (("--output", "b.xlsx"), "suffix names no format"),
     (("--by", "x"), "no columns `x`"), (("--json", "--format", "csv"), "contradict")],
)  # fmt: skip
def test_wrong_options_are_one_line(board: Command, runs: Path, words: tuple[str, ...], said: str) -> None:
    found = board(runs, *words)
    assert found.code == 2 and said in found.err and found.err.count("\n") == 1


def test_runs_that_cannot_stand_together(board: Command, runs: Path, tmp_path: Path) -> None:
    run(tmp_path / "part", "part", 1, TASKS[:1])
    make_run(tmp_path / "alien", [], "alien")
    for other, said in ((tmp_path / "part", "lacks darumeru/two, darumeru/three"),
                        (tmp_path / "alien", "no common tasks"), (runs / "a", "is given twice")):  # fmt: skip
        found = board(runs, other)
        assert found.code == 2 and said in found.err and found.err.count("\n") == 1
    assert "part *" in board(runs, tmp_path / "part", "--allow-partial").out


def test_the_readmes_board_is_what_its_command_prints(
    board: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its command on a run of the 17 tasks: all lines but those on the run itself."""
    readme = (ROOT / "leaderboards" / "README.md").read_text("utf-8")
    shown = readme.split("<!-- board: begin -->\n")[1].split("<!-- board: end -->")[0]
    command = next(line.split() for line in readme.splitlines() if line.startswith("darumeru leaderboard "))
    make_synthetic(tmp_path / "runs" / "demo", 0, 340)
    (tmp_path / "leaderboards").symlink_to(ROOT / "leaderboards")
    monkeypatch.chdir(tmp_path)
    said = board(*command[2:])
    assert said.code == 0

    def table(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.startswith("|") and not line.startswith("| 1 ")]

    assert table(said.out) == table(shown) and len(table(shown)) == 10
    rows = [line for line in shown.splitlines() if line.startswith("| 1 | darumeru-demo | ")]
    assert len(rows) == 1 and said.out.count("| 1 | synthetic-0 | ") == 1
    assert "- Micro-Avg: unweighted mean of the 17 tasks." in said.out and said.out.splitlines()[-1] in shown


@pytest.mark.parametrize("name", ["results.json", "manifest.json", "plan.json", "samples/darumeru__one.jsonl"])
@pytest.mark.parametrize("verb", ["leaderboard", "report"])
def test_no_output_replaces_what_a_run_consists_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, runs: Path, name: str, verb: str
) -> None:
    before = (runs / "a" / name).read_bytes()
    more = ["--format", "csv"] if verb == "leaderboard" else []
    said = darumeru(capsys, monkeypatch, verb, str(runs / "a"), *more, "--output", str(runs / "a" / name))
    assert said.code == 2 and "is a file of a run" in said.err and (runs / "a" / name).read_bytes() == before
    page = runs / "a" / "board.html"
    assert [darumeru(capsys, monkeypatch, verb, str(runs / "a"), "--output", str(page)).code for _ in "12"] == [0, 0]


def test_a_board_is_written_whole_or_not_at_all(board: Command, runs: Path, tmp_path: Path) -> None:
    page = tmp_path / "board.html"
    assert board(runs, "--output", page).code == 0
    before = page.read_bytes()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("os.fsync", full)
        said = board(runs / "a", "--output", page)
    # cases/full_disk_short_write.md: no mistake of the user, so 1; the same command goes on.
    assert said.code == 1 and "no space left on" in said.err and said.err.count("\n") == 1
    assert page.read_bytes() == before and sorted(one.name for one in tmp_path.iterdir()) == ["board.html", "runs"]
    assert board(runs, "--output", "/proc/x.html").code == 2


def full(_handle: int) -> None:
    """A disk without room."""
    raise OSError(28, "No space left on device")
