"""What is printed into a terminal of 80 columns."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import darumeru
from tests.leaderboards.made_runs import chosen, make_run


def in_terminal(*words: str) -> str:
    """What a terminal of 80 columns is sent."""
    here, there = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "darumeru", *words]
    with subprocess.Popen(command, stdout=there, stderr=there, env=environment) as process:
        os.close(there)
        said = b""
        while part := _read(here):
            said += part
    os.close(here)
    assert process.returncode in (0, 2)
    return said.decode().replace("\r\n", "\n")


def _read(handle: int) -> bytes:
    try:
        return os.read(handle, 65536)
    except OSError:  # the other end is closed
        return b""


@pytest.mark.parametrize(
    "words",
    [("tasks", "show", "ruopenbookqa"), ("run", "--model", "m", "--engine", "transformrs", "--data", "hub")],
)
def test_a_terminal_gets_lines_that_break_between_words_and_a_pipe_gets_them_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """cases/looks.md: "ruopenbo|okqa"."""
    shown, piped = in_terminal(*words), darumeru(capsys, monkeypatch, *words)
    assert max(map(len, shown.splitlines())) <= 80 < max(map(len, (piped.out + piped.err).splitlines()))
    assert shown.split() == (piped.out + piped.err).split()


def test_long_names_of_a_board_break_at_their_own_separators(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    name = "RefalMachine/ruadapt_qwen2.5_7B_ext_u48_instruct-with-more"
    for n, one in enumerate((name, "short", "x" * 60)):
        make_run(tmp_path / str(n), [chosen("t", str(place), "A", "AB"[place < n]) for place in range(9)], one)
    lines = darumeru(capsys, monkeypatch, "leaderboard", *(str(tmp_path / str(n)) for n in range(3))).out.splitlines()
    column = [line[3:29].strip() for line in lines if line[:1] in " 123"]
    parts = column[: column.index("short")]
    assert "".join(parts) == name and all(part[-1] in "-_/." for part in parts[:-1])
    assert "x" * 26 in column
