"""A LoRA adapter as a donor, split: embedding parts make the donor's matrices, layer parts change the result."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from darumeru.core.errors import UserError
from darumeru.models.checkpoint import Replacement, TensorEntry, read_json
from darumeru.models.checkpoint_folder import Checkpoint
from darumeru.models.checkpoint_names import HEADS
from darumeru.models.checkpoint_read import SINGLE, read_rows, read_shard
from lep_plugins.propagation.rows import LowRankRows, Rows, StoredRows, blocks

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
LOW_RANK = re.compile(r"(?P<module>.+)\.(?P<side>lora_A|lora_B|lora_embedding_A|lora_embedding_B)(\.weight)?$")
CHUNK_ROWS = 1024


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds a PEFT adapter rather than a whole model."""
    return (folder / CONFIG).is_file() and not (folder / SINGLE).is_file() and not list(folder.glob("*.index.json"))


@dataclass(frozen=True)
class Adapter:
    """A PEFT LoRA adapter. pairs: module name -> {"A": r x in, "B": out x r} entries. whole: tensor name -> a whole
    matrix that the adapter stores (modules_to_save, or saved embeddings)."""

    path: Path
    config: Mapping[str, Any]
    pairs: Mapping[str, Mapping[str, TensorEntry]]
    whole: Mapping[str, TensorEntry]

    @property
    def base_model(self) -> str:
        """The model the adapter was trained on, as its config names it."""
        return str(self.config.get("base_model_name_or_path") or "")

    def scale(self, module: str) -> float:
        """alpha / r of one module (alpha / sqrt(r) with rank-stabilized LoRA), patterns respected as PEFT does."""
        rank = self._pattern("rank_pattern", module, self.config.get("r", 8))
        alpha = self._pattern("alpha_pattern", module, self.config.get("lora_alpha", 8))
        return float(alpha) / (math.sqrt(rank) if self.config.get("use_rslora") else rank)

    def _pattern(self, key: str, module: str, default: Any) -> Any:
        for pattern, value in (self.config.get(key) or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", module):
                return value
        return default

    def rows(self, tensor: str, model: Checkpoint, stored: str = "") -> Rows:
        """One matrix of the model with the adapter's changes to it; a whole matrix in the adapter comes first, then
        the model's tensor `stored` (by default the one of that name)."""
        module = tensor.removesuffix(".weight")
        entry = self.whole.get(tensor) or self.whole.get(f"{module}.base_layer.weight") or model.entry(stored or tensor)
        rows = StoredRows(entry)
        if module not in self.pairs:
            return rows
        left, right = self._factors(module)
        if (left.shape[0], right.shape[1]) != entry.shape:
            raise UserError(f"the adapter's change of {tensor} does not fit shape {list(entry.shape)}", str(self.path))
        return LowRankRows(rows, left, right, self.scale(module))

    def _factors(self, module: str) -> tuple[torch.Tensor, torch.Tensor]:
        """(left, right): the change of the module's weight is scale x left @ right."""
        pair = self.pairs[module]
        one, other = (read_rows(pair[side], 0, pair[side].height) for side in "AB")
        transposed = "lora_embedding" in pair["A"].name or bool(self.config.get("fan_in_fan_out"))
        return (one.T.contiguous(), other.T.contiguous()) if transposed else (other, one)

    @property
    def changed(self) -> tuple[str, ...]:
        """Names of the tensors that the adapter changes."""
        whole = (name.replace(".base_layer", "") for name in self.whole)
        return tuple(dict.fromkeys([*(f"{module}.weight" for module in self.pairs), *whole]))

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
            raise UserError("the adapter trains embedding or head of a tied model alone", str(self.path), mend)

    def layer_changes(self, target: Checkpoint, vocabulary: tuple[str, ...]) -> dict[str, Replacement]:
        """The target's layer weights with the adapter's layer parts added, by tensor name. `vocabulary`: the
        matrices that are not layers. UserError for a module the target lacks and for whole layers in the adapter."""
        vocabulary += self.heads()
        if foreign := [name for name in self.whole if name.replace(".base_layer", "") not in vocabulary]:
            mend = "only embeddings may be saved whole in a donor adapter"
            raise UserError(f"the adapter stores the whole of {foreign[0]}", str(self.path), mend)
        changes: dict[str, Replacement] = {}
        for module in self.pairs:
            tensor = f"{module}.weight"
            if tensor in vocabulary:
                continue
            rows = LowRankRows(StoredRows(target.entry(tensor)), *self._factors(module), self.scale(module))
            if (rows.left.shape[0], rows.right.shape[1]) != target.entry(tensor).shape:
                raise UserError(f"the adapter's change of {tensor} does not fit the target", str(self.path))
            changes[tensor] = _replacement(rows, target.entry(tensor))
        return changes


def _replacement(rows: Rows, entry: TensorEntry) -> Replacement:
    return Replacement(
        entry.shape, entry.dtype, lambda: (rows.read(*block) for block in blocks(rows.height, CHUNK_ROWS))
    )


def open_adapter(folder: Path) -> Adapter:
    """Read an adapter's config and headers. UserError for anything but plain LoRA (DoRA, trained token indices,
    trained biases and other methods are refused by name)."""
    config = read_json(folder / CONFIG)
    kind = config.get("peft_type", "LORA")
    if kind != "LORA" or config.get("use_dora"):
        raise UserError(f"adapter of kind {'DoRA' if kind == 'LORA' else kind}", str(folder), "only LoRA is supported")
    if not (folder / WEIGHTS).is_file():
        raise UserError(f"no {WEIGHTS}", str(folder), "save the adapter with safe_serialization=True")
    pairs: dict[str, dict[str, TensorEntry]] = {}
    whole: dict[str, TensorEntry] = {}
    for entry in read_shard(folder / WEIGHTS).tensors:
        name = entry.name.removeprefix(PREFIX).replace(".modules_to_save", "")
        if match := LOW_RANK.match(name):
            pairs.setdefault(match["module"], {})[match["side"][-1]] = entry
        elif name.endswith(".weight") and "lora_" not in name:
            whole[name] = entry
        else:
            raise UserError(f"adapter tensor {entry.name} is not supported", str(folder / WEIGHTS))
    for module, pair in pairs.items():
        if missing := {"A", "B"} - pair.keys():
            raise UserError(f"the adapter has no lora_{missing.pop()} for {module}", str(folder / WEIGHTS))
    return Adapter(folder, config, pairs, whole)
