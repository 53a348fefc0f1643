"""Pipelines: selection, keeping, content addresses, failures, and going on after kills. Real scores throughout."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from darumeru.adaptation.pipeline import Pipeline
from darumeru.adaptation.recipe import load_recipe
from darumeru.cli.adapt_progress import AdaptProgress
from darumeru.core.errors import RunFailed, UserError
from darumeru.leaderboard.candidates import CandidateBoard, board_json
from darumeru.runs.run import load_run
from tests.adaptation.conftest import write_recipe
from tests.adaptation.small_steps import COUNTER, HOLD

ROOT = Path(__file__).parents[2]


def adapt(path: Path, output: Path, **settings: str) -> CandidateBoard:
    overrides = {key.replace("__", "."): value for key, value in settings.items()}
    return Pipeline(load_recipe(path, overrides), output, AdaptProgress()).run()


def rows(output: Path) -> dict[str, dict[str, Any]]:
    return {one["label"]: one for one in json.loads((output / "board.json").read_text())["candidates"]}


@pytest.mark.usefixtures("small_steps")
def test_the_best_goes_on_and_keep_deletes_the_rest(
    kitchen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = tmp_path / "counter"
    monkeypatch.setenv(COUNTER, str(counter))
    path = write_recipe(
        kitchen,
        "best",
        """
  - {name: many, step: noise, from: base, with: {count: 4}, select: best, keep: 2}
  - {name: next, step: noise, from: many, with: {scale: 0.0}}
  - {name: last, step: noise, from: base, with: {count: 3, scale: 0.2}, keep: 1}
""",
        more="seed: 3\n",
    )
    output = tmp_path / "out"
    board = adapt(path, output)
    found = rows(output)
    many = [found[f"many-step{number}"] for number in range(1, 5)]
    assert len({one["value"] for one in many}) > 2, "noise makes scores differ"
    best = max(many, key=lambda one: one["value"])
    assert found["next"]["lineage"] == ["base", best["label"], "next"]
    assert found["next"]["parents"] == [best["label"]] and found["next"]["value"] == best["value"]
    assert load_run(output / found["next"]["run"]).name == "next"
    kept = sorted(many, key=lambda one: -one["value"])[:2]
    assert [one["deleted"] for one in many] == [one not in kept for one in many]
    assert [(output / one["path"]).exists() for one in many] == [not one["deleted"] for one in many]
    last = [found[f"last-step{number}"] for number in range(1, 4)]
    assert not last[2]["deleted"], "what is handed on stays, best or not"
    assert {one["training_step"] for one in many} == {1, 2, 3, 4}
    page = (output / "board.html").read_text()
    assert all(label in page for label in found) and 'class="chart curve"' in page
    assert (output / "scores_by_step.png").read_bytes().startswith(b"\x89PNG")
    markdown = (output / "board.md").read_text()
    assert f"base → {best['label']} → next" in markdown and markdown.count("~~many") == 2

    again = adapt(path, output)
    assert counter.read_text().split() == ["base", best["label"], "base"], "nothing was made twice"
    assert board_json(again) == board_json(board)

    adapt(path, output, next__scale="0.001")
    assert counter.read_text().split() == ["base", best["label"], "base", best["label"]], (
        "only what changed is made again"
    )


@pytest.mark.usefixtures("small_steps")
def test_all_candidates_fan_out(kitchen: Path, tmp_path: Path) -> None:
    path = write_recipe(
        kitchen,
        "fan",
        """
  - {name: seed, step: seed_model, seed: 5}
  - {name: many, step: noise, from: seed, with: {count: 2}, select: all}
  - {name: after, step: noise, from: many, score: false}
""",
    )
    adapt(path, tmp_path / "out")
    found = rows(tmp_path / "out")
    assert found["after-of-many-step1"]["lineage"] == ["seed", "many-step1", "after-of-many-step1"]
    assert found["after-of-many-step2"]["parents"] == ["many-step2"]
    assert found["after-of-many-step2"]["value"] is None and found["after-of-many-step2"]["failed"] is None


@pytest.mark.usefixtures("small_steps")
def test_an_output_is_known_by_content(kitchen: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    shutil.copy(kitchen / "corpus.txt", corpus)
    steps = "  - {name: v, step: vocab_bpe, from: base, with: {corpus: data.corpus, size: 700}, score: false}\n"
    path = write_recipe(kitchen, "content", steps)
    settings = {"data__corpus": str(corpus)}

    def folders() -> set[str]:
        return {one.name for one in (tmp_path / "out" / "steps").iterdir()}

    adapt(path, tmp_path / "out", **settings)
    first = folders()
    moved = corpus.rename(tmp_path / "elsewhere.txt")
    adapt(path, tmp_path / "out", data__corpus=str(moved))
    assert folders() == first, "where a file lies does not matter"
    moved.write_text(moved.read_text() + "Новая строка.\n")
    adapt(path, tmp_path / "out", data__corpus=str(moved))
    assert len(folders()) == 2, "what it says does"
    adapt(path, tmp_path / "out", data__corpus=str(moved), seed="1")
    assert len(folders()) == 3, "so does the seed"

    made = tmp_path / "out" / rows(tmp_path / "out")["v"]["path"]
    shutil.rmtree(made)
    adapt(path, tmp_path / "out", data__corpus=str(moved), seed="1")
    assert made.is_dir(), "a finished step whose model is gone runs again"


@pytest.mark.usefixtures("small_steps")
def test_a_failed_scoring_is_on_the_board_and_stops_nothing(kitchen: Path, tmp_path: Path) -> None:
    steps = "  - {name: many, step: noise, from: base, with: {count: 2, broken: [1]}, select: best}\n"
    path = write_recipe(kitchen, "broken", steps + "  - {name: next, step: noise, from: many}\n")
    adapt(path, tmp_path / "out")
    found = rows(tmp_path / "out")
    assert found["many-step1"]["failed"] and found["many-step1"]["value"] is None
    assert found["next"]["parents"] == ["many-step2"]
    assert "many-step1 could not be scored" in (tmp_path / "out" / "board.md").read_text()
    with pytest.raises(RunFailed, match="`many` selects the best, but no candidate has a score: "):
        adapt(path, tmp_path / "none", many__broken="[1, 2]")
    assert {one["failed"] is None for one in rows(tmp_path / "none").values()} == {False}


@pytest.mark.usefixtures("small_steps")
def test_refusals_name_the_step_and_its_line(kitchen: Path, tmp_path: Path) -> None:
    path = write_recipe(kitchen, "fails", "  - {name: a, step: fails, from: base}\n")
    with pytest.raises(UserError, match=r"fails.yaml:14: step `a`: .*the model does not please"):
        adapt(path, tmp_path / "out")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.doc").touch()
    with pytest.raises(UserError, match="holds other files"):
        adapt(path, tmp_path / "other")


def test_kills_in_a_step_in_an_evaluation_and_sigterm_lose_nothing(kitchen: Path, tmp_path: Path) -> None:
    steps = "  - {name: kept, step: kept_parts, from: base}\n  - {name: fresh, step: parts, from: kept}\n"
    path = write_recipe(kitchen, "kill", steps, engine="held")
    output, hold = tmp_path / "out", tmp_path / "hold"
    hold.mkdir()
    environment = os.environ | {HOLD: str(hold), "PYTHONPATH": f"{ROOT}:{kitchen / 'plugin'}"}
    command = [sys.executable, "-m", "darumeru", "adapt", str(path), "--output", str(output)]

    def held(where: str, number: int) -> tuple[int, str]:
        """Start, wait until the work is held up at `where`, send the signal; exit code and stderr."""
        (hold / f"hold-{where}").touch()
        with (tmp_path / "stderr").open("w") as stderr:
            child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=stderr)
        deadline = time.monotonic() + 120
        while not (hold / f"waiting-{where}").exists():
            assert child.poll() is None and time.monotonic() < deadline, (tmp_path / "stderr").read_text()
            time.sleep(0.02)
        child.send_signal(number)
        code = child.wait(60)
        (hold / f"hold-{where}").unlink()
        (hold / f"waiting-{where}").unlink()
        return code, (tmp_path / "stderr").read_text()

    assert held("kept_parts", signal.SIGKILL)[0] == -signal.SIGKILL
    assert not list(output.glob("steps/*/done.json"))
    assert held("engine", signal.SIGKILL)[0] == -signal.SIGKILL
    assert len(list(output.glob("steps/kept-*/done.json"))) == 1
    answered = (hold / "answered.txt").read_text().splitlines()
    assert 3 <= len(answered) < 16
    code, said = held("parts", signal.SIGTERM)
    assert code == 128 + signal.SIGTERM
    assert said.splitlines()[-1] == "stopped; everything finished is stored; the same command goes on"

    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 0, ended.stderr
    found = rows(output)
    texts = {name: (output / found[name]["path"] / "found.txt").read_text() for name in found}
    assert texts == {"kept": "part-1", "fresh": ""}, "a resumable step gets its folder back, another an empty one"
    asked = (hold / "answered.txt").read_text().splitlines()
    # 8 records of each of two tasks, two models; what was in flight when the evaluation was killed is asked again.
    assert len(set(asked)) == 32 and len(asked) <= 32 + 4
    assert found["kept"]["value"] is not None and found["kept"]["value"] == found["fresh"]["value"]


def test_two_processes_share_a_recipe(kitchen: Path, tmp_path: Path) -> None:
    """The first process scores, writes and prints; a step that trains runs on both."""
    pytest.importorskip("accelerate")
    steps = """
  - {name: alone, step: noise, from: base, with: {count: 2}, select: best}
  - {name: both, step: together, from: alone}
"""
    path = write_recipe(kitchen, "ranks", steps)
    output, counter = tmp_path / "out", tmp_path / "counter"
    environment = os.environ | {COUNTER: str(counter), "PYTHONPATH": f"{ROOT}:{kitchen / 'plugin'}"}
    # With --cpu accelerate starts one process, whatever --num_processes says; --multi_gpu starts them through torchrun.
    environment |= {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
    more = [
        "--num_machines=1",
        "--main_process_port=29633",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "-m",
        "darumeru",
        "adapt",
        str(path),
    ]
    ended = subprocess.run(
        [*launch, *more, "--output", str(output), "--json"],
        env=environment, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    found = rows(output)
    assert counter.read_text().split() == ["base"], "only one process works alone"
    assert (output / found["both"]["path"] / "sum.txt").read_text() == "3", "both processes work together"
    best = max(("alone-step1", "alone-step2"), key=lambda label: found[label]["value"])
    assert found["both"]["parents"] == [best] and found["both"]["value"] == found[best]["value"]
    assert json.loads(ended.stdout)["recipe"] == "ranks", "the board is printed once"
    assert ended.stderr.count("[2/2] both") == 1
