"""Token ids in config.json and generation_config.json, carried over to another vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from darumeru.models.token_bytes import TokenTable

IDS = ("_token_id", "_token_ids", "_token_index")
"""Ends of the names of fields that hold an id or a list of ids. No other number is touched, whatever its value."""

ID_LISTS = ("suppress_tokens", "begin_suppress_tokens")
PHRASES = ("bad_words_ids", "force_words_ids")
"""Lists, at some depth, of token sequences: a sequence that loses a token would mean another text and goes whole."""

POSITIONED = ("forced_decoder_ids",)
"""Lists of [position, id]; an id may be null."""

BIASED = ("sequence_bias",)
"""Lists of [sequence, number]."""

NAMED = ("lang_to_id", "task_to_id")
"""Token name -> id."""

NewId = Callable[[int], int | None]


@dataclass(frozen=True)
class Renumbered:
    """config: the changed copy. lost: "field: id" of ids for which the new vocabulary has no token; such a field
    becomes null, such an item leaves its list."""

    config: dict[str, Any]
    lost: tuple[str, ...]

    def warnings(self, owner: str) -> list[str]:
        """What was lost, a line each; owner: whose configuration it was, for example "the target"."""
        return [f"no token of the result stands for {item} of {owner}" for item in self.lost]


def renumber(config: Mapping[str, Any], new_id: NewId) -> Renumbered:
    """A configuration, at any depth, with the ids that `new_id` gives; a list stays a list. A negative id is a way to
    say "none" and stays."""
    renumberer = _Renumberer(new_id)
    changed = renumberer.config(config)
    return Renumbered(changed, tuple(dict.fromkeys(renumberer.lost)))


def same_token(token_id: int, old: TokenTable, new: TokenTable) -> int | None:
    """The new vocabulary's id of an old id's token: special and added tokens by name, others by their bytes (the same
    spelling first); None where there is none."""
    piece = old.pieces[token_id] if token_id < len(old) else None
    if piece is None:
        return None
    token = old.tokens[token_id]
    if not isinstance(token, bytes) or piece in old.added:
        return new.ids_by_piece.get(piece)
    return new.id_of(token, piece)


class _Renumberer:
    def __init__(self, new_id: NewId) -> None:
        self.new_id = new_id
        self.lost: list[str] = []

    def config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        return {key: self._field(key, value) for key, value in config.items()}

    def _field(self, key: str, value: Any) -> Any:
        if key in NAMED and isinstance(value, Mapping):
            return _present({name: self._id(key, one) for name, one in value.items()})
        if isinstance(value, Mapping):
            return self.config(value)
        if key.endswith(IDS) or key in ID_LISTS:
            return self._ids(key, value)
        if not isinstance(value, list):
            return value
        if key in PHRASES:
            return self._phrases(key, value)
        if key in POSITIONED:
            return self._pairs(value, lambda pair: [pair[0], self._id(key, pair[1])], 1)
        if key in BIASED:
            return self._pairs(value, lambda pair: [self._phrase(key, pair[0]), pair[1]], 0)
        return value

    def _ids(self, key: str, value: Any) -> Any:
        if isinstance(value, list):
            return [found for item in value if (found := self._ids(key, item)) is not None]
        return self._id(key, value)

    def _id(self, key: str, value: Any) -> Any:
        if type(value) is not int or value < 0:
            return value
        found = self.new_id(value)
        if found is None:
            self.lost.append(f"{key}: {value}")
        return found

    def _phrases(self, key: str, value: list[Any]) -> list[Any] | None:
        if all(not isinstance(item, list) for item in value):
            phrase: list[Any] | None = self._phrase(key, value)
            return phrase
        mapped = [self._phrases(key, item) if isinstance(item, list) else item for item in value]
        return [item for item in mapped if item is not None]

    def _phrase(self, key: str, value: Any) -> Any:
        """One sequence; None when a token of it is lost."""
        if not isinstance(value, list):
            return value
        mapped = [self._id(key, item) for item in value]
        return None if None in mapped else mapped

    def _pairs(self, value: list[Any], change: Callable[[list[Any]], list[Any]], changed: int) -> list[Any]:
        """Pairs without those in which `change` lost the member number `changed`."""
        mapped = [(item, change(item) if isinstance(item, list) and len(item) == 2 else item) for item in value]
        return [new for old, new in mapped if new is old or new[changed] is not None or old[changed] is None]


def _present(value: dict[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in value.items() if one is not None}
