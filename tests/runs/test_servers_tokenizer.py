"""A server whose tokenizer is not at hand: what needs it is named, the rest is asked.

Right values: ../shared/cases/server_needs_tokenizer.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.command import Said

NEEDING = {
    "daru/treewayextractive", "darumeru/cp_sent_en", "darumeru/cp_sent_ru", "darumeru/cp_para_en",
    "darumeru/cp_para_ru",
}  # fmt: skip


@pytest.mark.parametrize("profile", ["darumeru", "llmtf-2024", "llmtf-head"])
def test_the_default_tasks_are_asked_as_far_as_they_can_be(
    profile: str,
    fake_server: str,
    tmp_path: Path,
    command: Callable[..., Said],
) -> None:
    run = tmp_path / "run"
    words = ("--data", "bundled", "--limit", "1", "--profile", profile, "--output", run)
    said = command("run", "--model", f"{fake_server}/normal/v1", *words)
    tasks = json.loads((run / "results.json").read_text(encoding="utf-8"))["tasks"]
    refused = {name for name, task in tasks.items() if task["error"]}
    assert said.code == 1 and refused == NEEDING and "Traceback" not in said.err
    assert all("--tokenizer" in tasks[name]["error"] for name in NEEDING)
    assert all(tasks[name]["score"]["value"] is not None for name in tasks.keys() - NEEDING)
