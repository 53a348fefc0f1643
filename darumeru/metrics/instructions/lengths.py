"""Checks of how long an answer is and how it is cut into sentences and paragraphs."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from darumeru.metrics.instructions.rule import Rule


@cache
def _punkt(language: str) -> Any:
    import punkt

    return punkt.PunktSentenceTokenizer(punkt.load_model(language))


def sentences(text: str, language: str) -> list[str]:
    """The sentences of a text by NLTK's Punkt model of a language ("russian", "english")."""
    found: list[str] = _punkt(language).tokenize(text)
    return found


def number_sentences(rule: Rule, answer: str) -> bool:
    """Sentences are as many as wanted."""
    count = len(sentences(answer, "russian" if rule.language == "ru" else "english"))
    return rule.holds(count, "num_sentences", "relation")


def number_words(rule: Rule, answer: str) -> bool:
    """Runs of letters and digits are as many as wanted."""
    return rule.holds(len(re.findall(r"\w+", answer)), "num_words", "relation")


def number_paragraphs(rule: Rule, answer: str) -> bool:
    """There are exactly so many paragraphs between bars of three stars; a blank one within fails."""
    parts = [bool(part.strip()) for part in re.split(r"\s?\*\*\*\s?", answer)]
    return all(parts[1:-1]) and sum(parts) == rule.number("num_paragraphs")


def nth_paragraph_first_word(rule: Rule, answer: str) -> bool:
    """There are exactly so many paragraphs between blank lines, and the n-th begins with a word."""
    parts = answer.split("\n\n")
    filled, place = sum(bool(part.strip()) for part in parts), rule.number("nth_paragraph")
    if rule.mended:
        parts = [part for part in parts if part.strip()]
    if place > filled or not parts[place - 1].strip():
        return False
    word = parts[place - 1].split()[0].lstrip("'").lstrip('"')
    if rule.mended:
        word = word.lstrip("«„“*_#")
    first = re.split(r"[.,?!'\"]" if not rule.mended else r"[.,?!'\"»“”*_:;…]", word.lower())[0]
    return filled == rule.number("num_paragraphs") and first == rule.text("first_word").lower()
