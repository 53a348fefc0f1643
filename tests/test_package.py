"""What `import darumeru` offers."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import darumeru


def test_dir_lists_what_there_is_and_each_can_be_had() -> None:
    assert dir(darumeru) == sorted([*darumeru.__all__, "__version__"])
    assert all(getattr(darumeru, name) is not None for name in dir(darumeru))
    assert darumeru.__version__ == version("darumeru")


def test_editors_are_told_the_same_names() -> None:
    """The imports that only type checkers see are those that are made on first use."""
    text = Path(darumeru.__file__).read_text("utf-8")
    seen = re.findall(r"^    from ([\w.]+) import (\w+) as \2$", text, re.M)
    assert {name: module for module, name in seen} == darumeru._EXPORTS
