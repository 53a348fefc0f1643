"""Members of the shared model zoo, built when a test asks for them."""

from __future__ import annotations

import atexit
import functools
import importlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.shared_data import shared


@functools.cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="zoo-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def zoo(name: str = "") -> Path:
    """A file of the zoo's folder."""
    return shared("..", "zoo", name).resolve()


@functools.cache
def _builder() -> Any:
    sys.path.insert(0, str(zoo()))
    return importlib.import_module("build_zoo")


@functools.cache
def member(name: str) -> Path:
    """The folder of one member; do not change it."""
    folder: Path = _builder().build(name, _folder())
    return folder
