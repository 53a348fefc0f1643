"""How well tokenizers fit a corpus."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from darumeru.models.token_bytes import Special, TokenTable


@dataclass(frozen=True)
class TokenizerStats:
    """name: of the tokenizer. size: its tokens. symbols, words, tokens: in the corpus (characters; runs of anything
    but white space; tokens without BOS and EOS). coverage: share of characters that stand in a token of whole
    characters rather than in byte tokens or the unknown token. round_trip: share of non-empty lines that come back
    unchanged from encoding and decoding."""

    name: str
    size: int
    symbols: int
    words: int
    tokens: int
    coverage: float
    round_trip: float

    @property
    def symbols_per_token(self) -> float:
        """Characters that a token stands for on average."""
        return self.symbols / max(1, self.tokens)

    @property
    def tokens_per_word(self) -> float:
        """Tokens that a word costs on average, white space included."""
        return self.tokens / max(1, self.words)

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "tokenizer": self.name,
            "size": self.size,
            "symbols": self.symbols,
            "words": self.words,
            "tokens": self.tokens,
            "symbols_per_token": self.symbols_per_token,
            "tokens_per_word": self.tokens_per_word,
            "coverage": self.coverage,
            "round_trip": self.round_trip,
        }


def tokenizer_stats(name: str, tokenizer: Any, texts: Callable[[], Iterable[str]]) -> TokenizerStats:
    """Statistics of a `tokenizers.Tokenizer` on texts, line by line. UserError: unknown tokenizer kind."""
    table = TokenTable.of(tokenizer)
    counts = np.zeros(len(table), dtype=np.int64)
    symbols = words = lines = returned = 0
    for text in texts():
        batch = [line for line in text.splitlines(keepends=True) if line.strip()]
        encodings = tokenizer.encode_batch_fast(batch, add_special_tokens=False)
        decoded = tokenizer.decode_batch([encoding.ids for encoding in encodings], skip_special_tokens=False)
        for line, encoding, back in zip(batch, encodings, decoded, strict=True):
            counts += np.bincount(np.asarray(encoding.ids, dtype=np.int64), minlength=len(table))
            returned += back == line
            symbols += len(line)
            words += len(line.split())
        lines += len(batch)
    begun = np.array([_symbols(token) for token in table.tokens], dtype=np.int64)
    whole = np.array([_is_whole(table, token_id) for token_id in range(len(table))])
    covered = float((counts * begun)[whole].sum() / max(1, (counts * begun).sum()))
    size = sum(token is not None for token in table.tokens)
    return TokenizerStats(name, size, symbols, words, int(counts.sum()), covered, returned / max(1, lines))


def _symbols(token: bytes | Special | None) -> int:
    """Characters that begin in a token; the unknown token stands for one."""
    if isinstance(token, bytes):
        return sum(byte & 0xC0 != 0x80 for byte in token)
    return 0 if token is None else 1


def _is_whole(table: TokenTable, token_id: int) -> bool:
    """Whether a token is text of whole characters: no byte-fallback piece, no half, no special."""
    token = table.tokens[token_id]
    if not isinstance(token, bytes) or (table.kind == "sentencepiece" and token_id in table.byte_pieces.values()):
        return False
    try:
        return bool(token.decode("utf-8"))
    except UnicodeDecodeError:
        return False
