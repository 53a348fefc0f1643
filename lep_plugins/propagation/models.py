"""The three models of a propagation, opened and checked against each other before any heavy work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.models.checkpoint import Checkpoint, open_checkpoint
from darumeru.models.checkpoint_write import Replacement
from darumeru.models.model_files import find_folder
from darumeru.models.token_bytes import TokenTable, load_tokenizer
from darumeru.models.weight_files import ADAPTER_CONFIG
from lep_plugins.propagation.lora import LoraDonor, is_adapter, open_adapter
from lep_plugins.propagation.rows import Rows, StoredRows

EMBEDDING, HEAD = "embedding", "head"


@dataclass(frozen=True)
class Model:
    """A model of the three. path: as the user named it. checkpoint: its weights (those an adapter was trained on,
    for an adapter). adapter: the adapter, if it is one. tokenizer: a `tokenizers.Tokenizer`; tokenizer_folder: where
    it came from."""

    role: str
    path: Path
    checkpoint: Checkpoint
    tokenizer: Any
    tokenizer_folder: Path
    table: TokenTable
    adapter: LoraDonor | None = None

    def tensor_name(self, matrix: str) -> str:
        """The tensor that holds "embedding" or "head"; the same one when tied."""
        head = self.checkpoint.head_name
        return head if matrix == HEAD and head else self.checkpoint.embedding_name

    def rows(self, matrix: str) -> Rows:
        """The rows of "embedding" or "head"."""
        name = self.tensor_name(matrix)
        return self.adapter.rows(name, self.checkpoint) if self.adapter else StoredRows(self.checkpoint.entry(name))


@dataclass(frozen=True)
class Trio:
    """base: the foundation model. target: its instruct-tuned variant. donor: the base with a new vocabulary and
    trained embeddings."""

    base: Model
    target: Model
    donor: Model

    @property
    def matrices(self) -> tuple[str, ...]:
        """What is propagated: one matrix when tied, else both."""
        return (EMBEDDING,) if self.target.checkpoint.tied else (EMBEDDING, HEAD)

    def layer_changes(self) -> dict[str, Replacement]:
        """What a donor adapter's layer parts make of the target's layers."""
        if self.donor.adapter is None:
            return {}
        vocabulary = self.donor.checkpoint.vocabulary
        names = (vocabulary.embedding, *filter(None, [vocabulary.head]))
        return self.donor.adapter.layer_changes(self.target.checkpoint, names)


def open_trio(base: str | Path, target: str | Path, donor: str | Path) -> Trio:
    """Open the three models (folders or Hub names) and check that they fit each other.

    UserError: no such model, unreadable files, different architectures, widths or scales, tied mixed with untied.
    """
    trio = Trio(_open("base", base), _open("target", target), _open("donor", donor))
    for other in (trio.target, trio.donor):
        _same("architecture", trio.base, other, trio.base.checkpoint.architecture, other.checkpoint.architecture)
        _same("hidden size", trio.base, other, trio.base.checkpoint.hidden_size, other.checkpoint.hidden_size)
        _same_tying(trio.base, other)
        _same("embedding scales", trio.base, other, trio.base.checkpoint.scales, other.checkpoint.scales)
    return trio


def _open(role: str, name: str | Path) -> Model:
    folder = find_folder(name)
    if not is_adapter(folder):
        checkpoint = open_checkpoint(folder)
        tokenizer = load_tokenizer(folder)
        return Model(role, folder, checkpoint, tokenizer, folder, TokenTable.of(tokenizer))
    if role != "donor":
        raise UserError(f"the {role} is an adapter", str(folder), f"merge it, or give the {role} model itself")
    adapter = open_adapter(folder)
    if not adapter.adapter.base:
        raise UserError("base_model_name_or_path names no model", str(folder / ADAPTER_CONFIG))
    below = find_folder(adapter.adapter.base)
    home = folder if (folder / "tokenizer.json").is_file() else below
    tokenizer = load_tokenizer(home)
    checkpoint = open_checkpoint(below)
    if checkpoint.tied:
        adapter.require_tied(checkpoint)
    return Model(role, folder, checkpoint, tokenizer, home, TokenTable.of(tokenizer), adapter)


def _same_tying(base: Model, other: Model) -> None:
    if base.checkpoint.tied != other.checkpoint.tied:
        names = {True: "tied", False: "untied"}
        text = f"base has {names[base.checkpoint.tied]} embeddings, {other.role} {names[other.checkpoint.tied]}"
        raise UserError(text, str(other.path), "tied and untied models cannot be mixed")


def _same(what: str, base: Model, other: Model, one: Any, two: Any) -> None:
    if one != two:
        raise UserError(f"base and {other.role} differ in {what}: {_plain(one)} and {_plain(two)}", str(other.path))


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items()) or "none"
    return str(value)
