"""The command line inside the process: exit code, what was printed, and no traceback."""

from __future__ import annotations

import contextlib
import io
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from unittest import mock

from darumeru.cli.main import main

TRACEBACK = -1


@dataclass(frozen=True)
class Said:
    """code: of the process; TRACEBACK when something else than an exit ended it."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


def darumeru(*words: str, environment: Mapping[str, str] | None = None) -> Said:
    """Run `darumeru WORDS`."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["darumeru", *words]),
        mock.patch.dict("os.environ", environment or {}),
    ):
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        except BaseException:
            traceback.print_exc()
            code = TRACEBACK
    return Said(code, out.getvalue(), err.getvalue())


def complaint(said: Said, allowed: tuple[int, ...]) -> str:
    """What is wrong with how a command ended; "" when nothing is. A refusal is at most two lines."""
    if said.code == TRACEBACK or "Traceback" in said.text:
        return "traceback: " + said.err.strip().splitlines()[-1]
    if said.code not in allowed:
        return f"exit {said.code}: {said.err.strip().splitlines()[-1:]}"
    refusal = [line for line in said.err.splitlines() if line.startswith(("error:", "failed:"))]
    if said.code == 2 and len(refusal) != 1:
        return f"{len(refusal)} lines of refusal"
    if any(not letter.isprintable() and letter not in "\n\t" for letter in said.text):
        return "a control character is printed"
    return ""
