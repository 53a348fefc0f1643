"""Published results: tables of a paper as rows beside own runs, always marked and with their profile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError

SCHEMA = 1


@dataclass(frozen=True)
class PublishedRow:
    """One published model. labels: what tells it from the others of its table. groups: group -> mean in [0, 1]."""

    labels: Mapping[str, str]
    micro_avg: float | None
    groups: Mapping[str, float]

    @property
    def name(self) -> str:
        """The labels in one text; "-" (nothing) is left out."""
        return " / ".join(text for text in self.labels.values() if text not in ("", "-"))


@dataclass(frozen=True)
class Published:
    """One table of a publication. profile: how its numbers were made."""

    path: Path
    source: str
    table: int | str
    title: str
    profile: str
    rows: tuple[PublishedRow, ...]


def load_published(path: Path) -> Published:
    """Read one file of leaderboards/paper; UserError when it is not one, or of a newer schema."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"is not a file of published results: {error}", str(path)) from error
    if not is_published(document):
        raise UserError("is not a file of published results: `published` is missing", str(path))
    if document.get("schema", 0) > SCHEMA:
        raise UserError(
            f"has schema {document['schema']}, this darumeru reads up to {SCHEMA}", str(path), "update darumeru"
        )
    try:
        rows = tuple(_row(row) for row in document["rows"])
        return Published(path, document["source"], document["table"], document["title"], document["profile"], rows)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"is not a file of published results: {error!r}", str(path)) from error


def is_published(document: Any) -> bool:
    """Whether a JSON document says that it holds published results."""
    return isinstance(document, dict) and document.get("published") is True


def _row(row: Mapping[str, Any]) -> PublishedRow:
    micro = row.get("micro_avg")
    groups = {str(name): float(value) for name, value in row.get("groups", {}).items()}
    labels = {str(key): str(value) for key, value in row["labels"].items()}
    return PublishedRow(labels, None if micro is None else float(micro), groups)
