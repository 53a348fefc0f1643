"""Kills at random moments: each file is the old one or the new one, and the same command ends with the right scores."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.forked import forked
from tests.torture.command import complaint, darumeru
from tests.torture.disks import leftovers
from tests.torture.servers import FakeServer, Scores, scores, words

ARGUMENTS = {"timeout": 20, "retries": 2, "backoff": 0.05, "concurrency": 2}
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LONGEST = 0.8


def killed(work: Callable[[], object], rng: random.Random) -> bool:
    """Do the work in a forked process and end it at a random moment; False when it ended before."""
    child = forked(work)
    time.sleep(rng.random() * LONGEST)
    if os.waitpid(child, os.WNOHANG)[0]:
        return False
    os.kill(child, rng.choice(SIGNALS))
    ends = time.monotonic() + 20
    while not os.waitpid(child, os.WNOHANG)[0]:
        if time.monotonic() > ends:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise AssertionError("a signal did not end the process within 20 s")
        time.sleep(0.01)
    return True


class Killer:
    """Kills the verbs on one run folder again and again, and looks at it after each. hits: kills that met a process."""

    def __init__(self, server: FakeServer, folder: Path, right: Scores, seed: int) -> None:
        self.folder, self.right, self.rng = folder, right, random.Random(seed)
        self.run = folder / "run"
        self.hits = 0
        self._kept: dict[Path, bytes] = {}
        made = (self.run, folder / "board.csv", folder / "page.html")
        self._run = words(server.url("normal"), self.run, ARGUMENTS)
        self.verbs = {
            "run": self._run,
            "score": ("score", str(self.run)),
            "leaderboard": ("leaderboard", str(self.run), "--output", str(made[1])),
            "report": ("report", str(self.run), "--output", str(made[2])),
        }

    def kill(self, verb: str) -> str:
        """Kill one verb; what is wrong then, "" when nothing is."""
        if verb == "run" and self.rng.random() < 0.3:
            # From the start again, for kills while it plans and asks.
            for path in (self.run / "samples").glob("*"):
                path.unlink()
            self._kept = {}
        hit = killed(lambda: darumeru(*self.verbs[verb]), self.rng)
        self.hits += hit
        return self._look() if hit else ""

    def _look(self) -> str:
        for path in self.run.glob("samples/*.jsonl"):
            data = path.read_bytes()
            if not data.startswith(self._kept.get(path, b"")):
                return f"{path.name} lost stored answers"
            self._kept[path] = data[: data.rfind(b"\n") + 1]
        for path in (self.run / "manifest.json", self.run / "results.json", self.run / "plan.json"):
            if path.exists():
                json.loads(path.read_text("utf-8"))
        page = self.folder / "page.html"
        if page.exists() and not page.read_text("utf-8").rstrip().endswith("</html>"):
            return "half a page"
        return ""

    def end(self) -> str:
        """The undisturbed command: the right scores, no sample asked twice, nothing left behind."""
        for verb in self.verbs.values():
            if wrong := complaint(darumeru(*verb), (0,)):
                return wrong
        if scores(self.run) != self.right:
            return f"scores {scores(self.run)}"
        for path in self.run.glob("samples/*.jsonl"):
            rows = [json.loads(line) for line in path.read_bytes().splitlines()]
            if len({(row["id"], row["key"]) for row in rows}) != len(rows):
                return f"{path.name} holds an answer twice"
        return f"left behind: {leftovers(self.folder)}" if leftovers(self.folder) else ""
