"""Special token ids in config.json and generation_config.json after a change of tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from darumeru.models.token_bytes import TokenTable
from darumeru.models.token_ids import Renumbered, renumber, same_token

ROLES = ("bos", "eos", "pad", "sep", "cls", "mask")


@dataclass(frozen=True)
class NewIds:
    """old, new: the two vocabularies. roles: "eos_token" and the like to the names that the new tokenizer gives."""

    old: TokenTable
    new: TokenTable
    roles: Mapping[str, str]

    def applied(self, config: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """(the configuration with the new vocabulary's ids, what changed or was lost in words). Ids follow the names of
        their tokens; where the new vocabulary has no token of that name, the tokenizer's own token of that role takes
        the place, so that a model never loses its end."""
        moved = renumber(config, lambda token_id: same_token(token_id, self.old, self.new))
        said: list[str] = []
        changed = self._with_roles(config, moved.config, said)
        replaced = {line.split(" ", 1)[0] for line in said}
        lost = tuple(item for item in moved.lost if item.split(":", 1)[0] not in replaced)
        return changed, [*said, *Renumbered({}, lost).warnings("the model")]

    def _with_roles(self, before: Mapping[str, Any], after: Mapping[str, Any], said: list[str]) -> dict[str, Any]:
        changed = dict(after)
        for key, value in before.items():
            role = key.removesuffix("_token_id")
            if isinstance(value, Mapping):
                changed[key] = self._with_roles(value, after[key], said)
            elif role in ROLES and role != key and _lost(value, after[key]):
                name = self.roles.get(f"{role}_token")
                token_id = None if name is None else self.new.ids_by_piece.get(name)
                if token_id is not None:
                    changed[key] = _added(after[key], token_id)
                    said.append(
                        f"{key} is now {token_id}, {name} of the new tokenizer: it has no token {self._of(value)}"
                    )
        return changed

    def _of(self, value: Any) -> str:
        """The names of old ids."""
        ids = value if isinstance(value, list) else [value]
        pieces = [self.old.pieces[number] if number < len(self.old) else None for number in ids]
        gone = [piece or str(number) for piece, number in zip(pieces, ids, strict=True)]
        return " or ".join(piece for piece in gone if piece not in self.new.ids_by_piece)


def _lost(before: Any, after: Any) -> bool:
    if isinstance(before, list):
        return len(after) < len(before)
    return before is not None and after is None


def _added(ids: Any, token_id: int) -> Any:
    if isinstance(ids, list):
        return ids if token_id in ids else [*ids, token_id]
    return token_id
