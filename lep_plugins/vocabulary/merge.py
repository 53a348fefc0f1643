"""Merging: the pieces of a trained Unigram tokenizer become tokens of a BPE tokenizer (the scheme of the authors'
present programs, RefalMachine/ruadapt). The Unigram decides which tokens there are, BPE decides how text is cut."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter

from darumeru.core.errors import UserError
from darumeru.models.token_bytes import SPACE_MARK
from lep_plugins.conversion import Segmenter
from lep_plugins.vocabulary.description import Description
from lep_plugins.vocabulary.extend import grown, pre_tokens
from lep_plugins.vocabulary.script import CYRILLIC_LETTER, Script

PER_UNIT = 10**9
"""Occurrences that a piece of probability 1 stands for. With 10^6 the rarer half of a vocabulary of 128,000 would have
none, and be learnt in no order."""

LONGEST = 64


def merge(
    old: Description,
    pieces: Description,
    size: int | None = None,
    script: Script = "cyrillic",
    min_letters: int = 1,
    top: int | None = None,
) -> Description:
    """`old` with merges that make a token of every word of `words_of` (of the likeliest first, where `size` tokens end
    it). Each merge makes a token, also the steps on the way, so there are more new tokens than words.

    UserError: `old` is not BPE or `pieces` not Unigram, no piece is new, a size that is not larger than the old one."""
    if old.model != "BPE":
        raise UserError(f"merges are added to a BPE tokenizer, and this one is {old.model}", "--model")
    if pieces.model != "Unigram":
        raise UserError(f"pieces come from a Unigram tokenizer, and this one is {pieces.model}", "--pieces")
    have = len(old.vocab)
    if size is not None and size <= have:
        raise UserError(f"the tokenizer has {have} tokens already", where=f"--size {size}", mend="give a larger size")
    words = words_of(old, pieces, script, min_letters, top)
    if not words:
        raise UserError("no piece would be a new token", "--pieces", "lower --min-letters, or raise --top")
    limit = 4 * LONGEST * len(words) if size is None else size - have
    return grown(old, words, limit, script, 1, LONGEST)


def words_of(
    old: Description, pieces: Description, script: Script, min_letters: int, top: int | None
) -> Counter[bytes]:
    """The pieces that are to become tokens, as bytes, with the occurrences that their probability stands for: of the
    `top` likeliest those of the script (whole words of Cyrillic letters, with or without a space before) and of
    `min_letters` letters, that are no token yet and that the tokenizer does not cut before it merges."""
    tokenizer, known = old.build(), old.table.ids_by_bytes
    likeliest = sorted(((score, piece) for piece, score in pieces.scores.items() if score < 0), reverse=True)
    unspoken = set(pieces.table.byte_pieces.values()) | {token["id"] for token in pieces.added}
    words: Counter[bytes] = Counter()
    for score, piece in likeliest[:top]:
        text = unicodedata.normalize("NFC", piece.replace(SPACE_MARK, " "))
        letters = text.removeprefix(" ")
        fits = all(map(CYRILLIC_LETTER.match, letters)) if script == "cyrillic" else letters.isalpha()
        if pieces.vocab[piece] in unspoken or not fits or len(letters) < max(1, min_letters):
            continue
        raw = text.encode("utf-8")
        if raw not in known and list(pre_tokens(tokenizer, old.table, text)) == [raw]:
            words[raw] += max(1, round(PER_UNIT * math.exp(score)))
    return words


def unfinished(new: Description, words: Counter[bytes]) -> list[bytes]:
    """The words that are not one token, likeliest first: where a size ended the merging, or where the merges reach the
    word's parts in another way."""
    ordered = [raw for raw, _ in sorted(words.items(), key=lambda item: (-item[1], item[0]))]
    segments = Segmenter(new.build(), new.table).segment(ordered)
    return [raw for raw, ids in zip(ordered, segments, strict=True) if ids is None or len(ids) > 1]
