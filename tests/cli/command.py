"""Calling the command line inside the test process."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest

from darumeru.cli.main import main


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


def darumeru(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> Said:
    """Run `darumeru WORDS`; exit code and what was printed."""
    monkeypatch.setattr(sys, "argv", ["darumeru", *words])
    code = 0
    try:
        main()
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    out, err = capsys.readouterr()
    return Said(code, out, err)
