"""The bytes behind every token id, for byte-level and SentencePiece-style tokenizers.

All comparison and re-segmentation of tokens is on bytes: vocabulary strings of different tokenizer kinds are not
comparable ("Ġпри" is spelled "ĠÐ¿ÑĢÐ¸" in one and "▁при" in another), and decode() turns half a character into
"\N{REPLACEMENT CHARACTER}".
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

from darumeru.core.errors import UserError

Kind = Literal["byte_level", "sentencepiece"]
SPACE_MARK = "▁"
BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>\Z")


@dataclass(frozen=True)
class Special:
    """A token that stands for no text (BOS, padding, unknown, ...); it is known by its name alone."""

    name: str


@lru_cache(maxsize=1)
def byte_alphabet() -> dict[int, str]:
    """Byte -> the printable character that byte-level BPE writes for it (the GPT-2 map: 188 bytes stand for
    themselves, the other 68 take U+0100 and up in order)."""
    themselves = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {byte: chr(byte) for byte in themselves}
    others = (byte for byte in range(256) if byte not in alphabet)
    return alphabet | {byte: chr(256 + position) for position, byte in enumerate(others)}


@lru_cache(maxsize=1)
def byte_of_character() -> dict[str, int]:
    """The inverse of `byte_alphabet`."""
    return {character: byte for byte, character in byte_alphabet().items()}


def to_byte_level(raw: bytes) -> str:
    """The string in which a byte-level vocabulary spells `raw`."""
    alphabet = byte_alphabet()
    return "".join([alphabet[byte] for byte in raw])


def from_byte_level(piece: str) -> bytes:
    """The bytes of a byte-level vocabulary string; a string with a character outside the map is literal text, as
    the byte-level decoder has it."""
    inverse = byte_of_character()
    try:
        return bytes([inverse[character] for character in piece])
    except KeyError:
        return piece.encode("utf-8")


def backend(tokenizer: Any) -> Any:
    """The `tokenizers.Tokenizer` inside a transformers tokenizer, or the object itself.

    Raises UserError for a tokenizer without such a backend (a slow, Python one)."""
    from tokenizers import Tokenizer

    if isinstance(tokenizer, Tokenizer):
        return tokenizer
    inner = getattr(tokenizer, "backend_tokenizer", None)
    if isinstance(inner, Tokenizer):
        return inner
    raise UserError(
        "has no fast `tokenizers` backend", where=type(tokenizer).__name__, mend="convert it to a tokenizer.json"
    )


def load_tokenizer(folder: str | Path) -> Any:
    """The `tokenizers.Tokenizer` of a model folder (its tokenizer.json) or of one tokenizer.json file.

    Raises UserError when the file is missing or is not a tokenizer."""
    from tokenizers import Tokenizer

    path = Path(folder)
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise UserError("no tokenizer.json here", where=str(path), mend="save the tokenizer as a fast tokenizer")
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the Rust reader raises bare Exception
        raise UserError(f"not a readable tokenizer: {error}", where=str(file)) from error


def _component_types(state: Any) -> set[str]:
    """The names of the components (nested ones too) of a serialized normalizer, pre-tokenizer or decoder."""
    if isinstance(state, list):
        return set().union(*map(_component_types, state)) if state else set()
    if not isinstance(state, dict):
        return set()
    own = {str(state["type"])} if "type" in state else set()
    return own | set().union(*(_component_types(value) for value in state.values()))


def component_state(component: Any) -> Any:
    """The JSON description of a normalizer, pre-tokenizer, decoder or post-processor (None for none)."""
    return None if component is None else json.loads(component.__getstate__())


def tokenizer_kind(tokenizer: Any) -> Kind:
    """How the vocabulary spells bytes. Raises UserError for WordPiece, WordLevel, BPE with a prefix or suffix mark
    and every other kind whose bytes cannot be known."""
    tokenizer = backend(tokenizer)
    model = type(tokenizer.model).__name__
    parts = [component_state(part) for part in (tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder)]
    types = _component_types(parts)
    marked = model == "BPE" and (tokenizer.model.continuing_subword_prefix or tokenizer.model.end_of_word_suffix)
    if model in ("BPE", "Unigram") and not marked:
        if "ByteLevel" in types:
            return "byte_level"
        if "Metaspace" in types or SPACE_MARK in json.dumps(parts, ensure_ascii=False):
            return "sentencepiece"
    raise UserError(
        f"tokenizer of an unknown kind ({model}; {', '.join(sorted(types)) or 'no components'})",
        mend='byte-level BPE and SentencePiece-style BPE or Unigram ("▁", byte fallback) are known',
    )


@dataclass(frozen=True)
class TokenTable:
    """All tokens of a tokenizer at once.

    tokens: by id; bytes, Special, or None for an id that no token has. pieces: the vocabulary strings by id (None
    for a hole). kind: how pieces spell bytes. added: contents of all added tokens, special or not. byte_pieces:
    byte -> id of the fallback piece "<0xNN>" (or of the single-byte piece of a byte-level vocabulary).
    """

    tokens: tuple[bytes | Special | None, ...]
    pieces: tuple[str | None, ...]
    kind: Kind
    added: frozenset[str] = field(default_factory=frozenset)
    byte_pieces: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, tokenizer: Any) -> TokenTable:
        """Read every token of `tokenizer` (a `tokenizers.Tokenizer` or a fast transformers one); about 0.2 s for
        128,000 tokens. Raises UserError for an unknown kind."""
        tokenizer = backend(tokenizer)
        kind = tokenizer_kind(tokenizer)
        vocabulary: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
        added = {token.content: token.special for token in tokenizer.get_added_tokens_decoder().values()}
        specials = {name for name, special in added.items() if special}
        unknown = _unknown_token(tokenizer)
        if unknown is not None:
            specials.add(unknown)
        has_fallback = kind == "sentencepiece" and _has_byte_fallback(tokenizer)
        size = max(vocabulary.values(), default=-1) + 1
        tokens: list[bytes | Special | None] = [None] * size
        pieces: list[str | None] = [None] * size
        byte_pieces: dict[int, int] = {}
        for piece, token_id in vocabulary.items():
            pieces[token_id] = piece
            if piece in specials:
                tokens[token_id] = Special(piece)
                continue
            if kind == "byte_level":
                raw = piece.encode("utf-8") if piece in added else from_byte_level(piece)
                if len(raw) == 1 and piece not in added:
                    byte_pieces[raw[0]] = token_id
            else:
                match = BYTE_PIECE.match(piece) if has_fallback else None
                raw = bytes([int(match[1], 16)]) if match else piece.replace(SPACE_MARK, " ").encode("utf-8")
                if match:
                    byte_pieces[raw[0]] = token_id
            tokens[token_id] = raw
        return cls(tuple(tokens), tuple(pieces), kind, frozenset(added), byte_pieces)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, token_id: int) -> bytes | Special:
        token = self.tokens[token_id] if 0 <= token_id < len(self.tokens) else None
        if token is None:
            raise UserError(f"no token has id {token_id}", mend=f"ids run from 0 to {len(self.tokens) - 1}")
        return token

    @cached_property
    def ids_by_piece(self) -> dict[str, int]:
        """Vocabulary string -> id, specials included."""
        return {piece: token_id for token_id, piece in enumerate(self.pieces) if piece is not None}

    @cached_property
    def ids_by_bytes(self) -> dict[bytes, int]:
        """Bytes -> id. Where several tokens have the same bytes ("A" and "<0x41>"; an added token and a piece), an
        ordinary piece wins over an added token, and that over a byte-fallback piece, then the lowest id."""
        fallback = set(self.byte_pieces.values()) if self.kind == "sentencepiece" else set()
        ranked: list[list[int]] = [[], [], []]
        for token_id, token in enumerate(self.tokens):
            if isinstance(token, bytes):
                ranked[0 if token_id in fallback else 1 if self.pieces[token_id] in self.added else 2].append(token_id)
        found: dict[bytes, int] = {}
        for token_ids in ranked:
            found |= {self.tokens[token_id]: token_id for token_id in reversed(token_ids)}  # type: ignore[misc]
        return found

    def id_of(self, raw: bytes, piece: str) -> int | None:
        """The id of a token with these bytes, one spelled `piece` before any other; None where there is none."""
        same = self.ids_by_piece.get(piece)
        return same if same is not None and self.tokens[same] == raw else self.ids_by_bytes.get(raw)

    @cached_property
    def special_ids(self) -> dict[str, int]:
        """Name -> id of every Special."""
        return {token.name: token_id for token_id, token in enumerate(self.tokens) if isinstance(token, Special)}


def _unknown_token(tokenizer: Any) -> str | None:
    """The name of the model's unknown token, if it has one."""
    if type(tokenizer.model).__name__ == "BPE":
        name: str | None = tokenizer.model.unk_token
        return name
    header = json.loads(tokenizer.model.__getstate__())
    unknown = header.get("unk_id")
    return None if unknown is None else tokenizer.model.id_to_token(unknown)


def _has_byte_fallback(tokenizer: Any) -> bool:
    """Whether "<0xNN>" pieces are bytes here rather than six letters of text."""
    if getattr(tokenizer.model, "byte_fallback", False):
        return True
    return "ByteFallback" in _component_types(component_state(tokenizer.decoder))


def token_bytes(tokenizer: Any, token_id: int) -> bytes | Special:
    """The bytes that token `token_id` stands for, or Special. For many ids build a `TokenTable` once.

    Raises UserError for an unknown id or a tokenizer of an unknown kind."""
    return TokenTable.of(tokenizer)[token_id]
