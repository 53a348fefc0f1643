"""Data parallelism with real engines in child processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from darumeru.engines import EngineDied, EngineOptions, Generate, Request, load_engine
from tests.engines.asking import Prompts, answers, assert_same, mixed


def test_two_replicas_answer_as_one_engine_does_until_one_dies(
    vllm_engine: Any, tiny_model: Path, tmp_path: Path
) -> None:
    """One test, because the children take long to start."""
    requests = mixed(50) + mixed(51)
    expected = answers(vllm_engine, requests)
    options = EngineOptions(model=str(tiny_model), data_parallel=2, log_file=str(tmp_path / "engine.log"))
    engine: Any = load_engine("vllm", options)
    children = psutil.Process().children(recursive=True)
    assert engine.max_model_len == 2048
    assert_same(answers(engine, requests), expected, 1e-3)

    iterator = engine.answer(requests)
    next(iterator)
    iterator.close()
    assert_same(answers(engine, requests), expected, 1e-3)

    victim = engine._replicas._processes[1].pid
    prompts = Prompts(52)
    iterator = engine.answer([Request(prompts.prompt(8), Generate(400)) for _ in range(400)])
    got = [next(iterator)]
    os.kill(victim, signal.SIGKILL)
    with pytest.raises(EngineDied, match="replica 1 ended with exit code -9"):
        got += iterator
    assert 1 <= len(got) < 400
    engine.close()
    engine.close()
    assert not [child for child in children if child.is_running() and "spawn_main" in " ".join(child.cmdline())]
    assert (tmp_path / "engine.log.0").read_text() and (tmp_path / "engine.log.1").read_text()
