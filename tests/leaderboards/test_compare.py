"""Two runs compared: a planted difference, none with itself, bad input."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from typer.testing import CliRunner

from darumeru.cli.main import application
from darumeru.core.answer import Answer
from darumeru.core.errors import UserError
from darumeru.core.row import SampleRow
from darumeru.leaderboard.comparison import compare
from darumeru.leaderboard.flips import flipped_samples
from darumeru.leaderboard.statistics import run_statistics
from darumeru.runs.run import load_run
from tests.leaderboards.made_runs import chosen, make_run, rewrite

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "comparison.schema.json"


def made(folder: Path, wrong: int, n: int = 60, task: str = "demo", name: str = "model", **manifest: object) -> Path:
    rows = [chosen(task, f"r{place:03}", "A", "B" if place < wrong else "A") for place in range(n)]
    return make_run(folder, rows, name, **manifest)


def test_a_planted_difference_is_found(tmp_path: Path) -> None:
    a, b = load_run(made(tmp_path / "a", 30)), load_run(made(tmp_path / "b", 10))
    found = compare(a, b, resamples=2000)
    one = found.tasks[0]
    assert one.difference == pytest.approx(20 / 60) and one.n == 60
    assert one.low is not None and one.low > 0.2 and one.holm is not None and one.holm < 0.01
    assert one.mcnemar == pytest.approx(2 * 0.5**20)
    assert one.gained == tuple(f"r{place:03}" for place in range(10, 30)) and one.lost == ()
    flips = list(flipped_samples(a, b, found.tasks))
    assert len(flips) == 20 and all(flip.gained and (flip.a, flip.b) == ("B", "A") for flip in flips)
    assert compare(a, b, resamples=2000) == found
    back = compare(b, a, resamples=2000).tasks[0]
    assert back.low == pytest.approx(-(one.high or 0)) and back.p == one.p and back.lost == one.gained


def test_a_run_does_not_differ_from_itself(tmp_path: Path) -> None:
    run = load_run(made(tmp_path / "a", 30))
    one = compare(run, run, resamples=500).tasks[0]
    assert (one.difference, one.low, one.high, one.p, one.mcnemar) == (0, 0, 0, 1, 1)


def test_one_record_has_no_interval(tmp_path: Path) -> None:
    one = compare(load_run(made(tmp_path / "a", 1, 1)), load_run(made(tmp_path / "b", 0, 1))).tasks[0]
    assert one.low is None and one.p is None and one.reason == "one record: no interval can be computed"


def test_other_records_are_left_out_and_named(tmp_path: Path) -> None:
    one = compare(load_run(made(tmp_path / "a", 30, 60)), load_run(made(tmp_path / "b", 10, 40)), resamples=100).tasks[
        0
    ]
    assert one.n == 40 and one.warning == "40 common records of 60 and 40"


def test_stored_statistics_are_those_of_the_samples(tmp_path: Path) -> None:
    run = load_run(made(tmp_path / "a", 30))
    stored = run_statistics(run)["demo"]["acc"]
    (run.path / "statistics.npz").unlink()
    computed = run_statistics(run)["demo"]["acc"]
    assert stored.clusters == computed.clusters and stored.value == computed.value == 0.5
    assert np.array_equal(stored.columns, computed.columns)


def test_json_fits_its_schema(tmp_path: Path) -> None:
    made(tmp_path / "a", 30), made(tmp_path / "b", 10)
    command = ["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json", "--resamples", "100"]
    result = CliRunner().invoke(application(), command)
    assert result.exit_code == 0, result.output
    schema = json.loads(SCHEMA.read_text("utf-8"))
    jsonschema.Draft202012Validator(schema).validate(json.loads(result.stdout))


def failing(*folders: Path) -> str:
    result = CliRunner().invoke(application(), ["compare", *map(str, folders), "--resamples", "10"])
    assert isinstance(result.exception, UserError) and "\n" not in result.exception.line()
    return result.exception.line()


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    good = made(tmp_path / "good", 3, 10)
    (tmp_path / "empty").mkdir()
    assert "is not the folder of a run" in failing(good, tmp_path / "empty")
    assert "not finished" in failing(good, made(tmp_path / "unfinished", 3, 10, status="running"))
    assert "no common tasks" in failing(good, made(tmp_path / "other", 3, 10, task="another"))
    assert "profile" in failing(good, made(tmp_path / "profile", 3, 10, profile="paper"))
    rewrite(made(tmp_path / "edited", 3, 10) / "results.json", {"groups": {"x": None}})
    assert "edited by hand" in failing(good, tmp_path / "edited")
    rewrite(made(tmp_path / "newer", 3, 10) / "results.json", {"schema": 99}, checksum=True)
    assert "schema 99" in failing(good, tmp_path / "newer")
    file = made(tmp_path / "npz", 3, 10) / "statistics.npz"
    file.write_bytes(file.read_bytes()[:-1])
    assert "statistics.npz" in failing(good, tmp_path / "npz")


def test_the_command_lists_flips_and_says_what_differs(tmp_path: Path) -> None:
    a, b = made(tmp_path / "a", 30), made(tmp_path / "b", 10, limit=60)
    refused = CliRunner().invoke(application(), ["compare", str(a), str(b)], standalone_mode=False)
    assert isinstance(refused.exception, UserError) and "limit: null, 60" in refused.exception.line()
    done = CliRunner().invoke(
        application(), ["compare", str(a), str(b), "--allow-different", "--flips", "demo", "--resamples", "500"]
    )
    assert done.exit_code == 0, done.output
    assert "differs: limit: null, 60" in done.stdout
    assert done.stdout.count("+ r0") == 20 and "A: B\tB: A" in done.stdout
    assert "B is better in demo" in done.stdout


def test_groups_and_micro_avg_of_the_benchmark_are_compared(tmp_path: Path) -> None:
    """Real runs of two models on two records of each of the 17 tasks."""
    from darumeru import evaluate
    from tests.tiny_models import make_model

    runs = []
    for seed in (0, 1):
        model = make_model(tmp_path / f"model-{seed}", seed=seed, max_position_embeddings=4096)
        runs.append(
            evaluate(str(model), output=tmp_path / f"run-{seed}", data="bundled", limit=2, engine="transformers")
        )
    found = compare(*runs, resamples=200)
    assert list(found.groups) == ["DaruMMLU", "DaruMERA", "DaruSum", "DaruCopy-EN", "DaruCopy-RU", "Micro-Avg"]
    micro = found.groups["Micro-Avg"]
    assert micro.difference == pytest.approx(
        (runs[1].results.micro_avg.value or 0) - (runs[0].results.micro_avg.value or 0), abs=1e-12
    )
    assert micro.low is not None and micro.high is not None and micro.low <= micro.difference <= micro.high
    rcb = next(one for one in found.tasks if one.task == "darumeru/rcb")
    assert rcb.gained is not None and rcb.mcnemar is not None


def by(folder: Path, *metrics: str, definition: str = "") -> Path:
    """A run of ten equal answers that is scored by these metrics of acc and f1_macro."""
    rows = [chosen("mine/rcb", f"{place}", "AB"[place % 2], "AB"[place % 3 == 0]) for place in range(10)]
    path = make_run(folder, rows, folder.name, plan={"metrics": ["acc", "f1_macro"], "score": list(metrics)})
    results = json.loads((path / "results.json").read_text("utf-8"))
    task = results["tasks"]["mine/rcb"] | {"score_metrics": list(metrics), "definition": definition}
    rewrite(path / "results.json", {"tasks": {"mine/rcb": task}}, checksum=True)
    return path


def run_compare(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(application(), ["compare", *map(str, words), "--resamples", "50"])
    said = result.exception.line() if isinstance(result.exception, UserError) else result.stdout
    return (2 if isinstance(result.exception, UserError) else result.exit_code), said


def test_a_task_scored_by_other_metrics_is_refused_and_compared_metric_by_metric_when_allowed(tmp_path: Path) -> None:
    """The answers are equal, so the only true difference is 0, for every metric that both runs have."""
    a, b = by(tmp_path / "a", "acc"), by(tmp_path / "b", "f1_macro")
    code, said = run_compare(a, b)
    assert code == 2 and "mine/rcb: A scores it by acc, B by f1_macro" in said and "--allow-different" in said
    found = compare(load_run(a), load_run(b), resamples=50, allow_different=True)
    assert [(one.task, one.metric, one.difference) for one in found.tasks] == [
        ("mine/rcb", "acc", 0.0),
        ("mine/rcb", "f1_macro", 0.0),
    ]
    assert all("A scores it by acc, B by f1_macro" in (one.warning or "") for one in found.tasks)
    assert found.groups == {}
    code, said = run_compare(a, b, "--allow-different")
    assert code == 0 and "rcb (acc)" in said and "rcb (f1_macro)" in said and "A scores it by acc, B by" in said


def test_only_the_task_that_is_defined_otherwise_is_left_out(tmp_path: Path) -> None:
    runs = []
    for name, definition in (("a", "1" * 64), ("b", "2" * 64)):
        rows = [chosen(task, f"{place}", "A", "A") for task in ("t/one", "t/two") for place in range(3)]
        path = make_run(tmp_path / name, rows, name)
        tasks = json.loads((path / "results.json").read_text("utf-8"))["tasks"]
        tasks["t/two"]["definition"] = definition
        rewrite(path / "results.json", {"tasks": tasks}, checksum=True)
        runs.append(load_run(path))
    found = compare(*runs, resamples=20)
    assert [one.task for one in found.tasks] == ["t/one"]
    assert found.skipped == {"t/two": "its definition is not the same"}
    both = compare(*runs, resamples=20, allow_different=True)
    assert [(one.task, one.warning) for one in both.tasks] == [
        ("t/one", None),
        ("t/two", "its definition is not the same"),
    ]


@pytest.mark.parametrize("labels", [("yes", "no"), ("no", "yes"), ("1", "2", "3")])
def test_flips_show_the_label_that_was_scored_on_ties(tmp_path: Path, labels: tuple[str, ...]) -> None:
    """Specification of the benchmark: argmax, of equal ones the first in list order."""

    def one(probabilities: dict[str, float]) -> SampleRow:
        return SampleRow("t", "s", "s", "fs", "?", 1, labels[0], Answer(probabilities=probabilities))

    even = dict.fromkeys(labels, 0.25)
    a = load_run(make_run(tmp_path / "a", [one(even)], "a"))
    b = load_run(make_run(tmp_path / "b", [one(even | {labels[1]: 0.5})], "b"))
    assert a.results.tasks["t"].score.value == 1 and b.results.tasks["t"].score.value == 0
    flips = list(flipped_samples(a, b, compare(a, b, resamples=5).tasks))
    assert [(flip.a, flip.b, flip.gained) for flip in flips] == [(labels[0], labels[1], False)]


def test_groups_stand_above_their_tasks_and_80_columns_break_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    a = made(tmp_path / "a", 30, task="darumeru/nlpcoreteam_mmlu_ru")
    code, said = run_compare(a, made(tmp_path / "b", 10, task="darumeru/nlpcoreteam_mmlu_ru"))
    lines = [line.split()[0] for line in said.splitlines() if line.strip()]
    assert code == 0 and lines.index("DaruMERA") < lines.index("nlpcoreteam_mmlu_ru")
