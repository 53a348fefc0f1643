"""Token ids in config.json and generation_config.json, carried over to a new vocabulary by token name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from darumeru.models.token_bytes import TokenTable

NAMED = ("_token_id", "_token_ids")
LISTS = ("suppress_tokens", "begin_suppress_tokens", "bad_words_ids", "forced_decoder_ids", "sequence_bias")


def renumbered(config: Mapping[str, Any], old: TokenTable, new: TokenTable) -> dict[str, Any]:
    """A copy of `config` in which every field that holds token ids, nested parts included, holds those of the new
    vocabulary; a list stays a list. An id whose token is gone becomes None, and leaves a list.

    Fields are known by name ("eos_token_id", ...): an integer that merely equals an old id is left alone."""
    return {key: _field(key, value, old, new) for key, value in config.items()}


def _field(key: str, value: Any, old: TokenTable, new: TokenTable) -> Any:
    if isinstance(value, Mapping):
        return renumbered(value, old, new)
    if key.endswith(NAMED) or key in LISTS:
        return _ids(value, old, new)
    return value


def _ids(value: Any, old: TokenTable, new: TokenTable) -> Any:
    if isinstance(value, list):
        mapped = [_ids(item, old, new) for item in value]
        return [item for item in mapped if item is not None]
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return value
    piece = old.pieces[value] if value < len(old.pieces) else None
    if piece is None:
        return None
    same_name = new.ids_by_piece.get(piece)
    if same_name is not None:
        return same_name
    token = old.tokens[value]
    return new.ids_by_bytes.get(token) if isinstance(token, bytes) else None
