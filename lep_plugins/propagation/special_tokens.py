"""Added and special tokens of a tokenizer folder, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from darumeru.models.files import optional_json

NAMED = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token")
LISTED = ("additional_special_tokens", "extra_special_tokens")


@dataclass(frozen=True)
class AddedToken:
    """A token outside the model's own vocabulary, with the flags of tokenizer.json."""

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    special: bool = True

    def record(self) -> dict[str, Any]:
        """The flags as tokenizer.json and tokenizer_config.json write them (without the id)."""
        return asdict(self)


def added_tokens(tokenizer: Any) -> dict[str, AddedToken]:
    """The added tokens of a `tokenizers.Tokenizer` by content."""
    return {
        token.content: AddedToken(
            token.content, token.single_word, token.lstrip, token.rstrip, token.normalized, token.special
        )
        for token in tokenizer.get_added_tokens_decoder().values()
    }


def special_map(folder: Path) -> dict[str, Any]:
    """The special-token map of a tokenizer folder: "bos_token" and the like to a name, "additional_special_tokens" to
    a list of names; from special_tokens_map.json, overridden by tokenizer_config.json."""
    found: dict[str, Any] = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        settings = optional_json(folder / file)
        found |= {key: _content(settings[key]) for key in NAMED if settings.get(key)}
        for key in LISTED:
            value = settings.get(key)
            if isinstance(value, list):
                found[key] = [_content(item) for item in value]
            elif isinstance(value, Mapping):  # transformers 5 also names extra tokens: {"image_token": "<image>"}
                found[key] = {name: _content(item) for name, item in value.items()}
    return found


def named_tokens(folder: Path) -> list[str]:
    """Every token that the special-token map of a folder names, without repeats."""
    names: list[str] = []
    for value in special_map(folder).values():
        names += [value] if isinstance(value, str) else value.values() if isinstance(value, Mapping) else value
    return list(dict.fromkeys(names))


def _content(token: Any) -> str:
    return str(token["content"]) if isinstance(token, Mapping) else str(token)
