"""A reader of the project's pages, who types what they say in a folder that looks like a fresh clone."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.docs.blocks import Block
from tests.shared_data import ROOT

BACKGROUND = "darumeru view"


def fresh_clone(place: Path) -> Path:
    """The files of the project, a second model, a table and some text."""
    place.mkdir(exist_ok=True)
    for name in ("demo", "recipes", "tasks", "leaderboards", "docs", "examples"):
        (place / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "demo" / "darumeru-demo", place / "models" / "other")
    lines = ["question,a,b,answer", *(f"Сколько будет {n} + 1?,{n + 1},{n},A" for n in range(6))]
    (place / "questions.csv").write_text("\n".join(lines), encoding="utf-8")
    text = [line for path in sorted((ROOT / "docs").glob("*.md")) for line in path.read_text("utf-8").splitlines()]
    (place / "texts.txt").write_text("\n".join([*text, *text]), encoding="utf-8")
    (place / "raw.jsonl").write_text(
        "\n".join(f'{{"text": "Это {n}-й рассказ о том, как мы жили летом у реки и ловили рыбу."}}' for n in range(5)),
        encoding="utf-8",
    )
    return place


@dataclass(frozen=True)
class Reader:
    """words: what a page leaves to the reader -> what stands for it here. left_out: patterns of lines that are not run
    here -> why. codes: words of a line -> the exit code that is right for it, where that is not 0."""

    folder: Path
    environment: Mapping[str, str]
    words: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    codes: Mapping[str, int] = field(default_factory=dict)

    def lines(self, block: Block) -> Iterator[str]:
        """The command lines of a block that are run, with the reader's words put in."""
        for line in block.text.replace("\\\n", " ").splitlines():
            if line.partition("#")[0].strip() and not any(re.search(pattern, line) for pattern in self.left_out):
                yield self.told(line)

    def told(self, text: str) -> str:
        for word, value in sorted(self.words.items(), key=lambda pair: -len(pair[0])):
            text = re.sub(rf"(?<![\w/]){re.escape(word)}(?![\w/])", lambda _, value=value: value, text)
        return text

    def types(self, line: str) -> None:
        """Run a line of `lines`; it ends as it should."""
        if BACKGROUND in line:
            self._seen_and_stopped(line.partition("#")[0])
            return
        done = self._done(["bash", "-c", line])
        expected = next((code for word, code in self.codes.items() if word in line), 0)
        assert done.returncode == expected, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        assert "Traceback" not in done.stderr, line

    def python(self, code: str) -> str:
        """What a program prints."""
        done = self._done([sys.executable, "-c", self.told(code)])
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def _done(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=600
        )

    def _seen_and_stopped(self, command: str) -> None:
        """A command that serves until Ctrl-C: it prints an address, and ends quietly."""
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            assert "http://127.0.0.1" in first, first
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            process.wait(30)
        finally:
            process.kill()
        assert "Traceback" not in process.stdout.read()


def environment(**more: str) -> dict[str, str]:
    """That of a shell with this environment's programs, offline."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PATH": path, "HF_HUB_OFFLINE": "1", "COLUMNS": "100"} | more
