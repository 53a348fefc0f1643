"""Steps, candidates, models and checkpoints on the nodes of a cluster; what is right is the same on one machine."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.counting_engine import JOURNAL
from tests.cluster.nodes import BIN, Nodes
from tests.runs.data_folders import small_suite
from tests.tiny_models import make_model

RECIPE = """
name: small
models: {base: base}
score: {tasks: [darumeru/rummlu], data: data, engine: transformers, num_fewshot: 0, max_length: 512, resamples: 20,
        batch_size: 2, models: [base]}
steps:
  - {name: noisy, step: noise, from: base, with: {count: 2}, select: best}
  - {name: after, step: noise, from: noisy}
"""
TOGETHER = "  - {name: summed, step: together, from: base}\n"
ASKED = ["--tasks", "darumeru/rummlu", "--engine", "transformers", "--num-fewshot", "0", "--max-length", "512"]


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kitchen")
    make_model(folder / "base", seed=1)
    small_suite(folder / "data", records=6)
    (folder / "alone.yaml").write_text(RECIPE)
    (folder / "nodes.yaml").write_text(RECIPE + TOGETHER)
    return folder


def done(nodes: Nodes, *words: Any, on_cluster: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in nodes.environment.items() if name != JOURNAL}
    command = [BIN / "darumeru", *words]
    command = nodes.command(*command, "--cluster", nodes.address) if on_cluster else command
    said = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in said.stderr, said.stderr
    return said


def test_steps_and_scorings_go_over_the_nodes_and_training_over_two_of_them(
    nodes: Nodes, kitchen: Path, tmp_path: Path
) -> None:
    boards = {}
    for name, words in (("alone", ()), ("nodes", ("--workers", "2"))):
        said = done(
            nodes, "adapt", kitchen / f"{name}.yaml", "--output", tmp_path / name, "--json", *words,
            on_cluster=name == "nodes",
        )  # fmt: skip
        assert said.returncode == 0, said.stderr
        boards[name] = {line["label"]: line["scores"] for line in json.loads(said.stdout)["candidates"]}
    [total] = (tmp_path / "nodes").glob("steps/summed-*/work/model/sum.txt")
    assert total.read_text() == "3"
    assert boards["nodes"].pop("summed")["darumeru/rummlu"] == boards["nodes"]["base"]["darumeru/rummlu"]
    assert boards["nodes"] == boards["alone"] and len(boards["alone"]) == 4


def test_several_models_and_checkpoints_are_jobs_of_their_own(nodes: Nodes, kitchen: Path, tmp_path: Path) -> None:
    for step in (1, 2):
        shutil.copytree(kitchen / "base", tmp_path / "training" / f"checkpoint-{step}")
    words = ["--data", kitchen / "data", *ASKED]
    models = [tmp_path / "training" / "checkpoint-1", tmp_path / "gone", kitchen / "base"]
    named = [word for model in models for word in ("--model", model)]
    said = done(nodes, "run", *named, *words, "--output", tmp_path / "runs", "--json")
    assert said.returncode == 1 and "1 of 3 models have no complete score" in said.stderr, said.stderr
    rows = json.loads(said.stdout)["rows"]
    assert sorted(row["name"] for row in rows) == ["base", "checkpoint-1"]

    said = done(nodes, "watch", tmp_path / "training", *words, "--output", tmp_path / "curve", "--once", "--json")
    assert said.returncode == 0, said.stderr
    points = [json.loads(line) for line in said.stdout.splitlines()]
    assert sorted(point["step"] for point in points) == [1, 2]
    assert points[0]["scores"] == points[1]["scores"]
