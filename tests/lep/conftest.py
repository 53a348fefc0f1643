"""The three models of the propagation tests, built once a session."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lep.lep_models import Folders, make_folders


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return make_folders(tmp_path_factory.mktemp("untied"))


@pytest.fixture(scope="session")
def built_tied(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return make_folders(tmp_path_factory.mktemp("tied"), tied=True)


@pytest.fixture
def folders(built: Folders, tmp_path: Path) -> Folders:
    """The three models, to be read only, and a free place for the result."""
    return replace(built, output=tmp_path / "result")


@pytest.fixture
def tied(built_tied: Folders, tmp_path: Path) -> Folders:
    return replace(built_tied, output=tmp_path / "result")


@pytest.fixture
def own(folders: Folders, tmp_path: Path) -> Folders:
    """Copies that a test may change."""
    places = {role: tmp_path / role for role in ("base", "target", "donor")}
    for role, place in places.items():
        shutil.copytree(getattr(folders, role), place)
    return Folders(**places, output=folders.output)
