"""The parts around the model of a SentencePiece-style tokenizer: normalizer, pre-tokenizer, decoder.

The same objects serve training and the exported tokenizer, so that no normalizer is lost on the way. Words start
with "▁"; newline runs, tab runs and indentation are units of their own and can be learnt; digits stand alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from darumeru.models.token_bytes import SPACE_MARK
from lep_plugins.vocabulary.corpus import Normalization
from lep_plugins.vocabulary.description import Description, Merge

UNITS = (
    rf"{SPACE_MARK}?\p{{L}}[\p{{L}}\p{{M}}]*"  # a word
    rf"|{SPACE_MARK}?\p{{N}}"  # one digit
    rf"|{SPACE_MARK}+(?={SPACE_MARK}[^\s{SPACE_MARK}])"  # indentation, but for the space that belongs to the word
    rf"|{SPACE_MARK}+(?![^\s{SPACE_MARK}])"  # spaces at the end of a line
    r"|[\r\n]+|\t+"
    rf"|{SPACE_MARK}?[^\s{SPACE_MARK}\p{{L}}\p{{N}}]+"  # punctuation
    r"|\s"
)
BYTE_PIECES = tuple(f"<0x{byte:02X}>" for byte in range(256))
ALWAYS = frozenset(map(chr, range(0x20, 0x7F))) | {"\n", "\t", SPACE_MARK}
RUSSIAN = frozenset("абвгдеёжзийклмнопрстуфхцчшщъыьэюяАБВГДЕЁЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯ")
RUNS = ("\n\n", "\n\n\n\n", "\t\t", "\t\t\t\t", *(" " * length for length in (2, 4, 8, 16)))
"""Newline runs and indentation that every new vocabulary has, however rare they are in its corpus: each is twice a
run before it or one character."""


@dataclass(frozen=True)
class TokenizerParts:
    """normalization: what the tokenizer does to its text, None for nothing (then any text comes back exactly).

    No space is put before the first word, whatever the old tokenizer did: such a prefix cannot be told from a space
    of the text itself."""

    normalization: Normalization | None = "NFKC"

    def normalizer(self) -> Any:
        """The normalizer, or None."""
        from tokenizers import normalizers

        return None if self.normalization is None else getattr(normalizers, self.normalization)()

    def pre_tokenizer(self) -> Any:
        """Spaces become "▁", then the text is cut into units."""
        from tokenizers import Regex, pre_tokenizers

        marked = pre_tokenizers.Metaspace(replacement=SPACE_MARK, prepend_scheme="never", split=False)
        return pre_tokenizers.Sequence([marked, pre_tokenizers.Split(Regex(UNITS), behavior="isolated")])

    def decoder(self) -> Any:
        """A mark becomes a space, byte pieces become characters."""
        from tokenizers import decoders

        return decoders.Sequence([decoders.Replace(SPACE_MARK, " "), decoders.ByteFallback(), decoders.Fuse()])

    def around(self, model: Any) -> Any:
        """A `tokenizers.Tokenizer` of these parts."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer(model)
        if self.normalization is not None:
            tokenizer.normalizer = self.normalizer()
        tokenizer.pre_tokenizer = self.pre_tokenizer()
        tokenizer.decoder = self.decoder()
        return tokenizer


def uncovered(texts: Iterable[str], coverage: float) -> tuple[set[str], dict[int, str]]:
    """(alphabet, table for str.translate that blanks all else): the most frequent characters that make up `coverage`
    of the text, all printable ASCII and the Russian letters. The rest is left to byte fallback."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    wanted = coverage * sum(counts.values())
    alphabet, reached = set(ALWAYS | RUSSIAN), 0
    for letter, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if reached >= wanted:
            break
        alphabet.add(letter)
        reached += count
    return alphabet, {ord(letter): " " for letter in counts if letter not in alphabet}


def with_runs(
    old: Description, pieces: list[str], merges: list[Merge], spell: Callable[[str], str], size: int
) -> tuple[list[str], list[Merge]]:
    """Learnt BPE pieces and merges, cut to `size` pieces that include RUNS, where they are no added tokens of `old`.
    spell: writes text as a piece."""
    names = {token["content"] for token in old.added}
    learnt = [piece for piece in pieces if piece not in names]
    unlearnt = [run for run in RUNS if spell(run) not in pieces]
    missing = [spell(run) for run in unlearnt if spell(run) not in names]
    kept = learnt[: size - len(missing)]
    alive = {*kept, *names}
    # What was learnt last is part of nothing that was learnt before.
    left = [merge for merge in merges if alive.issuperset((*merge, "".join(merge)))]
    halves = [(spell(run[: len(run) // 2]), spell(run[len(run) // 2 :])) for run in unlearnt]
    return [*kept, *missing], [*left, *halves]


def described(old: Description, tokenizer: Any) -> Description:
    """A new tokenizer with the added tokens and the post-processor of the old one; its model is still untrained."""
    data = dict(Description.of(tokenizer).data)
    data["added_tokens"] = old.added
    data["post_processor"] = _without_byte_level(old.data.get("post_processor"))
    return Description(data)


def _without_byte_level(processor: Any) -> Any:
    """The post-processor without the byte-level one, which only mends offsets of byte-level pieces."""
    if not isinstance(processor, dict) or processor["type"] == "ByteLevel":
        return None
    if processor["type"] == "Sequence":
        parts = [part for part in processor["processors"] if part["type"] != "ByteLevel"]
        return {**processor, "processors": parts} if parts else None
    return processor


def arranged(old: Description, pieces: Iterable[str]) -> list[str]:
    """Vocabulary strings in order of id: the old added tokens before the pieces where they stood at the front of the
    old vocabulary, else after them."""
    added = [token["content"] for token in sorted(old.added, key=lambda token: int(token["id"]))]
    names = set(added)
    ordinary = [piece for piece in pieces if piece not in names]
    at_front = bool(old.added) and min(token["id"] for token in old.added) < len(old.vocab) // 2
    return [*added, *ordinary] if at_front else [*ordinary, *added]
