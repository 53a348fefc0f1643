"""Data parallelism with real engines in child processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from multiprocessing import Pipe
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest

from darumeru.core.answer import Answer
from darumeru.engines import EngineDied, EngineOptions, Generate, Request, load_engine
from darumeru.engines.order import Numbered
from darumeru.engines.vllm_replicas import Begin, Done, More, Ready, Stop, serve
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


class Quick:
    """An engine that answers whatever it draws at once."""

    max_model_len = 8

    def __init__(self, options: EngineOptions) -> None:
        pass

    def answer_groups(self, groups: Iterator[Sequence[Numbered]]) -> Iterator[tuple[int, Answer]]:
        for group in groups:
            for number, _ in group:
                yield number, Answer(text="да")

    def close(self) -> None:
        pass


def test_a_stop_that_crosses_the_end_of_an_answer_stops_nothing_later() -> None:
    """The parent closes its iterator just after the last answer, while the replica says that it is done."""
    mine, theirs = Pipe()
    replica = Thread(target=serve, args=(theirs, EngineOptions(model="m"), Quick))
    replica.start()
    assert isinstance(mine.recv(), Ready)
    for _ in range(2):
        mine.send(Begin())
        assert isinstance(mine.recv(), More)
        mine.send(More((((0, Request((1,), Generate(1))),),)))
        assert mine.recv() == (0, Answer(text="да"))
        assert isinstance(mine.recv(), More)
        mine.send(More(()))
        assert mine.poll(5)  # Done lies there, unread
        mine.send(Stop())
        assert isinstance(mine.recv(), Done)
    mine.close()
    replica.join(5)
    assert not replica.is_alive()
