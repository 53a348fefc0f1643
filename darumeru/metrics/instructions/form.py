"""Checks of the form of an answer: marks, lists, sections, titles, beginnings and ends.

No pattern goes back over what it has read more than once, so that the time is at most about quadratic in the answer."""

from __future__ import annotations

import json
import re

from darumeru.metrics.instructions.rule import Rule

_OPINIONS = {
    "en": ("My answer is yes.", "My answer is no.", "My answer is maybe."),
    "ru": ("Мой ответ — да", "Мой ответ — нет", "Мой ответ — возможно"),
}
_FENCES = ("```json", "```Json", "```JSON", "```")


def number_placeholders(rule: Rule, answer: str) -> bool:
    """At least so many texts in square brackets, each on one line."""
    return len(re.findall(r"\[[^\]\n]*\]", answer)) >= rule.number("num_placeholders")


def postscript(rule: Rule, answer: str) -> bool:
    """A postscript with its mark."""
    marker = rule.text("postscript_marker")
    text = answer.lower()
    if marker == "P.P.S" or (rule.mended and marker.replace(" ", "").upper().startswith("P.P.S")):
        return bool(re.search(r"p\.\s?p\.\s?s", text))
    if marker == "P.S." or (rule.mended and marker.replace(" ", "").upper() == "P.S."):
        return bool(re.search(r"(?<!p\.)(?<!p\.\s)p\.\s?s\." if rule.mended else r"p\.\s?s\.", text))
    return marker.lower() in text if rule.mended else bool(re.search(marker.lower(), text))


def number_bullets(rule: Rule, answer: str) -> bool:
    """Exactly so many lines that begin with a star or a dash."""
    dash = r"^\s*-(?!-)" if rule.mended else r"^\s*-"
    # A blank line belongs to the item that follows it, as in the published patterns.
    count = len(re.findall(r"^\s*\*[^\*].*$", answer, re.MULTILINE)) + len(
        re.findall(rf"{dash}.*$", answer, re.MULTILINE)
    )
    return count == rule.number("num_bullets")


def constrained_response(rule: Rule, answer: str) -> bool:
    """One of the three answers that were offered."""
    if rule.language == "ru" and rule.mended:
        answer = re.sub(r"ответ\s*[-–—:]\s*", "ответ — ", answer)
    return any(opinion in answer for opinion in _OPINIONS[rule.language])


def number_highlights(rule: Rule, answer: str) -> bool:
    """At least so many texts between stars or double stars on one line."""
    single = sum(bool(one.strip("*").strip()) for one in re.findall(r"\*[^\n\*]*\*", answer))
    double = sum(bool(one[2:-2].strip()) for one in re.findall(r"\*\*[^\n\*]*\*\*", answer))
    return single + double >= rule.number("num_highlights")


def multiple_sections(rule: Rule, answer: str) -> bool:
    """At least so many sections, each with its word and number."""
    word = re.escape(rule.text("section_spliter"))
    pattern = rf"\s?{word}\s?\d+\s?"
    if rule.language == "ru":
        pattern = rf"{word}\s*[:№]*\s*(?:\d+|[IVX]+)" if rule.mended else rf" ?{word} ?[\dA-Za-z]"
    flags = re.IGNORECASE if rule.mended and rule.language == "ru" else 0
    return len(re.split(pattern, answer, flags=flags)) - 1 >= rule.number("num_sections")


def json_format(rule: Rule, answer: str) -> bool:
    """The whole answer, its fence aside, is JSON."""
    text = answer.strip()
    for fence in _FENCES:
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def title(rule: Rule, answer: str) -> bool:
    """A title in double angular brackets."""
    found = re.findall(r"<<[^\n]+>>", answer)
    return any(one.lstrip("<").rstrip(">").strip() for one in found)


def two_responses(rule: Rule, answer: str) -> bool:
    """Two answers that differ, six stars between them."""
    parts = [part.strip() for part in answer.split("******")]
    filled = [part for part in parts if part]
    return all(parts[1:-1]) and len(filled) == 2 and filled[0] != filled[1]


def repeat_prompt(rule: Rule, answer: str) -> bool:
    """The answer begins with the request."""
    return answer.strip().lower().startswith(rule.text("prompt_to_repeat").strip().lower())


def end_checker(rule: Rule, answer: str) -> bool:
    """The answer ends with a phrase."""
    return answer.strip().strip('"').lower().endswith(rule.text("end_phrase").strip().lower())


def quotation(rule: Rule, answer: str) -> bool:
    """The whole answer is in quotation marks."""
    text = answer.strip()
    pairs = ('""', "«»", "„“", "“”") if rule.mended and rule.language == "ru" else ('""',)
    return len(text) > 1 and text[0] + text[-1] in pairs


def no_comma(rule: Rule, answer: str) -> bool:
    """No comma at all."""
    return "," not in answer
