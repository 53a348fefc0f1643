"""Races over real models through the public command: answers from the store, marks on the board, kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from darumeru.adaptation.predictors import FEWEST, checks
from darumeru.adaptation.race import Rules, Standing
from darumeru.core.files import content_hash
from tests.adaptation.conftest import write_recipe
from tests.adaptation.small_steps import HOLD
from tests.adaptation.test_race import answers, standing
from tests.cli.command import darumeru

ROOT = Path(__file__).parents[2]
STEPS = """
  - {name: many, step: noise, from: base, with: {count: 3, scale: 0.2, broken: [2]}, select: race}
  - {name: next, step: noise, from: many, with: {scale: 0.0}}
"""
RACE = "race: {first: 2}\n"


def rows(output: Path) -> dict[str, dict[str, Any]]:
    return {one["label"]: one for one in json.loads((output / "board.json").read_text())["candidates"]}


def races(output: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((output / "races").iterdir())]


def stored_answers(output: Path) -> dict[str, str]:
    """Run folder and task -> hash of the answers in it, in any order."""
    found = {}
    for path in sorted(output.glob("runs/*/samples/*.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        keys = [one["key"] for one in lines]
        assert len(set(keys)) == len(keys), "no sample is asked twice"
        found[f"{path.parent.parent.name}/{path.name}"] = content_hash(sorted(keys))
    return found


@pytest.mark.usefixtures("small_steps")
def test_a_race_asks_in_rounds_and_its_rows_are_marked(
    kitchen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = str(write_recipe(kitchen, "race", STEPS, more=RACE))
    output = tmp_path / "out"
    said = darumeru(capsys, monkeypatch, "adapt", recipe, "--output", str(output), "--json")
    assert said.code == 0, said.err
    found = rows(output)
    (race,) = races(output)
    assert race["over"] and [one["n"] for one in race["rounds"]] == [2, 4, 8][: len(race["rounds"])]
    assert {line["name"]: line["fate"] for line in race["rounds"][0]["lines"]}["many-step2"] == "failed"
    leader = race["outcome"]["leader"]
    assert found["next"]["parents"] == [leader] and found[leader]["partial"] is None
    assert found[leader]["samples"] == 16, "8 records of either task: the winner has them all"
    asked = {name: one["samples"] for name, one in found.items() if name.startswith("many")}
    assert race["asked"] == sum(asked.values()) and race["full"] == 3 * 16
    assert "many-step2 could not be scored" in (output / "board.md").read_text()
    stored = stored_answers(output)

    again = darumeru(capsys, monkeypatch, "adapt", recipe, "--output", str(output), "--json")
    assert again.code == 0 and again.out == said.out and stored_answers(output) == stored and races(output) == [race]
    planned = darumeru(capsys, monkeypatch, "adapt", recipe, "--output", str(output), "--dry-run")
    assert "next [noise] done" in planned.out


@pytest.mark.usefixtures("small_steps")
def test_a_loser_is_partial_on_the_board_and_never_ranked(
    kitchen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model whose head is noise loses to its base within few records when the margin of error is wide; `--race`
    races what `best` is taken of; models scored in full, the given ones, are asked nothing more."""
    steps = """
  - {name: spoilt, step: noise, from: base, with: {scale: 30.0}}
  - {name: fine, step: noise, from: base, with: {scale: 0.001}}
  - {name: next, step: noise, from: {best: [spoilt, fine, base]}, with: {scale: 0.0}}
"""
    more = "race: {first: 4, error: 0.5}\n"
    path = write_recipe(kitchen, "lose", steps, more=more)
    text = path.read_text().replace("[darumeru/cp_sent_ru, darumeru/rummlu]", "[perplexity/text_ru]")
    path.write_text(text.replace("data: data", "data: bundled").replace("score:\n", "score:\n  models: [base]\n"))
    output = tmp_path / "out"
    words = ("adapt", str(path), "--output", str(output), "--race", "--set", "score.limit=8")
    said = darumeru(capsys, monkeypatch, *words)
    assert said.code == 0, said.err
    found = rows(output)
    assert found["spoilt"]["partial"] == 4 and found["spoilt"]["samples"] == 4
    assert found["spoilt"]["race"].startswith("beaten by ")
    assert found["base"]["partial"] is None and found["base"]["samples"] == 8
    markdown = (output / "board.md").read_text()
    (line,) = [one for one in markdown.splitlines() if one.startswith("|") and "spoilt" in one.split("|")[2]]
    assert "*" in line and " 4 " in line and line.split("|")[1].strip() in ("", "–", "-")
    assert "partial, not ranked" in markdown and "race: " in markdown
    assert "race, round 1: 4 samples a task" in said.err and "samples were asked" in said.err
    assert "spoilt" in said.out and " 4" in said.out


@pytest.mark.parametrize("where", ["engine"])
def test_a_killed_race_goes_on_from_the_store(kitchen: Path, tmp_path: Path, where: str) -> None:
    """SIGKILL between answers of the first candidate, then the same command: the race and the answers are those of an
    undisturbed one."""
    steps = "  - {name: many, step: noise, from: base, with: {count: 2}, select: race}\n"
    recipe = write_recipe(kitchen, "killed", steps, engine="held", more=RACE)
    hold = tmp_path / "hold"
    hold.mkdir()
    environment = os.environ | {
        "PYTHONPATH": f"{kitchen / 'plugin'}:{ROOT}",
        HOLD: str(hold),
    }

    def command(output: Path) -> list[str]:
        return [sys.executable, "-m", "darumeru", "adapt", str(recipe), "--output", str(output)]

    (hold / f"hold-{where}").touch()
    child = subprocess.Popen(command(tmp_path / "out"), env=environment, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 90
    while not (hold / f"waiting-{where}").exists():
        assert child.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    (hold / f"hold-{where}").unlink()
    for output in (tmp_path / "out", tmp_path / "whole"):
        subprocess.run(command(output), env=environment, check=True, capture_output=True)
    assert races(tmp_path / "out") == races(tmp_path / "whole")
    assert stored_answers(tmp_path / "out") == stored_answers(tmp_path / "whole")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("limit: 1", "limit: 8\n  subset_seed: null"), r"race.yaml:\d+: a race draws samples at random"),
        (("limit: 1", "metric: nothing"), r"race.yaml:\d+: no score is called `nothing`"),
        (("[darumeru/cp_sent_ru, darumeru/rummlu]", "[lm_eval:xnli_ru]"), r"race.yaml:\d+: a race draws samples of"),
        (("first: 2", "first: 1"), r"race.yaml:\d+: `first` of `race`: must be 2 or more, not 1"),
        (("first: 2", "frist: 2"), r"race.yaml:\d+: unknown key `frist` in `race`; did you mean first\?"),
        (("select: race", "select: race, keep: 1"), r"race.yaml:\d+: `select: race` decides itself what is scored"),
    ],
)
@pytest.mark.usefixtures("small_steps")
def test_what_cannot_be_raced_is_one_line(
    kitchen: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    change: tuple[str, str],
    said: str,
) -> None:
    import re

    path = write_recipe(kitchen, "race", STEPS, more=RACE)
    path.write_text(path.read_text().replace("score:\n", "score:\n  limit: 1\n").replace(*change))
    found = darumeru(capsys, monkeypatch, "adapt", str(path), "--output", str(tmp_path / "out"))
    assert found.code == 2 and found.err.count("\n") == 1 and re.match(f"error: .*{said}", found.err), found.err


def test_a_predictor_is_checked_against_full_scores() -> None:
    """Candidates whose truth is their order: a number that falls with it predicts, one against it does not."""
    rates = [0.2, 0.4, 0.6, 0.8, 0.9]
    made = answers(rates, 400, seed=2)
    full: dict[str, Standing | None] = {f"c{place}": standing(one, 400) for place, one in enumerate(made)}
    values = {f"c{place}": {"good": -rate, "bad": rate} for place, rate in enumerate(rates)}
    rules = Rules(400, {"task": 1.0})
    bad, good = checks(values, full, rules)
    assert good.rho == 1 and good.predicts and good.count == 5 and good.low > 0.5
    assert bad.rho == -1 and not bad.predicts and "is not shown to predict" in str(bad)
    few = dict(list(full.items())[: FEWEST - 1])
    assert list(checks(values, {**dict.fromkeys(full), **few}, rules)) == []
