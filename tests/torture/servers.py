"""Servers that misbehave: every mode ends in a score or that sample's error, and a mended one in the normal scores."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.shared_data import ROOT, case
from tests.torture.command import complaint, darumeru

TASKS = "darumeru/rwsd,darumeru/multiq,darumeru/rcb"
TOKENIZER = ROOT / "demo" / "darumeru-demo"
# Modes in which every request waits for the time limit, or moves much data.
SLOW = ("hang", "drip", "header_drip", "large_blank", "large_when_unpacked", "large_text")
PATIENT = {"timeout": 3, "retries": 2, "backoff": 0.05, "concurrency": 4}
HASTY = {"timeout": 1, "retries": 0, "backoff": 0.05, "concurrency": 4}

Scores = dict[str, float | None]


class ModeServer(Protocol):
    def url(self, mode: str) -> str: ...

    def mend(self, mode: str) -> None: ...


@dataclass(frozen=True)
class FakeServer:
    """cases/fake_server.py of the shared data, in a process of its own."""

    port: int

    def url(self, mode: str) -> str:
        return f"http://127.0.0.1:{self.port}/{mode}/v1"

    def mend(self, mode: str) -> None:
        self._call(f"{mode}/mend", "POST")

    def elsewhere(self) -> Any:
        """What redirects brought to another address."""
        return self._call("elsewhere", "GET")

    def _call(self, path: str, method: str) -> Any:
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}/{path}", method=method)
        with urllib.request.urlopen(asked) as response:
            return json.load(response)


def fake_modes() -> list[str]:
    """Names of the modes of cases/fake_server.py."""
    listed = subprocess.run([sys.executable, str(case("fake_server.py")), "--list"], capture_output=True, text=True)
    return [line.split()[0] for line in listed.stdout.splitlines()]


@contextmanager
def fake_server(seconds: int = 1800, megabytes: int = 40) -> Iterator[FakeServer]:
    """The server while the context lasts, on two ports in a row."""
    for _ in range(20):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1] - 1
        command = [sys.executable, str(case("fake_server.py")), "--port", str(port)]
        command += ["--seconds", str(seconds), "--megabytes", str(megabytes)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if child.stdout is not None and child.stdout.readline():
            break
        child.wait()  # the neighbouring port is taken
    else:
        raise AssertionError("fake_server.py starts on no port")
    try:
        yield FakeServer(port)
    finally:
        child.kill()
        child.wait()


def words(url: str, folder: Path, arguments: Mapping[str, Any], *more: str) -> tuple[str, ...]:
    """The command of a run against a server."""
    given = ("--engine-args", json.dumps(arguments), "--output", str(folder))
    return "run", "--model", url, "--data", "bundled", "--tasks", TASKS, "--limit", "10", *given, *more


def scores(folder: Path) -> Scores:
    """Task -> score of a run folder."""
    tasks = json.loads((folder / "results.json").read_text("utf-8"))["tasks"]
    return {name: task["score"]["value"] for name, task in tasks.items()}


def check(server: ModeServer, mode: str, folder: Path, right: Scores, *more: str) -> str:
    """What is wrong with a mode; "" when nothing is."""
    arguments = HASTY if mode in SLOW else PATIENT
    command = words(server.url(mode), folder, arguments, *more)
    wrong = complaint(darumeru(*command), (0, 1, 2))
    if wrong:
        return wrong
    server.mend(mode)
    wrong = complaint(darumeru(*command), (0,))
    if wrong:
        return f"mended: {wrong}"
    found = scores(folder)
    return "" if found == right else f"mended: {found} is not {right}"
