"""What is installed from a wheel is whole, away from the repository, and works without torch and vLLM."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from email.parser import BytesParser
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that the source distribution gives."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    pack = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", pack, str(folder)], cwd=source, check=True, capture_output=True, timeout=300)
    (packed,) = folder.glob("darumeru-*.tar.gz")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*build, str(packed), "--wheel-dir", str(folder)], check=True, timeout=300)
    (made,) = folder.glob("darumeru-*.whl")
    return made


def test_a_wheel_holds_tasks_results_and_recipes(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    for name in ("tasks", "leaderboards", "recipes"):
        wanted = {path.relative_to(ROOT) for path in (ROOT / name).rglob("*") if path.is_file()}
        assert wanted and all((installed / "darumeru" / "data" / path).is_file() for path in wanted)
    templates = {path.name for path in (ROOT / "darumeru" / "leaderboard" / "templates").iterdir()}
    assert templates == {path.name for path in (installed / "darumeru" / "leaderboard" / "templates").iterdir()}
    shutil.copytree(ROOT / "leaderboards", tmp_path / "leaderboards")
    found = subprocess.run(
        [sys.executable, "-c", LOOK], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(installed)},
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert found.stdout.split() == ["17", "4"]


@pytest.fixture(scope="module")
def light(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bin/ of a new environment that holds what `pip install darumeru` brings, and nothing else: the wheel, and links
    to what its requirements without extras reach of the packages that are installed here."""
    place = tmp_path_factory.mktemp("light") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True, timeout=120)
    (packages,) = place.glob("lib/python*/site-packages")
    for name in _reached(_requirements(wheel)):
        for file in {
            Path(part.parts[0]) for part in distribution(name).files or () if part.parts[0] not in ("..", "bin")
        }:
            link = packages / file
            if not link.exists():
                link.symlink_to(Path(str(distribution(name).locate_file(file))))
    install = [str(place / "bin" / "pip"), "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, timeout=600, env=_environment())
    return place / "bin"


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def _requirements(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return BytesParser().parsebytes(archive.read(name)).get_all("Requires-Dist", [])


def _reached(requirements: list[str]) -> set[str]:
    """Names of all distributions that these requirements bring, without extras of the wheel's own."""
    reached: set[str] = set()
    waiting = [(Requirement(line), "") for line in requirements]
    while waiting:
        wanted, extra = waiting.pop()
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(wanted.name)
        if name not in reached:
            reached.add(name)
            for line in distribution(name).requires or ():
                waiting += [(Requirement(line), one) for one in ("", *wanted.extras)]
    return reached


def _said(light: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(light / "darumeru"), *words]
    return subprocess.run(command, cwd=folder, env=_environment(), capture_output=True, text=True, timeout=300)


def test_a_light_client_asks_servers_and_makes_boards(light: Path, fake_server: str, tmp_path: Path) -> None:
    """Everything but engines, LEP and training, without torch, vLLM, trl and peft."""
    absent = "torch", "vllm", "trl", "peft"
    look = f"from importlib.util import find_spec; print([name for name in {absent} if find_spec(name)])"
    assert (
        subprocess.run([light / "python", "-c", look], env=_environment(), capture_output=True, text=True).stdout
        == "[]\n"
    )
    words = ("--data", "bundled", "--tasks", "darumeru/parus", "--limit", "4")
    ran = _said(light, tmp_path, "run", "--model", f"{fake_server}/normal/v1", *words, "--output", "run")
    assert ran.returncode == 0 and "PyTorch" not in ran.stderr, ran.stderr
    for verb in ("score run", "report run --output page.html", "leaderboard run --format json", "compare run run"):
        done = _said(light, tmp_path, *verb.split())
        assert done.returncode == 0, (verb, done.stderr)
    assert (tmp_path / "page.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("verb", "line"),
    [
        ("run --model MODEL --data bundled --limit 2", "--engine vllm: vLLM is not installed"),
        ("watch . --data bundled", "--engine vllm: vLLM is not installed"),
        ("run --model MODEL --data bundled --limit 2 --engine transformers", "--engine transformers: torch is not"),
        ("lep --base MODEL --target MODEL --donor MODEL --output new", "torch is not installed"),
    ],
)
def test_what_needs_more_names_the_extra_in_one_line(light: Path, tmp_path: Path, verb: str, line: str) -> None:
    done = _said(light, tmp_path, *verb.replace("MODEL", str(ROOT / "demo" / "darumeru-demo")).split())
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"error: {line}") and "pip install 'darumeru[" in last
    assert "Traceback" not in done.stderr
