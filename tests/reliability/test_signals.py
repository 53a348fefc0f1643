"""Signals at any phase, with children and without (cases/ctrl_c_silent.md)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.forked import stored_lines
from tests.shared_data import ROOT
from tests.torture.command import darumeru
from tests.torture.servers import FakeServer, fake_server, words

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
SLOW = {"timeout": 30, "retries": 0, "concurrency": 1}


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with fake_server() as server:
        yield server


def started(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "darumeru.cli.main", *command], cwd=ROOT, text=True, stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip


def stored(folder: Path) -> int:
    return stored_lines(folder, "samples/*.jsonl")


def wait_for(what: object, folder: Path, count: int) -> None:
    for _ in range(600):
        if stored(folder) >= count:
            return
        time.sleep(0.1)
    raise AssertionError(f"{what}: {stored(folder)} answers")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_says_what_is_stored_and_the_same_command_goes_on(
    fake: FakeServer, number: signal.Signals, tmp_path: Path
) -> None:
    """The mode `hang` answers 12 requests, six of them at the two looks at the server."""
    command = words(fake.url("hang"), tmp_path, SLOW)
    child = started(*command)
    wait_for(child, tmp_path, 6)
    time.sleep(0.2)
    child.send_signal(number)
    _, err = child.communicate(timeout=10)
    assert child.returncode == 128 + number and "Traceback" not in err
    assert err.splitlines()[-1] == "stopped; 6 of 30 answers are stored; the same command goes on"
    manifest = json.loads((tmp_path / "manifest.json").read_text("utf-8"))
    assert manifest["status"] == "interrupted"
    fake.mend("hang")
    assert darumeru(*command).code == 0 and stored(tmp_path) == 30


def test_a_signal_that_the_caller_ignores_stays_ignored(fake: FakeServer, tmp_path: Path) -> None:
    """nohup: SIGHUP is ignored when the process begins."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        child = started(*words(fake.url("hang"), tmp_path, SLOW))
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_for(child, tmp_path, 6)
    child.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert child.poll() is None
    child.send_signal(signal.SIGTERM)
    assert child.wait(10) == 128 + signal.SIGTERM


def test_a_stopped_process_goes_on(fake: FakeServer, tmp_path: Path) -> None:
    """SIGSTOP while it waits for answers; the server mends meanwhile."""
    child = started(*words(fake.url("hang"), tmp_path, {"timeout": 2, "retries": 3, "backoff": 0.1, "concurrency": 1}))
    wait_for(child, tmp_path, 6)
    child.send_signal(signal.SIGSTOP)
    fake.mend("hang")
    time.sleep(3)
    child.send_signal(signal.SIGCONT)
    assert child.wait(60) == 0 and stored(tmp_path) == 30


OWNER = """
import multiprocessing, sys, time
from tests.reliability.test_signals import child_of_an_engine
if __name__ == "__main__":
    one = multiprocessing.get_context("spawn").Process(target=child_of_an_engine)
    one.start()
    print(one.pid, flush=True)
    time.sleep(60)
"""


def child_of_an_engine() -> None:
    """What a replica is like: it has imported the engines and is busy, whatever happens to its pipe."""
    import darumeru.engines  # noqa: F401

    print("ready", flush=True)
    while True:
        time.sleep(1)


def lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_processes_of_an_engine_end_with_the_one_that_started_them() -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    lines = sorted(owner.stdout.readline().strip() for _ in range(2))
    child = int(lines[0])
    os.kill(child, signal.SIGINT)  # of a terminal, to all; the owner decides
    time.sleep(0.3)
    assert lives(child)
    owner.kill()
    owner.wait()
    ends = time.monotonic() + 10
    while lives(child) and time.monotonic() < ends:
        time.sleep(0.1)
    assert not lives(child)
