"""Copying a text: how near the length of the copy is in tokens, how often it is exact, and how dense the tokens are."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from difflib import SequenceMatcher
from functools import lru_cache

from darumeru.core.errors import UserError
from darumeru.core.row import SampleRow
from darumeru.metrics.measure import RATIO
from darumeru.metrics.sample_mean import SampleMean

EXACT_SHARE = 0.99


def common_subsequence(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Length of the longest common subsequence, by bit-parallel dynamic programming (Hyyrö 2004)."""
    places: dict[Hashable, int] = {}
    for place, item in enumerate(a):
        places[item] = places.get(item, 0) | 1 << place
    full = (1 << len(a)) - 1
    free = full
    for item in b:
        taken = free & places.get(item, 0)
        free = ((free + taken) | (free - taken)) & full
    return len(a) - free.bit_count()


def matching_characters(reference: str, answer: str) -> int:
    """Characters in the matching blocks of difflib.SequenceMatcher(None, reference, answer, autojunk=False)."""
    if reference in answer or answer in reference:
        return min(len(reference), len(answer))
    blocks = SequenceMatcher(None, reference, answer, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks)


@lru_cache(maxsize=4096)
def is_exact_copy(reference: str, answer: str, by_reference: bool) -> bool:
    """Whether matching characters / characters of the reference (or of the answer) >= 0.99; texts without outer space.

    No matching is longer than the longest common subsequence, nor that than the shorter text, so most answers are
    refused without the slow search for blocks; the verdict is the same.
    """
    length = len(reference) if by_reference else len(answer)
    if not reference or not answer or min(len(reference), len(answer)) / length < EXACT_SHARE:
        return False
    if common_subsequence(reference, answer) / length < EXACT_SHARE:
        return False
    return matching_characters(reference, answer) / length >= EXACT_SHARE


def _empty(row: SampleRow) -> bool:
    return not (row.answer.text or "").strip()


def length_ratio(row: SampleRow) -> float:
    """min(P/S, S/P). P: tokens of the answer. S: row.meta["reference_tokens"], tokens of the reference, at most the
    answer's budget. An empty answer gets 0. UserError when the engine gave no token ids."""
    if _empty(row):
        return 0.0
    if row.answer.tokens is None:
        what = "the engine gave no token ids of its answer, which length_ratio counts"
        raise UserError(what, f"{row.task} {row.id}")
    said, wanted = len(row.answer.tokens), int(row.meta["reference_tokens"])
    return min(said / wanted, wanted / said) if said and wanted else 0.0


def original_length_ratio(row: SampleRow) -> float:
    """S/P as the paper words it: original length over generated length, in tokens; not bounded by 1."""
    if _empty(row) or not row.answer.tokens:
        return 0.0
    return len(row.meta["reference_ids"]) / len(row.answer.tokens)


def token_copy(row: SampleRow) -> float:
    """Whether the longest common subsequence of tokens with the original (row.meta["reference_ids"]) is more than 99 %
    of the original's tokens: the paper's wording (section 2.3.5)."""
    reference = row.meta["reference_ids"]
    return float(common_subsequence(reference, row.answer.tokens or ()) > EXACT_SHARE * len(reference))


def exact_copy(row: SampleRow) -> float:
    """Whether the answer matches the reference (row.target) to at least 99 % of the reference's characters."""
    return float(is_exact_copy(*_texts(row), by_reference=True))


def exact_copy_2024(row: SampleRow) -> float:
    """The same of the answer's characters, which lets a truncated copy pass."""
    return float(is_exact_copy(*_texts(row), by_reference=False))


def copied_share(row: SampleRow) -> float:
    """Matching characters / characters of the longer of original and answer, in [0, 1]: a copy's quality in shades, for
    small models that copy nothing exactly. Not one of the paper's metrics."""
    reference, answer = _texts(row)
    longer = max(len(reference), len(answer))
    return matching_characters(reference, answer) / longer if longer else 0.0


def _texts(row: SampleRow) -> tuple[str, str]:
    return row.target.strip(), (row.answer.text or "").strip()


LENGTH_RATIO = SampleMean(
    "length_ratio", "mean of min(P/S, S/P) of the tokens of copy and original (cp_sent)", length_ratio, _empty
)
ORIGINAL_LENGTH_RATIO = SampleMean(
    "original_length_ratio",
    "mean of original length / generated length in tokens (cp_sent, the paper's text)",
    original_length_ratio,
    _empty,
    measure=RATIO,
)
COPIED_SHARE = SampleMean(
    "copied_share", "mean share of characters that original and answer have in common, in order", copied_share, _empty
)
TOKEN_COPY_RATE = SampleMean(
    "token_copy_rate",
    "share of texts of whose tokens more than 99 % are copied in order (cp_para, the paper's text)",
    token_copy,
    _empty,
    hits=True,
)
EXACT_COPY_RATE = SampleMean(
    "exact_copy_rate",
    "share of texts copied to at least 99 % of the original's characters (cp_para)",
    exact_copy,
    _empty,
    hits=True,
)
EXACT_COPY_RATE_2024 = SampleMean(
    "exact_copy_rate_2024",
    "share of copies of whose own characters at least 99 % match the original (the program of 2024)",
    exact_copy_2024,
    _empty,
    hits=True,
)
