"""`darumeru lep` as a user calls it: exit codes, streams, one-line errors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from darumeru.core.errors import UserError
from darumeru.models.checkpoint import open_checkpoint
from lep_plugins.commands import lep
from tests.lep.lep_models import Folders

ROOT = Path(__file__).parents[2]


def options(folders: Folders, *more: str) -> list[str]:
    named = {name: str(getattr(folders, name)) for name in ("base", "target", "donor", "output")}
    return [*(part for name, value in named.items() for part in (f"--{name}", value)), *more]


def call(folders: Folders, *more: str) -> Result:
    app = typer.Typer()
    lep.register(app)
    return CliRunner().invoke(app, options(folders, *more))


def in_process(folders: Folders, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "darumeru.cli.main", "lep", *options(folders, *more)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_a_mistake_is_one_line_and_exit_code_2(folders: Folders) -> None:
    folders.output.mkdir()
    (folders.output / "mine").write_text("x")
    done = in_process(folders)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == (
        f"error: {folders.output}: the output folder is not empty (give another --output or remove it)"
    )
    assert "Traceback" not in done.stderr and (folders.output / "mine").read_text() == "x"


def test_json_goes_to_stdout_and_progress_to_stderr(folders: Folders) -> None:
    done = in_process(folders, "--json")
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert (report["method"], report["schema"], len(report["matrices"])) == ("conversion", 1, 2)
    assert report["matrices"][0]["rank"] == 32 and len(report["matrices"][0]["moved"]) == 10
    assert "writing" in done.stderr
    assert open_checkpoint(folders.output).vocab_rows == report["rows"]


@pytest.mark.parametrize("method", ["swap", "overlap", "chat_vector"])
def test_every_method_prints_its_table(folders: Folders, method: str) -> None:
    done = call(folders, "--method", method)
    assert done.exit_code == 0
    assert f"{method} propagation" in done.stdout and "condition number" in done.stdout
    assert "\x1b" not in done.stdout
    assert (folders.output / "model.safetensors").is_file()


def test_an_unknown_method_is_named_with_those_there_are(folders: Folders) -> None:
    error = call(folders, "--method", "conversoin").exception
    assert isinstance(error, UserError) and error.near == ("conversion",)
    assert not folders.output.exists()


def test_a_name_that_is_neither_folder_nor_hub_model(folders: Folders, tmp_path: Path) -> None:
    error = call(replace(folders, donor=tmp_path / "nowhere")).exception
    assert isinstance(error, UserError) and "nowhere" in error.line()


def test_models_come_straight_from_the_hub_cache(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache keeps files as symbolic links to blobs; the result must be files of its own."""
    for role in ("base", "target", "donor"):
        repository = tmp_path / "hub" / f"models--lab--{role}"
        snapshot = repository / "snapshots" / "0123abc"
        snapshot.mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("0123abc")
        for path in getattr(folders, role).iterdir():
            (snapshot / path.name).symlink_to(path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    named = Folders(Path("lab/base"), Path("lab/target"), Path("lab/donor"), folders.output)
    done = call(named)
    assert done.exit_code == 0, done.exception
    assert not any(path.is_symlink() for path in folders.output.rglob("*"))
    assert open_checkpoint(folders.output).vocab_rows == 576


def test_force_goes_on_with_a_strange_donor(folders: Folders, tmp_path: Path) -> None:
    strange = replace(folders, donor=Path(shutil.copytree(folders.donor, tmp_path / "donor")))
    state = (strange.donor / "tokenizer.json").read_text(encoding="utf-8")
    (strange.donor / "tokenizer.json").write_text(state.replace("<|eot_id|>", "<|fin|>"), encoding="utf-8")
    error = call(strange).exception
    assert isinstance(error, UserError) and "no token <|eot_id|> of the base (--force" in error.line()
    assert call(strange, "--force").exit_code == 0
