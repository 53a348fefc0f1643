"""Extension: continue BPE on a corpus from the old tokenizer, so that old merges stay a prefix of the new ones
(arXiv:2512.03989; arXiv:2412.21140 uses 55,328 tokens for Mistral and 174,816 for LLaMA-3)."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from darumeru.core.errors import UserError
from darumeru.models.token_bytes import SPACE_MARK, TokenTable, from_byte_level, to_byte_level
from lep_plugins.conversion import Segmenter
from lep_plugins.vocabulary.description import Description, Merge
from lep_plugins.vocabulary.merging import Merging
from lep_plugins.vocabulary.script import CYRILLIC_LETTER, Script, cyrillic_merge

LONGEST = 16
_CHUNK = re.compile(r"\s?\S+")
_RUN = re.compile(r"\s?\S+|\s+")


def extend(
    old: Description,
    texts: Iterable[str],
    size: int,
    script: Script = "cyrillic",
    min_frequency: int = 2,
    longest: int = LONGEST,
) -> Description:
    """`old` with new tokens until it has `size` of them (fewer when pairs run out).

    Holes and padding ids are filled first, then ids are appended; every old id stays. script: "cyrillic" adds only
    tokens that cannot occur in other text, "any" adds what is frequent. min_frequency: occurrences that a merge
    needs. longest: characters of a token (paper: 16). UserError: not a BPE tokenizer, a size that is not larger than
    the old one, a corpus without words for new tokens.
    """
    if old.model != "BPE":
        raise UserError(
            f"an extension continues BPE merges, and this tokenizer is {old.model}, whose text would be cut anew",
            mend="substitute it (`darumeru vocab train`) or trim it",
        )
    have = len(old.vocab)
    if size <= have:
        raise UserError(f"the tokenizer has {have} tokens already", where=f"--size {size}", mend="give a larger size")
    new = grown(old, count_words(old, texts, script), size - have, script, min_frequency, longest)
    if new is old:
        raise UserError("the corpus holds no words for new tokens", mend="add text, or lower --min-frequency")
    return new


def grown(
    old: Description, words: Counter[bytes], limit: int, script: Script, min_frequency: int, longest: int
) -> Description:
    """`old` with at most `limit` tokens more, learnt from words and their occurrences; `old` itself where there are
    none. See `extend`."""
    pieces, merges = _Growth(old, words, script, min_frequency, longest).grow(limit)
    if not pieces:
        return old
    used = set(old.vocab.values())
    free = (token_id for token_id in itertools.count() if token_id not in used)
    vocab = old.vocab | dict(zip(pieces, free, strict=False))
    return old.with_bpe(vocab, [*old.merges, *merges])


def count_words(old: Description, texts: Iterable[str], script: Script) -> Counter[bytes]:
    """How often each pre-token occurs, as bytes; with the script option only those that hold its letters."""
    pattern = _CHUNK if script == "cyrillic" else _RUN
    chunks: Counter[str] = Counter()
    for text in texts:
        chunks.update(pattern.findall(text))
    tokenizer = old.build()
    words: Counter[bytes] = Counter()
    for chunk, count in chunks.items():
        if script == "cyrillic" and not CYRILLIC_LETTER.search(chunk):
            continue
        for word in pre_tokens(tokenizer, old.table, chunk):
            words[word] += count
    return words


def pre_tokens(tokenizer: Any, table: TokenTable, chunk: str) -> Iterator[bytes]:
    """The pieces of a chunk that no merge may cross, as bytes. SentencePiece-style tokenizers have no such pieces
    but words; their pre-tokenizer would add a dummy space to every chunk."""
    if table.kind == "sentencepiece":
        yield chunk.encode("utf-8")
        return
    if tokenizer.normalizer is not None:
        chunk = tokenizer.normalizer.normalize_str(chunk)
    for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(chunk):
        yield from_byte_level(piece)


class _Growth:
    """New pieces and merges for one tokenizer and one count of words."""

    def __init__(
        self, old: Description, words: Counter[bytes], script: Script, min_frequency: int, longest: int
    ) -> None:
        self.table, self.words = old.table, words
        self.segmenter = Segmenter(old.build(), old.table)
        self.script, self.min_frequency, self.longest = script, min_frequency, longest

    def grow(self, limit: int) -> tuple[list[str], list[Merge]]:
        """At most `limit` new vocabulary strings, in order of id, and the merges that make them."""
        letters = self._missing_letters()[:limit]
        symbols = [token if isinstance(token, bytes) else b"" for token in self.table.tokens]
        spelled: list[str] = [piece or "" for piece in self.table.pieces]
        numbers = {letter: len(symbols) + position for position, letter in enumerate(letters)}
        symbols += [letter.encode("utf-8") for letter in letters]
        spelled += letters
        segments = self._segments(numbers)
        taken = {symbol for symbol in symbols if symbol}
        merging = Merging(segments, list(self.words.values()), symbols, taken, self._allowed)
        merges: list[Merge] = []
        for left, right in merging.run(limit - len(letters), self.min_frequency):
            merges.append((spelled[left], spelled[right]))
            spelled.append(self._spell(merging.symbols[len(spelled)]))
        return spelled[len(self.table) :], merges

    def _allowed(self, left: bytes, right: bytes) -> bool:
        """Whether two symbols may be joined. b"" stands for a token that takes part in no merge."""
        if not left or not right or len(left) + len(right) > 4 * self.longest:
            return False
        if len((left + right).decode("utf-8", "replace")) > self.longest:
            return False
        if self.script == "cyrillic":
            return cyrillic_merge(left, right)
        return self.table.kind == "byte_level" or b" " not in right or not (left + right).strip(b" ")

    def _missing_letters(self) -> list[str]:
        """Letters that a SentencePiece-style vocabulary spells in bytes; they need an id of their own, since byte
        pieces take part in no merge. Most frequent first."""
        if self.table.kind == "byte_level":
            return []
        counts: Counter[str] = Counter()
        for word, count in self.words.items():
            for letter in word.decode("utf-8"):
                counts[letter] += count
        known = self.table.ids_by_piece
        missing = [
            (-count, letter)
            for letter, count in counts.items()
            if count >= self.min_frequency and letter not in known and letter not in (" ", SPACE_MARK)
            if self.script == "any" or cyrillic_merge(b"", letter.encode("utf-8"))
        ]
        return [letter for _, letter in sorted(missing)]

    def _segments(self, letters: dict[str, int]) -> list[list[int]]:
        """Symbol numbers of every word: its old tokens, and new letters in between."""
        pattern = re.compile("([" + re.escape("".join(letters)) + "])") if letters else None
        parts: list[list[str | bytes]] = []
        for word in self.words:
            split: Sequence[str | bytes] = pattern.split(word.decode("utf-8")) if pattern else [word]
            parts.append([part for part in split if part])
        old_parts = [
            part if isinstance(part, bytes) else part.encode("utf-8")
            for word_parts in parts
            for part in word_parts
            if part not in letters
        ]
        fallback = set(self.table.byte_pieces.values()) if self.table.kind == "sentencepiece" else set()
        encoded = iter(self.segmenter.segment(old_parts))
        # Where the old vocabulary cannot spell a part, and at byte pieces, -1 keeps the neighbours apart.
        segments = []
        for word_parts in parts:
            numbers: list[int] = []
            for part in word_parts:
                if isinstance(part, str) and part in letters:
                    numbers.append(letters[part])
                else:
                    ids = next(encoded) or [-1]
                    numbers.extend(-1 if token_id in fallback else token_id for token_id in ids)
            segments.append(numbers)
        return segments

    def _spell(self, raw: bytes) -> str:
        if self.table.kind == "byte_level":
            return to_byte_level(raw)
        return raw.decode("utf-8").replace(" ", SPACE_MARK)
