"""Runs of the public command on few samples, for tests of prompts and numbers."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import Said, darumeru
from tests.shared_data import case

# (model, task, more words) -> the sample rows of a new run in `folder`.
Run = Callable[..., list[dict[str, Any]]]
Command = Callable[..., Said]


def rows_of(run: Path, task: str) -> list[dict[str, Any]]:
    text = (run / "samples" / f"{task.replace('/', '__')}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """`darumeru WORDS`."""
    return lambda *words: darumeru(capsys, monkeypatch, *map(str, words))


@pytest.fixture
def run_of(command: Callable[..., Said], tmp_path: Path) -> Run:
    """`darumeru run` of one task with the transformers engine into tmp_path / "run"."""

    def run(model: Path | str, task: str, *more: str) -> list[dict[str, Any]]:
        words = ("--tasks", task, "--engine", "transformers", "--output", tmp_path / "run", *more)
        data = () if "--data" in more else ("--data", "bundled")
        said = command("run", "--model", model, *data, *words)
        assert said.code == 0, said.err
        return rows_of(tmp_path / "run", task)

    return run


@pytest.fixture(scope="session")
def fake_server() -> Iterator[str]:
    """The shared server that misbehaves in named ways; its address without the mode."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(case("fake_server.py")), "--port", str(port), "--seconds", "7200"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/normal/v1/models", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
