"""Instructions in the authors' own words.

The texts of some published tasks come without a licence, so that Darumeru ships instructions in its own words. Whoever
has the authors' texts names their folder in DARUMERU_PROMPTS, and the tasks ask with them (docs/field.md).
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from darumeru.core.errors import UserError
from darumeru.tasks.spec import TaskSpec

FOLDER = "DARUMERU_PROMPTS"
OWN_WORDS = f"the instruction is in our own words; with {FOLDER}=FOLDER it is the authors' text from FOLDER"


def with_published_texts(spec: TaskSpec) -> TaskSpec:
    """The task with the authors' texts that its option `published` names, from the folder that DARUMERU_PROMPTS names;
    without that variable the task as it is, with a sentence that says so. UserError for a file that cannot be read."""
    names = spec.options.get("published")
    if not isinstance(names, dict) or not names:
        return spec
    folder = os.environ.get(FOLDER)
    if not folder:
        return replace(spec, differs=(*spec.differs, OWN_WORDS))
    texts = {option: _text(Path(folder).expanduser(), str(name)) for option, name in names.items()}
    return replace(spec, options={**spec.options, **texts})


def _text(folder: Path, name: str) -> str:
    """The text of a file, or, for "FILE.jsonl#NAME", the `template` of its line whose `slice` is NAME."""
    file, _, line = name.partition("#")
    path = folder / file
    text = published_text(path)
    if not line:
        return text
    try:
        found = [str(one["template"]) for one in map(json.loads, text.splitlines()) if one["slice"] == line]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"is not JSON lines with `slice` and `template`: {error}", str(path)) from error
    if not found:
        raise UserError(f"holds no slice `{line}`", str(path))
    return found[0]


def published_text(path: Path) -> str:
    """The authors' text in a file."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("the authors' text cannot be read", str(path), f"mend or unset {FOLDER}") from error
