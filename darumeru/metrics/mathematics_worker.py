"""The process behind metrics/mathematics.py: a line of JSON with target and answer in, a line with the verdict out.

tidy: what math-verify misreads in Russian texts is written otherwise first (a decimal comma, spaces within numbers,
\\frac12, \\sqrt2), and a target without any digit or formula is compared as words.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from typing import Any

BYTES = 4 * 2**30

_SHORT_FRACTION = re.compile(r"\\([dt]?frac)\s*(\d)\s*(\d)(?!\d)")
_SHORT_ROOT = re.compile(r"\\sqrt\s*(\d)")
_SPACED = re.compile(r"(?<=\d)(?:\\,|\\ |~|[\s\u00a0\u202f])(?=\d{3}(?!\d))")
_DECIMAL = re.compile(r"(\$|\\boxed\{|=\s*|^)\s*(-?\d+)(?:,|\{,\})(\d{1,2}|\d{4,})(?=\D|$)(?!\s*[,;)])")
_BOX = re.compile(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}")


def tidied(text: str) -> str:
    """A text with what math-verify misreads written otherwise."""
    text = _SHORT_FRACTION.sub(r"\\\1{\2}{\3}", text)
    text = _SHORT_ROOT.sub(r"\\sqrt{\1}", text)
    text = _SPACED.sub("", text)
    return _DECIMAL.sub(r"\1\2.\3", text)


def words(text: str) -> str:
    """The words of a text or of its last box, in lower case."""
    boxes = _BOX.findall(text)
    plain = re.sub(r"\\(?:text|mathrm|textbf)\b|[${}\\.]", " ", boxes[-1] if boxes else text)
    return " ".join(plain.casefold().split())


def is_words(target: str) -> bool:
    """Whether a target has neither digits nor formulas."""
    return not re.search(r"[\d$\\^=]", target) and bool(re.search(r"[^\W\d_]{2}", target))


def verdict(target: str, answer: str, tidy: bool) -> dict[str, bool]:
    """Whether answer equals target, and whether it could be read."""
    if tidy and is_words(target):
        return {"right": bool(_BOX.search(answer)) and words(answer) == words(target), "readable": bool(words(answer))}
    right, readable = _compared(target, answer)
    if tidy and not right:
        right = _compared(tidied(target), tidied(answer))[0]
    return {"right": right, "readable": readable}


def _compared(target: str, answer: str) -> tuple[bool, bool]:
    from latex2sympy2_extended.latex2sympy2 import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse, verify

    normal = NormalizationConfig(basic_latex=True, units=True, malformed_operators=False, nits=False, boxed="all")
    latex = [LatexExtractionConfig(normalization_config=normal)]
    right: list[Any] = parse(target, extraction_mode="first_match")
    said: list[Any] = parse(answer, extraction_mode="first_match", extraction_config=latex)
    return bool(verify(right, said)), bool(said)


def main() -> None:
    """Answer until the questions end."""
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    verdict("1", "$1$", False)
    print(flush=True)
    for line in sys.stdin:
        print(json.dumps(verdict(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
