"""Checks of words and letters. Russian keywords are compared as lemmas."""

from __future__ import annotations

import re
from functools import lru_cache

from darumeru.metrics.instructions.rule import Rule
from darumeru.metrics.summarization import normal_form

_NOT_RUSSIAN = re.compile(r"[A-Za-z0-9!#$%&'()*+,./:;<=>?@\[\]^_`{|}~—\"\\-]+")
_WORD = re.compile(r"\w+")


@lru_cache(maxsize=1024)
def lemmas(text: str) -> str:
    """A text as its Russian lemmas, joined by spaces; Latin letters, digits and signs are spaces (guillemets and the
    ellipsis stay glued to their words)."""
    return " ".join(normal_form(word.lower()) for word in _NOT_RUSSIAN.sub(" ", text).split())


@lru_cache(maxsize=1024)
def _words(text: str) -> tuple[str, ...]:
    """Words as lemmas, words in Latin letters in lower case."""
    return tuple(normal_form(word) for word in _WORD.findall(text.lower()))


def _times(keyword: str, answer: str) -> int:
    """How often the words of the keyword stand in the answer one after the other, in whatever form."""
    wanted, said = _words(keyword), _words(answer)
    return sum(said[place : place + len(wanted)] == wanted for place in range(len(said) - len(wanted) + 1))


def _matches(pattern: str, text: str) -> int:
    """How often a keyword, which the data set means as a regular expression, is found."""
    return len(re.findall(pattern, text, re.IGNORECASE))


def keyword_count(rule: Rule, keyword: str, answer: str) -> int:
    """How often a keyword is in the answer by the rules of its language."""
    if rule.language != "ru":
        return _matches(keyword, answer)
    return _times(keyword, answer) if rule.mended else _matches(lemmas(keyword), lemmas(answer))


def existence(rule: Rule, answer: str) -> bool:
    """Every keyword is in the answer."""
    return all(keyword_count(rule, keyword, answer) for keyword in rule.texts("keywords"))


def frequency(rule: Rule, answer: str) -> bool:
    """The keyword is in the answer as often as wanted."""
    return rule.holds(keyword_count(rule, rule.text("keyword"), answer), "frequency", "relation")


def forbidden_words(rule: Rule, answer: str) -> bool:
    """None of the words is in the answer as a word of its own."""
    words = rule.texts("forbidden_words")
    if rule.language == "ru" and rule.mended:
        return not any(_times(word, answer) for word in words)
    if rule.language == "ru":
        words, answer = [lemmas(word) for word in words], lemmas(answer)
    return not any(_matches(rf"\b{word}\b", answer) for word in words)


def letter_frequency(rule: Rule, answer: str) -> bool:
    """A letter, whatever its case, is in the answer as often as wanted."""
    return rule.holds(answer.lower().count(rule.text("letter").lower()), "let_frequency", "let_relation")


def capital_words(rule: Rule, answer: str) -> bool:
    """Words in capital letters alone are as many as wanted."""
    from nltk.tokenize import NLTKWordTokenizer

    from darumeru.metrics.instructions.lengths import sentences

    split = NLTKWordTokenizer().tokenize
    words = [word for sentence in sentences(answer, "english") for word in split(sentence)]
    return rule.holds(sum(word.isupper() for word in words), "capital_frequency", "capital_relation")
