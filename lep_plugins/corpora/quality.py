"""Quality rules of FineWeb2 with thresholds for a language, through datatrove's filters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import ceil, floor
from typing import Any

import numpy as np

from darumeru.core.errors import UserError

Names = tuple[tuple[int, float], ...]
Filter = Callable[[str], str]
"""Text -> why it is dropped, "" where it stays."""


@dataclass(frozen=True)
class Rules:
    """Thresholds of a language. dup_line: share of repeated lines; top_grams, dup_grams: (n, share of characters) of
    the most frequent and of all repeated n-grams; dup_characters: share of characters in repeated lines; line_end:
    least share of lines that end in punctuation; new_lines: line ends a word; word_length: least and most mean; alpha:
    least share of words with a letter; stop_words: two of these must occur; min_words: least words."""

    stop_words: tuple[str, ...]
    dup_line: float = 0.3
    top_grams: Names = ((2, 0.2), (3, 0.18), (4, 0.16))
    dup_grams: Names = ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.1))
    dup_characters: float = 0.1
    line_end: float = 0.12
    new_lines: float = 0.3
    word_length: tuple[float, float] = (3, 10)
    alpha: float = 0.8
    min_words: int = 50


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


RULES = {
    # configs/rus_Cyrl.yml of huggingface/fineweb-2: the authors' fit on Russian text.
    "ru": Rules(
        stop_words=_words(
            "в и на с года по году из был к не от что за для его как а он также до после",
        ),
        dup_line=0.322,
        top_grams=((2, 0.184), (3, 0.164), (4, 0.146)),
        dup_grams=((5, 0.168), (6, 0.156), (7, 0.145), (8, 0.133), (9, 0.121), (10, 0.109)),
        line_end=0.231,
        new_lines=0.139,
        word_length=(3, 11),
        alpha=0.713,
    ),
    # Gopher (arXiv:2112.11446) and FineWeb (arXiv:2406.17557).
    "en": Rules(stop_words=_words("the be to of and that have with"), dup_characters=0.01),
}


def rules_of(language: str) -> Rules:
    """UserError for a language without rules."""
    if language not in RULES:
        raise UserError(f"no quality rules for `{language}`", "language", f"known: {', '.join(RULES)}")
    return RULES[language]


@cache
def word_splitter() -> Any:
    """datatrove's word splitter for languages with spaces (one for all filters): letters and digits, or one sign."""
    import regex
    from datatrove.utils.word_tokenizers import WordTokenizer

    pattern = regex.compile(r"[\p{L}\p{M}\p{N}]+(?:[-'’][\p{L}\p{N}]+)*|[^\s\p{L}\p{M}\p{N}]")

    class PlainWords(WordTokenizer):  # type: ignore[misc]
        def word_tokenize(self, text: str) -> list[str]:
            return list(pattern.findall(text))

        def sent_tokenize(self, text: str) -> list[str]:
            return [line for line in text.splitlines() if line.strip()]

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            return [found.span() for found in pattern.finditer(text)]

    return PlainWords()


def quality_filter(rules: Rules) -> Filter:
    """The filters of FineWeb2 in its order: repetition, FineWeb quality, Gopher quality."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter

    words = word_splitter()
    chain = [
        GopherRepetitionFilter(
            dup_line_frac=rules.dup_line,
            dup_para_frac=0,
            dup_line_char_frac=0,
            dup_para_char_frac=0,
            top_n_grams=rules.top_grams,
            dup_n_grams=rules.dup_grams,
            language=words,
        ),
        FineWebQualityFilter(
            line_punct_thr=rules.line_end,
            short_line_thr=999,
            char_duplicates_ratio=rules.dup_characters,
            new_line_ratio=rules.new_lines,
            language=words,
        ),
        GopherQualityFilter(
            min_doc_words=rules.min_words,
            min_avg_word_length=rules.word_length[0],
            max_avg_word_length=rules.word_length[1],
            max_non_alpha_words_ratio=rules.alpha,
            stop_words=list(rules.stop_words),
            min_stop_words=2,
            language=words,
        ),
    ]

    def dropped(text: str) -> str:
        if not word_splitter().word_tokenize(text):
            return "no words"
        for one in chain:
            found = one.filter(Document(text=text, id=""))
            kept, reason = found if isinstance(found, tuple) else (found, type(one).__name__)
            if not kept:
                return str(reason)
        return ""

    return dropped


def fitted(rules: Rules, reference: Iterable[str], tail: float) -> Rules:
    """Thresholds of shares, word lengths and stop words taken from text that is known to be good: each is passed by all
    but a share `tail` of it; the stop words are the most frequent ones that have no capital letter. UserError where
    there is too little text."""
    texts = [text for text in reference if len(word_splitter().word_tokenize(text)) >= rules.min_words]
    if len(texts) < 20:
        what = f"{len(texts)} documents of {rules.min_words} words or more are too few to fit thresholds to"
        raise UserError(what, "reference", "name more text, 20 documents at least")
    seen = [_measured(text, rules) for text in texts]

    def most(name: str) -> float:
        return ceil(1e4 * float(np.quantile([one[name] for one in seen], 1 - tail))) / 1e4

    def least(name: str) -> float:
        return floor(1e4 * float(np.quantile([one[name] for one in seen], tail))) / 1e4

    return replace(
        rules,
        stop_words=_frequent(texts),
        dup_line=max(most("dup_line"), rules.dup_line),
        top_grams=tuple((n, most(f"top {n}")) for n, _ in rules.top_grams),
        dup_grams=tuple((n, max(most(f"dup {n}"), floor)) for n, floor in rules.dup_grams),
        line_end=least("line_end"),
        new_lines=most("new_lines"),
        word_length=(floor(least("word_length")), ceil(most("word_length"))),
        alpha=least("alpha"),
    )


def _measured(text: str, rules: Rules) -> dict[str, float]:
    from datatrove.pipeline.filters.gopher_repetition_filter import (
        find_all_duplicate,
        find_duplicates,
        find_top_duplicate,
        get_n_grams,
    )
    from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION

    words = word_splitter().word_tokenize(text)
    lines = [line for line in text.split("\n") if line.strip()]
    spoken = [word for word in words if any(letter not in PUNCTUATION_SET for letter in word)] or words
    found = {
        "dup_line": find_duplicates(lines)[0] / len(lines),
        "line_end": sum(line.endswith(tuple(TERMINAL_PUNCTUATION)) for line in lines) / len(lines),
        "new_lines": text.count("\n") / len(words),
        "word_length": float(np.mean([len(word) for word in spoken])),
        "alpha": sum(any(letter.isalpha() for letter in word) for word in words) / len(words),
    }
    for n, _ in rules.top_grams:
        grams = get_n_grams(words, n)
        found[f"top {n}"] = find_top_duplicate(grams) / len(text) if grams else 0.0
    for n, _ in rules.dup_grams:
        found[f"dup {n}"] = find_all_duplicate(words, n) / len(text)
    return found


def _frequent(texts: Sequence[str], count: int = 20) -> tuple[str, ...]:
    from collections import Counter

    seen = Counter(word for text in texts for word in word_splitter().word_tokenize(text) if word.isalpha())
    small = [word for word, _ in sorted(seen.items(), key=lambda one: (-one[1], one[0])) if word.islower()]
    return tuple(small[:count])
