"""Failing inputs of users through the public command, with right values derived without the product (cases/ of the
shared data says how)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from darumeru.runs.run import Run, load_run
from tests.cli.command import Said, darumeru
from tests.shared_data import ROOT, case, json_lines

DEMO = str(ROOT / "demo" / "darumeru-demo")


class Command:
    """`darumeru run` on the demo model with the transformers engine, in a folder of its own."""

    def __init__(self, folder: Path, capsys: Any, monkeypatch: Any) -> None:
        self.folder, self._capsys, self._monkeypatch = folder, capsys, monkeypatch

    def __call__(self, output: str, *words: str) -> tuple[Run, Said]:
        common = ("run", "--model", DEMO, "--engine", "transformers", "--num-fewshot", "0")
        said = self.say(*common, *words, "--output", str(self.folder / output))
        assert said.code == 0, said.err
        return load_run(self.folder / output), said

    def say(self, *words: str) -> Said:
        return darumeru(self._capsys, self._monkeypatch, *words)


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, capsys, monkeypatch)


def test_corrected_labels_reach_the_score(run: Command) -> None:
    """The model picks one of three labels for each question; in the three data sets every label is "1", "2", "3"."""
    data, found = run.folder / "data", []
    for number in (1, 2, 3):
        shutil.copytree(case("corrected_labels_ignored") / f"data_{number}", data, dirs_exist_ok=True)
        words = ("--data", str(data), "--tasks", "darumeru/rcb")
        again, said = run("labels", *words)
        fresh, _ = run(f"fresh-{number}", *words)
        assert again.results.tasks == fresh.results.tasks
        assert number == 1 or "targets of darumeru/rcb. nothing is asked" in said.err
        found.append(again.results.tasks["darumeru/rcb"].metrics["acc"].value)
    assert sum(value or 0 for value in found) == 1.0
    assert len(json_lines(run.folder / "labels" / "samples" / "darumeru__rcb.jsonl")) == 8


def test_an_edited_task_file_reaches_run_and_score(run: Command) -> None:
    """Right values: sklearn's accuracy and macro F1 over the stored picks and the labels."""
    from sklearn.metrics import accuracy_score, f1_score

    task = run.folder / "rcb.yaml"
    words = ("--data", "bundled", "--include", str(task), "--tasks", "mine/rcb")
    shutil.copy(case("task_file_edited_ignored") / "before" / "rcb.yaml", task)
    before, _ = run("edited", *words)
    lines = json_lines(before.path / "samples" / "mine__rcb.jsonl")
    labels = {line["id"]: line["target"] for line in json_lines(before.path / "questions" / "mine__rcb.jsonl")}
    picks = {line["id"]: max(line["answer"]["probabilities"].items(), key=lambda one: one[1])[0] for line in lines}
    ids = sorted(labels)
    pair = [labels[one] for one in ids], [picks[one] for one in ids]
    accuracy, f1 = accuracy_score(*pair), f1_score(*pair, average="macro")
    assert before.results.tasks["mine/rcb"].score.value == pytest.approx(accuracy, abs=1e-12)
    assert accuracy != f1
    shutil.copy(case("task_file_edited_ignored") / "after" / "rcb.yaml", task)
    scored = run.say("score", str(run.folder / "edited"), "--json")
    assert json.loads(scored.out)["tasks"]["mine/rcb"]["score"]["value"] == pytest.approx(f1, abs=1e-12)
    after, _ = run("edited", *words)
    assert after.results.tasks["mine/rcb"].score.value == pytest.approx(f1, abs=1e-12)
    assert len(json_lines(before.path / "samples" / "mine__rcb.jsonl")) == len(lines)


def test_three_names_have_three_sample_files(run: Command) -> None:
    folder = case("task_names_share_a_file")
    done, _ = run("names", "--data", "bundled", "--include", str(folder), "--tasks", "a/b,a__b,a:b", "--limit", "5")
    assert {name: task.n for name, task in done.results.tasks.items()} == {"a/b": 5, "a__b": 5, "a:b": 5}
    files = sorted((done.path / "samples").iterdir())
    assert len(files) == 3 and all(len(json_lines(file)) == 5 for file in files)


def test_the_system_prompt_stands_once_in_every_prompt(run: Command) -> None:
    words = ("--data", "bundled", "--tasks", "darumeru/parus,darumeru/multiq", "--limit", "1")
    done, _ = run("system", *words, "--system-prompt", "SYSTEM!")
    rows = [row for task in done.results.tasks for row in done.rows(task)]
    assert len(rows) == 3 and {row.prompt.count("SYSTEM!") for row in rows} == {1}


def test_the_seconds_of_a_run_are_those_of_all_its_commands(run: Command) -> None:
    words = ("--data", "bundled", "--tasks", "darumeru/rcb")
    first, _ = run("sessions", *words, "--limit", "2")
    second, _ = run("sessions", *words, "--limit", "4")
    sessions = second.manifest["sessions"]
    assert [one["to_ask"] for one in sessions] == [2, 2]
    assert second.manifest["seconds"] == pytest.approx(sum(one["seconds"] for one in sessions), abs=1e-2)
    assert (
        second.manifest["seconds"] > first.manifest["seconds"] and second.manifest["started"] == sessions[0]["started"]
    )


def test_a_folder_of_an_older_darumeru_is_refused_by_name(run: Command) -> None:
    done, _ = run("old", "--data", "bundled", "--tasks", "darumeru/rcb", "--limit", "2")
    manifest = json.loads((done.path / "manifest.json").read_text(encoding="utf-8"))
    (done.path / "manifest.json").write_text(json.dumps(manifest | {"schema": 1}), encoding="utf-8")
    said = run.say("run", "--model", DEMO, "--data", "bundled", "--tasks", "darumeru/rcb", "--output", str(done.path))
    for told in (
        said,
        run.say("score", str(done.path)),
        run.say("report", str(done.path), "--output", str(run.folder / "page.html")),
    ):
        assert told.code == 2 and "older darumeru (schema 1, now 2)" in told.err and len(told.err.splitlines()) == 1
