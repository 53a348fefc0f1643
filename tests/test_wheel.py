"""What is installed from a wheel is whole, away from the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.shared_data import ROOT

PARTS = ("darumeru", "lep_plugins", "tasks", "leaderboards", "recipes", "pyproject.toml", "README.md", "LICENSE")
LOOK = """
from pathlib import Path
import darumeru
from darumeru.leaderboard.board_inputs import load_inputs
from darumeru.core.shipped import tasks_folder
from darumeru.tasks.registry import load_registry
assert Path(darumeru.__file__).is_relative_to(Path("installed").resolve()), darumeru.__file__
assert tasks_folder().is_relative_to(Path("installed").resolve())
print(len(load_registry("darumeru").select(["darumeru"])), len(load_inputs([Path("leaderboards/paper")])[1]))
"""


def test_a_wheel_holds_tasks_results_and_recipes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*build, str(source), "--wheel-dir", str(tmp_path)], check=True, timeout=300)
    (wheel,) = tmp_path.glob("darumeru-*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    for name in ("tasks", "leaderboards", "recipes"):
        wanted = {path.relative_to(ROOT) for path in (ROOT / name).rglob("*") if path.is_file()}
        assert wanted and all((installed / "darumeru" / "data" / path).is_file() for path in wanted)
    templates = {path.name for path in (ROOT / "darumeru" / "leaderboard" / "templates").iterdir()}
    assert templates == {path.name for path in (installed / "darumeru" / "leaderboard" / "templates").iterdir()}
    found = subprocess.run(
        [sys.executable, "-c", LOOK], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(installed)},
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert found.stdout.split() == ["17", "4"]
