"""What tests of recipes share: the plugin of small steps, two tiny models, a small suite of tasks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from darumeru.adaptation.registry import step_registry
from tests.adaptation.small_steps import plugin
from tests.runs.data_folders import small_suite
from tests.tiny_models import TEXTS, make_model

SCORE = """
score:
  tasks: [darumeru/cp_sent_ru, darumeru/rummlu]
  data: data
  engine: {engine}
  num_fewshot: 0
  max_length: 512
  resamples: 20
  batch_size: 4
"""


@pytest.fixture(scope="session")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models base and chat, data, and a corpus; do not change it."""
    folder = tmp_path_factory.mktemp("kitchen")
    make_model(folder / "base", seed=1)
    make_model(folder / "chat", seed=2)
    small_suite(folder / "data", records=8)
    (folder / "corpus.txt").write_text("\n".join(TEXTS * 10), encoding="utf-8")
    plugin(folder / "plugin")
    return folder


@pytest.fixture
def small_steps(kitchen: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The small steps, found in this process."""
    monkeypatch.syspath_prepend(str(kitchen / "plugin"))
    step_registry.cache_clear()
    yield
    step_registry.cache_clear()


def write_recipe(kitchen: Path, name: str, steps: str, engine: str = "transformers", more: str = "") -> Path:
    """A recipe beside the models of the kitchen."""
    path = kitchen / f"{name}.yaml"
    head = f"name: {name}\nmodels: {{base: base, chat: chat}}\ndata: {{corpus: corpus.txt}}\n"
    path.write_text(head + SCORE.format(engine=engine) + more + f"steps:\n{steps}", encoding="utf-8")
    return path
