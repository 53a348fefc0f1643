"""A LoRA adapter as a donor, split: embedding parts make the donor's matrices, layer parts change the result."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from darumeru.core.errors import UserError
from darumeru.models.adapters import DEFAULT_RANK, Adapter, read_adapter
from darumeru.models.checkpoint import Checkpoint
from darumeru.models.checkpoint_names import HEADS
from darumeru.models.checkpoint_read import read_rows
from darumeru.models.checkpoint_write import Replacement
from darumeru.models.weight_files import ADAPTER_CONFIG, INDEX, SINGLE, TensorEntry
from lep_plugins.propagation.rows import LowRankRows, Rows, StoredRows, blocks

CHUNK_ROWS = 1024


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds a PEFT adapter rather than a whole model."""
    return (folder / ADAPTER_CONFIG).is_file() and not any((folder / name).is_file() for name in (SINGLE, INDEX))


@dataclass(frozen=True)
class LoraDonor:
    """What a plain LoRA adapter makes of a model's matrices."""

    adapter: Adapter

    @property
    def _where(self) -> str:
        return str(self.adapter.path)

    def scale(self, module: str) -> float:
        """alpha / r of one module (alpha / sqrt(r) with rank-stabilized LoRA), patterns respected as PEFT does."""
        rank = self._pattern("rank_pattern", module, self.adapter.config.get("r", DEFAULT_RANK))
        alpha = self._pattern("alpha_pattern", module, self.adapter.config.get("lora_alpha", 8))
        return float(alpha) / (math.sqrt(rank) if self.adapter.config.get("use_rslora") else rank)

    def _pattern(self, key: str, module: str, default: Any) -> Any:
        for pattern, value in (self.adapter.config.get(key) or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", module):
                return value
        return default

    def rows(self, tensor: str, model: Checkpoint, stored: str = "") -> Rows:
        """One matrix of the model with the adapter's changes to it; a whole matrix in the adapter comes first, then
        the model's tensor `stored` (by default the one of that name)."""
        module = tensor.removesuffix(".weight")
        entry = self.adapter.whole.get(module) or model.entry(stored or tensor)
        rows = StoredRows(entry)
        if module not in self.adapter.pairs:
            return rows
        left, right = self._factors(module)
        if (left.shape[0], right.shape[1]) != entry.shape:
            raise UserError(f"the adapter's change of {tensor} does not fit shape {list(entry.shape)}", self._where)
        return LowRankRows(rows, left, right, self.scale(module))

    def _factors(self, module: str) -> tuple[torch.Tensor, torch.Tensor]:
        """(left, right): the change of the module's weight is scale x left @ right."""
        pair = self.adapter.pairs[module]
        one, other = (read_rows(pair[side], 0, pair[side].height) for side in "AB")
        transposed = "lora_embedding" in pair["A"].name or bool(self.adapter.config.get("fan_in_fan_out"))
        return (one.T.contiguous(), other.T.contiguous()) if transposed else (other, one)

    @property
    def changed(self) -> tuple[str, ...]:
        """Names of the tensors that the adapter changes."""
        modules = dict.fromkeys([*self.adapter.pairs, *self.adapter.whole])
        return tuple(f"{module}.weight" for module in modules)

    def heads(self) -> tuple[str, ...]:
        """Names of the output heads that the adapter changes."""
        return tuple(name for name in self.changed if name.split(".")[-2] in HEADS)

    def require_tied(self, model: Checkpoint) -> None:
        """UserError unless the adapter leaves head and embedding of a tied model the same. (PEFT unties a model whose
        adapter trains one of the two alone.)"""
        embedding, heads = model.embedding_name, [name for name in self.heads() if name != model.embedding_name]
        one = self.rows(embedding, model)
        others = [self.rows(head, model, embedding) for head in heads]
        same = all(
            (one.height, one.width) == (other.height, other.width)
            and all(torch.equal(one.read(*block), other.read(*block)) for block in blocks(one.height, CHUNK_ROWS))
            for other in others
        )
        if not same or (embedding in self.changed and not heads):
            mend = "train both, with ensure_weight_tying=True"
            raise UserError("the adapter trains embedding or head of a tied model alone", self._where, mend)

    def layer_changes(self, target: Checkpoint, vocabulary: tuple[str, ...]) -> dict[str, Replacement]:
        """The target's layer weights with the adapter's layer parts added, by tensor name. `vocabulary`: the
        matrices that are not layers. UserError for a module the target lacks and for whole layers in the adapter."""
        vocabulary += self.heads()
        if foreign := [module for module in self.adapter.whole if f"{module}.weight" not in vocabulary]:
            mend = "only embeddings may be saved whole in a donor adapter"
            raise UserError(f"the adapter stores the whole of {foreign[0]}.weight", self._where, mend)
        changes: dict[str, Replacement] = {}
        for module in self.adapter.pairs:
            tensor = f"{module}.weight"
            if tensor in vocabulary:
                continue
            rows = LowRankRows(StoredRows(target.entry(tensor)), *self._factors(module), self.scale(module))
            if (rows.left.shape[0], rows.right.shape[1]) != target.entry(tensor).shape:
                raise UserError(f"the adapter's change of {tensor} does not fit the target", self._where)
            changes[tensor] = _replacement(rows, target.entry(tensor))
        return changes


def _replacement(rows: Rows, entry: TensorEntry) -> Replacement:
    return Replacement(
        entry.shape, entry.dtype, lambda: (rows.read(*block) for block in blocks(rows.height, CHUNK_ROWS))
    )


def open_adapter(folder: Path) -> LoraDonor:
    """Read an adapter's config and headers. UserError for what is damaged and for anything but plain LoRA (DoRA,
    trained token indices, trained biases and other methods are refused by name)."""
    adapter = read_adapter(folder)
    kind = adapter.config.get("peft_type") or "LORA"
    if kind != "LORA" or adapter.config.get("use_dora"):
        raise UserError(f"adapter of kind {'DoRA' if kind == 'LORA' else kind}", str(folder), "only LoRA is supported")
    if adapter.other:
        raise UserError(f"adapter tensor {adapter.other[0]} is not supported", str(folder))
    return LoraDonor(adapter)
