"""A run whose answers wait for a judge."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from darumeru.runs import evaluate
from darumeru.runs.config import RunConfig

TASK = "rusbeirrag/rubqqa_llmaaj"
RECORDS = 6


@pytest.fixture(scope="session")
def answered(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of the tiny model on a judged task and another one; do not change it."""
    folder = tmp_path_factory.mktemp("answered") / "run"
    tasks = [TASK, "darumeru/parus"]
    asked = {"data": "bundled", "limit": RECORDS, "engine": "transformers", "resamples": 50}
    evaluate.run(RunConfig(str(tiny_model), output=folder, tasks=tasks, **asked))
    return folder


@pytest.fixture
def run(answered: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(answered, tmp_path / "run"))
