"""What the whole suite shares: one tiny model and one real vLLM engine on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.asked import command, fake_server, run_of  # noqa: F401

# The same examples in every run; HYPOTHESIS_SEARCH=1 looks for new ones.
hypothesis.settings.register_profile("same", derandomize=not os.environ.get("HYPOTHESIS_SEARCH"), deadline=None)
hypothesis.settings.load_profile("same")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random Llama with a chat template, 2,048 positions; do not change it."""
    from tests.tiny_models import make_model

    return make_model(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def vllm_engine(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Real vLLM on `tiny_model`, one engine for the whole session; leave it usable."""
    from darumeru.engines import load_engine
    from darumeru.engines.protocol import EngineOptions

    log = tmp_path_factory.mktemp("logs") / "engine.log"
    engine = load_engine("vllm", EngineOptions(model=str(tiny_model), max_model_len=2048, log_file=str(log)))
    yield engine
    engine.close()
