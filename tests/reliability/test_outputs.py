"""No command writes over what it was made from or what it did not write (cases/output_overwrites_run.md,
small_server_annoyances.md); hostile names reach no terminal and no spreadsheet."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from darumeru.core.files import write_atomically
from darumeru.core.terminal import one_line, printable
from darumeru.models.checkpoint_output import appearing_folder
from tests.torture.command import complaint, darumeru
from tests.torture.servers import PATIENT, FakeServer, fake_server, words


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeServer]:
    with fake_server() as server:
        yield server


@pytest.fixture(scope="module")
def run(fake: FakeServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert darumeru(*words(fake.url("normal"), folder, PATIENT)).code == 0
    return folder


def hashes(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def files(run: Path) -> list[Path]:
    return [path for path in run.rglob("*") if path.is_file() and path.name != ".lock"]


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_no_file_of_a_run_is_written_over(run: Path, force: tuple[str, ...]) -> None:
    before = hashes(run)
    assert len(files(run)) >= 9
    for path in files(run):
        for verb in (("report", str(run)), ("leaderboard", str(run), "--format", "csv")):
            said = darumeru(*verb, "--output", str(path), *force)
            assert complaint(said, (2,)) == "" and "is a file of a run" in said.err, path
    assert hashes(run) == before


def test_only_what_darumeru_wrote_is_replaced_without_force(run: Path, tmp_path: Path) -> None:
    formats = {"board.md": (), "board.csv": (), "board.tex": (), "board.json": (), "board.html": ()}
    for name in formats:
        path = tmp_path / name
        for _ in range(2):
            assert darumeru("leaderboard", str(run), "--output", str(path)).code == 0, name
        path.write_text("my own notes")
        said = darumeru("leaderboard", str(run), "--output", str(path))
        assert said.code == 2 and "was not written by darumeru" in said.err and path.read_text() == "my own notes"
        assert darumeru("leaderboard", str(run), "--output", str(path), "--force").code == 0
    page = tmp_path / "page.html"
    for _ in range(2):
        assert darumeru("report", str(run), "--output", str(page)).code == 0
    page.write_text("<p>mine")
    assert darumeru("report", str(run), "--output", str(page)).code == 2
    assert darumeru("report", str(run), "--output", str(page), "--force").code == 0


def test_neither_inputs_nor_devices_are_written_over(run: Path, tmp_path: Path) -> None:
    board = tmp_path / "board.json"
    darumeru("leaderboard", str(run), "--output", str(board))
    for target in (Path("/dev/null"), Path("/proc/x.html"), tmp_path):
        said = darumeru("leaderboard", str(run), "--format", "html", "--output", str(target), "--force")
        assert complaint(said, (2,)) == "", target
    assert Path("/dev/null").is_char_device()
    said = darumeru("leaderboard", str(run), str(board), "--output", str(board), "--force")
    assert said.code == 2 and "is what the board is made from" in said.err


def dead_process() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_what_dead_processes_left_goes_and_what_live_ones_write_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    dead, live = (tmp_path / f".a.json.partial-{pid}-1" for pid in (dead_process(), os.getppid()))
    other = tmp_path / f".b.json.partial-{dead_process()}-1"
    for one in (dead, live, other):
        one.write_text("half")
    write_atomically(path, "whole")
    assert path.read_text() == "whole" and live.exists() and other.exists() and not dead.exists()
    folders = [tmp_path / f".model.partial-{pid}" for pid in (dead_process(), os.getppid())]
    for one in folders:
        one.mkdir()
    with appearing_folder(tmp_path / "model") as made:
        (made / "x").write_text("x")
    assert [one.exists() for one in folders] == [False, True]


HOSTILE = "=cmd|' /C calc'!A0\x1b[2J\x9b31m\u202eevil\x07"


def test_hostile_names_reach_neither_terminal_nor_spreadsheet(fake: FakeServer, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    said = darumeru(*words(fake.url("normal"), folder, PATIENT, "--name", HOSTILE))
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    manifest["model"]["name"] = HOSTILE  # as an older or another program may have written it
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    printed = [said, darumeru("score", str(folder)), darumeru("score", str(folder), "--json")]
    printed += [darumeru("leaderboard", str(folder), "--format", one) for one in ("markdown", "json", "latex", "html")]
    printed += [darumeru("leaderboard", str(folder)), darumeru("compare", str(folder), str(folder))]
    assert [complaint(one, (0,)) for one in printed] == [""] * len(printed)
    table = darumeru("leaderboard", str(folder), "--format", "csv")
    rows = list(csv.reader(io.StringIO(table.out)))
    assert complaint(table, (0,)) == "" and any(cell.startswith("'=cmd") for row in rows for cell in row)
    assert not any(cell[:1] in "=+@\t\r" for row in rows for cell in row if cell)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("обычный текст\nи строка\t—", "обычный текст\nи строка\t—"),
        ("a\x1b[31mb\x9bc\x00", "a\\x1b[31mb\\x9bc\\x00"),
        ("\u202eabc\u2028\ud800", "\\u202eabc\\u2028\\ud800"),
        ("пробел\u00a0неразрывный 🙂", "пробел\u00a0неразрывный 🙂"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert "\n" not in one_line(text)
