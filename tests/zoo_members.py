"""Members of the shared model zoo, built when a test asks for them."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

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
def member(name: str) -> Path:
    """The folder of one member; do not change it."""
    command = [sys.executable, str(zoo("build_zoo.py")), str(_folder()), name]
    subprocess.run(command, check=True, capture_output=True)
    return _folder() / name
