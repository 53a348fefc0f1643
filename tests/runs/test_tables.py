"""Runs and samples as DataFrames, as HTML and as one line; right values are those of Run.rows and results.json."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import darumeru
from darumeru.core.errors import UserError
from darumeru.runs.results import Score
from tests.leaderboards.made_runs import chosen, copied, make_run
from tests.shared_data import ROOT


@pytest.fixture
def run(tmp_path: Path) -> darumeru.Run:
    rows = [chosen("darumeru/one", str(n), "A", "A" if n else "B", prompt="<b>Вопрос</b>") for n in range(5)]
    rows += [copied("darumeru/two", str(n), "кошка", "кошка" if n else "кот") for n in range(2)]
    return darumeru.load_run(make_run(tmp_path / "runs" / "a", rows, "<i>model</i>"))


def test_samples_are_a_line_each_with_their_metrics_as_columns(run: darumeru.Run) -> None:
    frame = run.samples()
    assert len(frame) == 7 and list(frame["task"].unique()) == ["darumeru/one", "darumeru/two"]
    one = run.samples("darumeru/one")
    assert list(one["acc"]) == [row.metrics["acc"] for row in run.rows("darumeru/one")] == [0, 1, 1, 1, 1]
    assert one.loc[0, ["target", "answer", "probability"]].tolist() == ["A", "B", 0.75]
    assert list(run.samples(["darumeru/two"])["answer"]) == ["кот", "кошка"]
    with pytest.raises(UserError, match="no task `darumeru/tow`; did you mean darumeru/two"):
        run.samples("darumeru/tow")


def test_the_runs_of_a_folder_are_one_table_and_what_is_none_is_a_warning(run: darumeru.Run, tmp_path: Path) -> None:
    rows = [chosen("darumeru/one", str(n), "A", "A") for n in range(4)]
    make_run(tmp_path / "runs" / "b", rows, "b", status="running")
    folder = tmp_path / "runs"
    with pytest.warns(UserWarning, match="left out: .*runs/b: the run is not finished"):
        frame = darumeru.load_runs(folder)
    assert list(frame["task"]) == ["darumeru/one", "darumeru/two"] and frame.loc[0, "value"] == 0.8
    with pytest.raises(UserError, match="not finished"):
        darumeru.load_runs(str(folder), strict=True)
    both = darumeru.load_runs([folder], partial=True)
    assert both.loc[both["model"] == "b", ["value", "n"]].values.tolist() == [[1.0, 4]]
    with pytest.raises(UserError, match="no such run folder"):
        darumeru.load_runs(tmp_path / "nowhere")


def test_a_run_is_one_line_as_text_and_a_table_without_foreign_html(run: darumeru.Run) -> None:
    assert repr(run).count("\n") == 0 and len(repr(run)) < 300 and len(repr(run.results)) < 300
    html = run._repr_html_()
    assert "&lt;i&gt;model&lt;/i&gt;" in html and "<i>" not in html and "0.800" in html


def test_runs_are_compared_by_their_folders(run: darumeru.Run, tmp_path: Path) -> None:
    rows = [chosen("darumeru/one", str(n), "A", "A") for n in range(5)]
    other = make_run(tmp_path / "runs" / "c", rows, "c")
    found = darumeru.compare(str(run.path), other, resamples=100)
    assert [(one.task, round(one.difference, 6)) for one in found.tasks] == [("darumeru/one", 0.2)]
    assert found.tasks == darumeru.compare(run, darumeru.load_run(other), resamples=100).tasks
    assert len(repr(found)) < 500 and "<table>" in found._repr_html_() and "+0.200" in found._repr_html_()


def test_a_score_says_its_value_or_why_there_is_none() -> None:
    assert str(Score(0.4231, 0.391, 0.455)) == "0.423 (0.391–0.455)" and str(Score(0.5)) == "0.500"
    assert str(Score(None, reason="2 of 17 tasks were run")) == "none: 2 of 17 tasks were run"


def test_every_name_of_the_package_is_explained_with_an_example() -> None:
    for name in darumeru.__all__:
        text = inspect.getdoc(getattr(darumeru, name)) or ""
        assert "Example::" in text, name


def test_type_checkers_refuse_an_option_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "use.py").write_text(
        "import darumeru\n"
        'run = darumeru.evaluate(model="x", tsks="y")\n'
        'good = darumeru.evaluate(model="x", lora="y", tensor_parallel=2, include="z")\n'
        "text: str = good.samples()\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "mypy", "--no-incremental", "--follow-imports=silent", str(tmp_path / "use.py")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    lines = [line for line in done.stdout.splitlines() if "error:" in line]
    assert len(lines) == 2 and 'Unexpected keyword argument "tsks"' in lines[0] and "DataFrame" in lines[1], done.stdout
