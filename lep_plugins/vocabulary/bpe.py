"""Substitution by a BPE vocabulary trained from nothing on a corpus (arXiv:2412.21140: 32,000 tokens for Mistral-7B,
128,000 for LLaMA-3-8B)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from darumeru.core.errors import UserError
from darumeru.models.token_bytes import SPACE_MARK, to_byte_level
from lep_plugins.vocabulary.corpus import Normalization
from lep_plugins.vocabulary.description import Description
from lep_plugins.vocabulary.tokenizer_parts import (
    BYTE_PIECES,
    RUNS,
    TokenizerParts,
    arranged,
    described,
    uncovered,
    with_runs,
)

Texts = Callable[[Normalization], Iterable[str]]
"""Opens the corpus anew, normalized as asked."""

COVERAGE = 0.9995
LONGEST = 16


def train_bpe(
    old: Description,
    texts: Texts,
    size: int,
    normalization: Normalization | None = "NFKC",
    coverage: float = COVERAGE,
    longest: int = LONGEST,
) -> Description:
    """A BPE tokenizer of `size` tokens with the old added tokens, by name.

    A byte-level tokenizer keeps its own normalizer, pre-tokenizer and decoder. A SentencePiece-style one gets byte
    fallback, single digits, `normalization` (lossy by intent: "№" becomes "No" under NFKC; None keeps every text)
    and the characters that make up `coverage` of the corpus. longest: characters of a token. UserError: `size` is
    too small for bytes, characters and special tokens.
    """
    if old.table.kind == "byte_level":
        return _byte_level(old, texts, size, longest)
    return _sentencepiece(old, texts, size, TokenizerParts(normalization), coverage, longest)


def room(old: Description, size: int, fixed: int) -> int:
    """Tokens left for learnt pieces after the added tokens and `fixed` bytes or characters. UserError: none."""
    left = size - len(old.added)
    if left <= fixed:
        smallest = len(old.added) + fixed + 1
        raise UserError("too small for bytes, characters and special tokens", f"--size {size}", f"at least {smallest}")
    return left


def _byte_level(old: Description, texts: Texts, size: int, longest: int) -> Description:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    source = old.build()
    learner = Tokenizer(models.BPE())
    if source.normalizer is not None:
        learner.normalizer = source.normalizer
    learner.pre_tokenizer = source.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=room(old, size, 256 + len(RUNS)),
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=2 * longest + 1,  # letters of the Russian alphabet are two bytes
        show_progress=False,
    )
    learner.train_from_iterator(texts("NFC"), trainer)
    pieces, merges = with_runs(old, *_learnt(learner), _byte_spelling, size - len(old.added))
    ids = {piece: position for position, piece in enumerate(arranged(old, pieces))}
    return old.with_bpe(ids, merges)


def _sentencepiece(
    old: Description, texts: Texts, size: int, parts: TokenizerParts, coverage: float, longest: int
) -> Description:
    from tokenizers import models, trainers

    form = parts.normalization or "NFC"
    alphabet, blanks = uncovered(texts(form), coverage)
    alphabet.discard(" ")
    left = room(old, size, len(BYTE_PIECES) + len(alphabet) + len(RUNS)) - len(BYTE_PIECES)
    learner = parts.around(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=left,
        min_frequency=2,
        initial_alphabet=sorted(alphabet),
        max_token_length=longest,
        show_progress=False,
    )
    learner.train_from_iterator((text.translate(blanks) for text in texts(form)), trainer)
    pieces, merges = with_runs(old, *_learnt(learner), lambda text: text.replace(" ", SPACE_MARK), left)
    names = {token["content"] for token in old.added}
    unknown = "<unk>" if "<unk>" in names else None
    blank = described(old, parts.around(models.BPE(byte_fallback=True, fuse_unk=True, unk_token=unknown)))
    ids = {piece: position for position, piece in enumerate(arranged(old, [*BYTE_PIECES, *pieces]))}
    return blank.with_bpe(ids, merges)


def _byte_spelling(text: str) -> str:
    return to_byte_level(text.encode("utf-8"))


def _learnt(learner: Any) -> tuple[list[str], list[tuple[str, str]]]:
    """(pieces in order of id, merges in order of priority) of a trained BPE."""
    model = json.loads(learner.to_str())["model"]
    pieces = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return pieces, [(left, right) for left, right in model["merges"]]
