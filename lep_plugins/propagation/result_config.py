"""config.json and generation_config.json of the result: the target's, with token ids found again by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lep_plugins.propagation.models import Trio
from lep_plugins.propagation.relation import Relation

ID_KEY = re.compile(r".*_token_(id|ids|index)|(begin_)?suppress_tokens")
"""Fields whose integers are token ids. No other number is touched, whatever its value."""


@dataclass
class IdChange:
    """Renames target ids to result ids. lost: "field: id" of ids that no token of the result stands for; they become
    null."""

    trio: Trio
    relation: Relation
    lost: list[str] = field(default_factory=list)

    def config(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """A configuration with every token id replaced, at any depth; lists stay lists."""
        return {key: self._value(key, item) for key, item in value.items()}

    def _value(self, key: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return self.config(value)
        if not ID_KEY.fullmatch(key):
            return value
        if isinstance(value, list):
            return [found for item in value if (found := self._value(key, item)) is not None]
        return self._id(key, value) if isinstance(value, int) and not isinstance(value, bool) else value

    def _id(self, key: str, target_id: int) -> int | None:
        if target_id < 0:
            return target_id  # a way to say "none"
        found = self.result_id(target_id)
        if found is None:
            self.lost.append(f"{key}: {target_id}")
        return found

    def result_id(self, target_id: int) -> int | None:
        """The result's id of the target's token: special and added tokens by name, others by their bytes."""
        target, donor = self.trio.target.table, self.trio.donor.table
        if target_id >= len(target) or (piece := target.pieces[target_id]) is None:
            return None
        if piece in self.relation.new_ids:
            return self.relation.new_ids[piece]
        token = target.tokens[target_id]
        if not isinstance(token, bytes) or piece in target.added:
            return donor.ids_by_piece.get(piece)
        return donor.ids_by_bytes.get(token)
