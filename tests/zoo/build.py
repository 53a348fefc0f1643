"""Members of the model zoo, built once a session by its own builder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shared_data import ROOT


def build(folder: Path, names: tuple[str, ...]) -> Path:
    """`folder` with those members in it; skips the test where the builder is not there."""
    builder = Path(os.environ.get("DARUMERU_SHARED", ROOT.parent / "shared")) / "zoo" / "build_zoo.py"
    if not builder.is_file():
        pytest.skip("needs zoo/build_zoo.py of the shared data (set DARUMERU_SHARED)")
    subprocess.run([sys.executable, str(builder), str(folder), *names], check=True, stdout=subprocess.DEVNULL)
    return folder
