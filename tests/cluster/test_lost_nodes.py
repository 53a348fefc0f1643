"""A run over three nodes of which one is cut off, one is killed and comes back: nothing is lost, nothing asked twice.

What is right is the same command on one machine.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cluster.conftest import ROOT, SECRET
from tests.cluster.counting_engine import HOLD, JOURNAL
from tests.cluster.nodes import BIN, Nodes

TASKS = "darumeru/rummlu,darumeru/cp_sent_ru"
WORDS = [
    BIN / "darumeru", "run", "--model", ROOT / "demo" / "darumeru-demo", "--data", "bundled", "--engine", "counting",
    "--limit", "24", "--tasks", TASKS, "--batch-size", "2", "--num-fewshot", "0",
]  # fmt: skip


def stored(run: Path) -> dict[tuple[str, str, str], list[Any]]:
    """(task, id, key) -> the answers that are stored for it."""
    found: dict[tuple[str, str, str], list[Any]] = {}
    for path in sorted((run / "samples").glob("*.jsonl")):
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                row = json.loads(line)
                found.setdefault((row["task"], row["id"], row["key"]), []).append(row["answer"])
    return found


def asked(nodes: Nodes) -> list[tuple[int, list[str]]]:
    journal = Path(nodes.environment[JOURNAL])
    lines = journal.read_text().splitlines() if journal.exists() else []
    return [(pid, keys) for pid, keys in map(json.loads, lines)]


def wait_until(what: Callable[[], bool], run: subprocess.Popen[bytes], errors: Path, seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert run.poll() is None and time.monotonic() < deadline, errors.read_text()
        time.sleep(0.1)


def _two_nodes_lost(nodes: Nodes, run: subprocess.Popen[bytes], errors: Path, folder: Path) -> tuple[int, set[str]]:
    """One node cut off, one killed and back: how often was asked before, and the keys of what was stored then."""
    wait_until(lambda: len({pid for pid, _ in asked(nodes)}) == 3 and len(stored(folder)) >= 6, run, errors)
    nodes.cut_off(1)
    nodes.kill(2)
    before = len(asked(nodes))
    kept = {key for _, _, key in stored(folder)}
    nodes.join(2)

    def replaced() -> bool:
        said = errors.read_text()
        return said.count(" is lost, ") == 2 and " answers again on " in said

    wait_until(replaced, run, errors)
    return before, kept


def test_a_run_loses_a_cable_and_a_node_and_nothing_else(nodes: Nodes, tmp_path: Path) -> None:
    errors, hold = tmp_path / "stderr", Path(nodes.environment[JOURNAL] + HOLD)
    hold.touch()
    command = nodes.command(*WORDS, "--output", tmp_path / "run", "--cluster", nodes.address)
    with errors.open("w") as stderr:
        run = subprocess.Popen(command, env=nodes.environment, stdout=subprocess.DEVNULL, stderr=stderr)
    try:
        before, kept = _two_nodes_lost(nodes, run, errors, tmp_path / "run")
        hold.unlink()
        assert run.wait(300) == 0, errors.read_text()
    finally:
        run.kill()  # a run that goes on would keep the nodes from the tests after this one
    assert errors.read_text().count(" is lost, ") == 2

    free = {name: value for name, value in nodes.environment.items() if name != JOURNAL}
    alone = subprocess.run(list(map(str, [*WORDS, "--output", tmp_path / "alone"])), env=free, capture_output=True)
    assert alone.returncode == 0, alone.stderr
    expected = stored(tmp_path / "alone")
    found = stored(tmp_path / "run")
    assert found == expected and len(found) == 48
    assert all(len(answers) == 1 for answers in found.values())
    assert not kept & {key for _, keys in asked(nodes)[before:] for key in keys}
    scores = [json.loads((tmp_path / name / "results.json").read_text())["tasks"] for name in ("alone", "run")]
    assert scores[0] == scores[1]

    # A group is two requests at most; one that both lost replicas held is asked a third time.
    held = sum(map(int, re.findall(r" is lost, (\d+) groups", errors.read_text())))
    times = Counter(key for _, keys in asked(nodes) for key in keys)
    assert held > 0 and sum(times.values()) - len(times) <= 2 * held and max(times.values()) <= 3
    logs = "".join((tmp_path / "run" / f"engine.log.{number}").read_text() for number in range(3))
    assert logs.count(" answers on ") == 3 and logs.count(" is lost, ") == 2

    written = [path for folder in (nodes.folder, tmp_path) for path in folder.rglob("*") if path.is_file()]
    assert len(written) > 20
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]


def test_an_address_without_a_cluster_is_one_line(tmp_path: Path) -> None:
    words = [*WORDS, "--output", tmp_path / "run", "--cluster", "127.0.0.1:1", "--engine", "transformers"]
    said = subprocess.run([sys.executable, "-m", "darumeru", *map(str, words[1:])], capture_output=True, text=True)
    assert said.returncode == 2 and "Traceback" not in said.stderr
    assert said.stderr.splitlines()[-1].startswith("error: --cluster 127.0.0.1:1: no Ray cluster can be reached")
