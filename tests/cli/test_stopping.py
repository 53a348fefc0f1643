"""Ctrl-C, SIGTERM and SIGHUP: one line, and the exit code of the signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.command import darumeru

# cases/ctrl_c_silent.md
LINE = "stopped; everything finished is stored; the same command goes on"
HELD = """
import sys, time
from darumeru.cli.main import main
from importlib import import_module
def hold(*_, **__):
    try:
        print("held", flush=True)
        time.sleep(60)
    finally:
        print("unwound", flush=True)
place, name = {place!r}.rsplit(".", 1)
if place.rpartition(".")[2][0].isupper():
    module, _, owner = place.rpartition(".")
    target = getattr(import_module(module), owner)
else:
    target = import_module(place)
setattr(target, name, hold)
sys.argv = ["darumeru", *{words!r}]
main()
"""
VERBS = {
    "run": ("darumeru.runs.evaluate.run", ["run", "--model", "x"]),
    "watch": ("darumeru.training.watch.Watcher.points", ["watch", "."]),
    "adapt": ("darumeru.adaptation.recipe.load_recipe", ["adapt", "recipe.yaml"]),
    "compare": ("darumeru.runs.run.load_run", ["compare", "a", "b"]),
    "tasks": ("darumeru.tasks.registry.load_registry", ["tasks", "list"]),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_unwinds_and_says_that_the_command_goes_on(verb: str, number: signal.Signals, tmp_path: Path) -> None:
    place, words = VERBS[verb]
    root = Path(__file__).parents[2]
    child = subprocess.Popen(
        [sys.executable, "-c", HELD.format(place=place, words=words)], cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(root)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None and child.stdout.readline() == "held\n"
    child.send_signal(number)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (128 + number, "unwound\n")
    assert err.splitlines()[-1] == LINE and "Traceback" not in err


def test_a_forked_child_ends_at_sigterm_as_ever(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that engines fork must not unwind the command's own stack."""
    ended: list[int] = []

    def work(*_: object, **__: object) -> None:
        if not (child := os.fork()):
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                os._exit(7)
        ended.append(os.waitpid(child, 0)[1])

    monkeypatch.setattr("darumeru.runs.run.load_run", work)
    with pytest.raises((AttributeError, TypeError)):  # there are no runs
        darumeru(capsys, monkeypatch, "compare", "a", "b")
    assert ended and set(ended) == {signal.SIGTERM}


def test_the_handler_of_the_caller_is_put_back(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before: Callable[..., object] | int | None = signal.getsignal(signal.SIGTERM)
    darumeru(capsys, monkeypatch, "--version")
    assert signal.getsignal(signal.SIGTERM) is before
