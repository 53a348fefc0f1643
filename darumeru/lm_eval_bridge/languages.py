"""Which language a task of lm-eval is in: lm-eval does not say, so it is read off names, data sets and folders."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from darumeru.lm_eval_bridge.catalogue import Name

# Code -> other marks of the same language in names ("rus_Cyrl", "russian").
MARKS: Mapping[str, tuple[str, ...]] = {
    "ru": ("rus", "russian"),
    "en": ("eng", "english"),
    "de": ("deu", "german"),
    "fr": ("fra", "french"),
    "es": ("spa", "spanish"),
    "it": ("ita", "italian"),
    "zh": ("zho", "chinese"),
    "ja": ("jpn", "japanese"),
    "ar": ("arb", "arabic"),
    "tr": ("tur", "turkish"),
    "uk": ("ukr", "ukrainian"),
    "kk": ("kaz", "kazakh"),
    "be": ("bel", "belarusian"),
}
# Data sets in one language whose names do not say which.
DATASETS: Mapping[str, str] = {"ai-forever/LIBRA": "ru"}
_WORD = re.compile(r"[^a-z]+")


def is_in(name: Name, language: str, names: Mapping[str, Name]) -> bool:
    """Whether a task, group or tag is in `language` (a code such as "ru"): its own marks say so, or those of all its
    members in `names`."""
    if _marked(name, language):
        return True
    members = [names[member] for member in name.members if member in names and member != name.name]
    return bool(members) and all(is_in(member, language, names) for member in members)


def _marked(name: Name, language: str) -> bool:
    code = language.lower()
    marks = {code, *MARKS.get(code, ())}
    if DATASETS.get(name.dataset) == code:
        return True
    folder = Path(name.path).parent.name if name.path else ""
    words = (_WORD.split(text.lower()) for text in (name.name, name.subset, name.dataset, folder))
    return any(marks & set(parts) for parts in words)
