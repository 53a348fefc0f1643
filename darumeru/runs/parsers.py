"""Parsers of raw answers that task files name as annotators."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

from darumeru.core.errors import UserError
from darumeru.runs.annotation import Annotation

UNMATCHED = "no_match"
"""Noted of an answer that a pattern does not match; its text is then empty."""


def first_line(prompt: str, found: Annotation) -> Annotation:
    """The first line that is not blank."""
    if found.answer.text is None:
        return found
    lines = [line.strip() for line in found.answer.text.splitlines() if line.strip()]
    return replace(found, answer=replace(found.answer, text=lines[0] if lines else ""))


def pattern(source: str, prompt: str, found: Annotation) -> Annotation:
    """The first group of the last match of a regular expression, all of the match where it has no group; an answer
    that it does not match becomes empty and is noted."""
    if found.answer.text is None:
        return found
    matches = list(compiled(source).finditer(found.answer.text))
    if not matches:
        return replace(found, answer=replace(found.answer, text=""), notes=(*found.notes, UNMATCHED))
    last = matches[-1]
    text = (last.group(1) if last.re.groups else last.group()) or ""
    return replace(found, answer=replace(found.answer, text=text))


@cache
def compiled(source: str) -> re.Pattern[str]:
    """The regular expression; UserError for what is none."""
    try:
        return re.compile(source)
    except (re.error, RecursionError, OverflowError) as error:
        raise UserError(f"is not a regular expression: {error}", f"annotator pattern:{source}") from error
