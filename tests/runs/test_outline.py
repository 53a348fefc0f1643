"""`darumeru run --dry-run`: the counts are those of the run that follows, and nothing is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.asked import rows_of
from tests.cli.command import Said

TASKS = ("darumeru/parus", "darumeru/cp_sent_ru")


@pytest.fixture
def run(command: Callable[..., Said], tiny_model: Path, tmp_path: Path) -> Callable[..., Said]:
    def said(output: str, *words: str) -> Said:
        common = ("--data", "bundled", "--tasks", ",".join(TASKS), "--engine", "transformers", "--limit", "3")
        return command("run", "--model", tiny_model, *common, "--output", tmp_path / output, *words)

    return said


def _outline(said: Said) -> dict[str, Any]:
    assert said.code == 0, said.err
    values: dict[str, Any] = json.loads(said.out)
    return values


def test_counts_are_those_of_the_run(run: Callable[..., Said], tmp_path: Path) -> None:
    """Right values: the lines that the run itself stores afterwards."""
    before = _outline(run("one", "--dry-run", "--json"))
    assert not (tmp_path / "one").exists() and before["seconds"] is None
    assert run("one").code == 0
    stored = {task: rows_of(tmp_path / "one", task) for task in TASKS}
    assert {one["task"]: one["pending"] for one in before["tasks"]} == {
        name: len(rows) for name, rows in stored.items()
    }
    assert before["totals"]["prompt_tokens"] == sum(row["prompt_tokens"] for rows in stored.values() for row in rows)
    generated = max(len(row["answer"]["tokens"]) for row in stored["darumeru/cp_sent_ru"])
    assert before["totals"]["new_tokens"] >= 3 * generated > 0
    after = run("one", "--dry-run")
    assert "every answer is stored: nothing would be asked" in after.out


def test_several_models_are_one_json_list(run: Callable[..., Said], tiny_model: Path, tmp_path: Path) -> None:
    link = tmp_path / "other"
    link.symlink_to(tiny_model)
    one = _outline(run("one", "--dry-run", "--json"))
    said = run("two", "--model", str(link), "--dry-run", "--json")
    found = json.loads(said.out)
    assert said.code == 0 and [each["tasks"] for each in found] == [one["tasks"]] * 2
    assert {each["model"] for each in found} == {tiny_model.name, "other"} and not (tmp_path / "two").exists()


def test_an_earlier_run_beside_it_tells_the_time(run: Callable[..., Said], tmp_path: Path) -> None:
    """Right value: the tokens of the earlier run's lines over its seconds, by hand."""
    assert run("one").code == 0
    rows = [row for task in TASKS for row in rows_of(tmp_path / "one", task)]
    tokens = sum(row["prompt_tokens"] + len(row["answer"].get("tokens", ())) for row in rows)
    manifest = json.loads((tmp_path / "one" / "manifest.json").read_text("utf-8"))
    told = _outline(run("two", "--dry-run", "--json"))
    assert told["speed"]["run"] == str(tmp_path / "one")
    assert told["speed"]["tokens_per_second"] == pytest.approx(tokens / manifest["seconds"])
    # The same questions take as long as they took.
    assert told["seconds"] == pytest.approx(manifest["seconds"])
    assert not (tmp_path / "two").exists()
