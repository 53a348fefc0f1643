"""Three Ray nodes in namespaces and a plugin that all of them have."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adaptation import small_steps
from tests.cluster import counting_engine
from tests.cluster.nodes import Nodes, why_not

ROOT = Path(__file__).parents[2]
SECRET = "hf_NobodyMayReadThisOnNodes123"


@pytest.fixture(scope="package")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    reason = why_not()
    if reason and not os.environ.get("CI"):
        pytest.skip(reason)
    assert not reason, reason
    plugin = tmp_path_factory.mktemp("plugin")
    counting_engine.install(plugin)
    small_steps.plugin(plugin)
    journal = tmp_path_factory.mktemp("journal") / "asked.jsonl"
    environment = {
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(plugin))),
        "HF_TOKEN": SECRET,
        counting_engine.JOURNAL: str(journal),
    }
    with Nodes(3, environment) as started:
        yield started
