"""Answers of mathematics and physics against a right one, as expressions: math-verify in a process of its own.

The verdict of a text is worked out by a computer algebra system, which may take any time and memory, so that the
process has a limit of both: what passes it is counted as wrong and as unreadable.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
from functools import lru_cache, partial

from darumeru.core.row import SampleRow
from darumeru.metrics.sample_mean import SampleMean

SECONDS = 20.0
"""Hard limit of one verdict; math-verify's own limits are five seconds for each of its three parts."""


class Verifier:
    """The process that verifies, started when it is first asked and again after it had to be ended."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None

    def verdict(self, target: str, answer: str, tidy: bool) -> tuple[bool, bool]:
        """(right, readable). tidy: see mathematics_worker."""
        process = self._running()
        assert process.stdin and process.stdout
        request = json.dumps({"target": target, "answer": answer, "tidy": tidy})
        try:
            process.stdin.write(request.encode() + b"\n")
            process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], self.seconds)
            line = process.stdout.readline() if ready else b""
        except BrokenPipeError:
            line = b""
        if not line.endswith(b"\n"):
            self.end()
            return False, False
        said = json.loads(line)
        return bool(said["right"]), bool(said["readable"])

    def end(self) -> None:
        """Stop the process; the next question starts another."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            command = [sys.executable, "-m", "darumeru.metrics.mathematics_worker"]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
            assert self._process.stdout
            # The limit is for verdicts; importing the algebra system takes as long as the machine needs.
            self._process.stdout.readline()
        return self._process


@lru_cache(maxsize=1)
def _verifier() -> Verifier:
    return Verifier()


@lru_cache(maxsize=100_000)
def verdict(target: str, answer: str, tidy: bool) -> tuple[bool, bool]:
    """(whether the answer equals the target, whether it could be read)."""
    return _verifier().verdict(target, answer, tidy) if answer.strip() else (False, False)


def _right(tidy: bool, row: SampleRow) -> float:
    return float(verdict(str(row.target), row.answer.text or "", tidy)[0])


def _unreadable(tidy: bool, row: SampleRow) -> bool:
    return not verdict(str(row.target), row.answer.text or "", tidy)[1]


MATH_VERIFY = SampleMean(
    "math_verify",
    "share of answers whose last \\boxed equals the right answer (math-verify as the authors' program sets it)",
    partial(_right, False),
    partial(_unreadable, False),
    hits=True,
)
MATH_ANSWER = SampleMean(
    "math_answer",
    "share of answers whose last \\boxed equals the right answer (math-verify; numbers and words as in Russian texts)",
    partial(_right, True),
    partial(_unreadable, True),
    hits=True,
)
