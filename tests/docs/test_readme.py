"""README's commands, run in the order in which they stand, in a folder that looks like a fresh clone."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import blocks
from tests.shared_data import ROOT

# What the page leaves to the reader -> what stands for it here: the demo model and few records.
WORDS = {
    "--data bundled": "--data bundled --limit 4",
    "PATH_OR_HUB_ID": "demo/darumeru-demo",
    "PATH": "demo/darumeru-demo",
    "OTHER": "models/other",
    "MODEL_OR_URL": "demo/darumeru-demo",
    "--data DIR": "--data tasks/bundled",
    "http://host:8000/v1": "SERVER/normal/v1 --data bundled --limit 2",
    "BASE": "demo/darumeru-demo",
    "INSTRUCT": "demo/darumeru-demo",
    "DONOR": "demo/darumeru-demo",
    "BEFORE": "demo/darumeru-demo",
    "AFTER": "models/other",
    "--size 20000": "--size 3100",
}
# Lines that are not run here, and why.
NOT_RUN = {
    "make test": "it is this",
    "make demo": "CI begins with it",
    r"run --model PATH_OR_HUB_ID +#": "needs the Hub",
    "fetch --data-dir": "needs the Hub; tests/tasks fetches from local repositories",
    r"adapt recipes/quick.yaml (--output|--race)": "minutes; `make adapt`, and tests/adaptation runs recipes and races",
    "lm_eval": "needs the Hub; tests/lm_eval_bridge runs stock lm-eval and lm-eval's tasks from files",
    "darumeru judge": "none of these tasks has a judge; tests/judge runs the command",
}
PYTHON_NOT_RUN = {"Trainer(...": "a line to put into one's own training; tests/live runs it with transformers and trl"}
# The copying tasks of a server without a tokenizer at hand are named and not scored, as the line says.
CODES = {"http://host:8000/v1": 1}
BACKGROUND = "darumeru view"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the project, a second model, a table and some text."""
    place = tmp_path_factory.mktemp("clone")
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


@pytest.fixture(scope="module")
def environment(fake_server: str) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PATH": path, "SERVER": fake_server, "HF_HUB_OFFLINE": "1", "COLUMNS": "100"}


def _lines(page: str, language: str) -> Iterator[str]:
    for block in blocks(ROOT / page):
        if block.language == language and not block.not_run:
            yield from block.text.splitlines() if language == "sh" else [block.text]


def _told(line: str, server: str) -> str:
    """The line with the reader's words put in."""
    for word, value in sorted(WORDS.items(), key=lambda pair: -len(pair[0])):
        line = re.sub(rf"(?<![\w/]){re.escape(word)}(?![\w/])", lambda _, value=value: value, line)
    return line.replace("SERVER", server).replace("raw.jsonl.gz", "raw.jsonl")


def test_readmes_commands_run_in_their_order(clone: Path, environment: dict[str, str]) -> None:
    ran = 0
    for line in _lines("README.md", "sh"):
        if any(re.search(pattern, line) for pattern in NOT_RUN) or not line.strip():
            continue
        command = _told(line, environment["SERVER"])
        if BACKGROUND in command:
            _seen_and_stopped(command.partition("#")[0], clone, environment)
        else:
            done = subprocess.run(
                ["bash", "-c", command], cwd=clone, env=environment, capture_output=True, text=True, timeout=600
            )
            expected = next((code for word, code in CODES.items() if word in line), 0)
            assert done.returncode == expected, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
            assert "Traceback" not in done.stderr, command
        ran += 1
    assert ran >= 15
    # README's own sequence ends in a board of its two runs, a page, and a task of one's own.
    assert (clone / "report.html").stat().st_size > 10_000 and (clone / "questions.yaml").exists()


def _seen_and_stopped(command: str, clone: Path, environment: dict[str, str]) -> None:
    """A command that serves until Ctrl-C: it prints an address, and ends quietly."""
    process = subprocess.Popen(
        ["bash", "-c", f"exec {command}"],
        cwd=clone,
        env=environment,
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


def test_readmes_python_runs(clone: Path, environment: dict[str, str]) -> None:
    for text in _lines("README.md", "python"):
        if any(words in text for words in PYTHON_NOT_RUN):
            continue
        code = text.replace('model="PATH"', 'model="demo/darumeru-demo", limit=2')
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=clone, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr[-3000:]


def test_the_russian_readme_has_the_same_commands() -> None:
    """Each of its lines begins as a line of README begins: the same verb and the same options."""

    def shape(line: str) -> tuple[str, ...]:
        words = line.partition("#")[0].split()
        return (*words[:2], *(word for word in words if word.startswith("--")))

    english = {shape(line) for page in ("README.md", "docs/training.md") for line in _lines(page, "sh")}
    english_verbs = {one[:2]: set(one[2:]) for one in english}
    for line in _lines("README.ru.md", "sh"):
        found = shape(line)
        allowed = set().union(*(one[2:] for one in english if one[:2] == found[:2]))
        assert found[:2] in english_verbs and set(found[2:]) <= allowed, line
