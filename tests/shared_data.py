"""Where the tests find real records; without them those tests skip and say so."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def shared(*parts: str) -> Path:
    """A path below DARUMERU_SHARED/data (default ../shared/data); without it the test skips, and in CI it fails."""
    folder = Path(os.environ.get("DARUMERU_SHARED", ROOT.parent / "shared")) / "data"
    path = folder.joinpath(*parts)
    if not path.exists():
        if os.environ.get("CI"):
            pytest.fail(f"CI runs on all of the shared data; {path} is missing")
        pytest.skip(f"needs {Path(*parts)} of the shared data (set DARUMERU_SHARED)")
    return path


def case(name: str) -> Path:
    """A failing input with a right value (cases/README.md of the shared data)."""
    return shared("..", "cases", name).resolve()


def json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]  # str.splitlines also splits at U+2028
