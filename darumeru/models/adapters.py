"""A LoRA adapter in PEFT's format, judged from its files before anything heavy is imported."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.core.files import content_hash
from darumeru.models.checkpoint_names import is_vocabulary
from darumeru.models.config_file import judge_adapter_config, telling
from darumeru.models.files import near_folders, read_json, shown
from darumeru.models.fingerprints import fingerprint_weights
from darumeru.models.weight_files import ADAPTER_CONFIG, Shard, TensorEntry, read_shard

LOW_RANK = re.compile(r"(?P<module>.+)\.(?P<side>lora_A|lora_B|lora_embedding_A|lora_embedding_B)(\.weight)?$")
PREFIX = "base_model.model."
DEFAULT_RANK = 8  # PEFT's own


@dataclass(frozen=True)
class Adapter:
    """path: its folder. config: adapter_config.json. base: the model it was trained on, as the config names it ("" for
    none). rank: the largest of its low-rank changes. target_modules: last names of the modules that have one, for
    example q_proj. modules_to_save: last names of the modules that it stores whole. rows: of the embeddings that it
    stores or changes, None for none. shards: its weight files. pairs: module -> side "A" or "B" ->
    low-rank factor. whole: module -> its stored weight. other: names of all other tensors."""

    path: Path
    config: Mapping[str, Any]
    base: str
    rank: int
    target_modules: tuple[str, ...]
    modules_to_save: tuple[str, ...]
    rows: int | None
    shards: tuple[Shard, ...]
    pairs: Mapping[str, Mapping[str, TensorEntry]]
    whole: Mapping[str, TensorEntry]
    other: tuple[str, ...]

    @cached_property
    def fingerprint(self) -> str:
        """Of its tensors and of what its config says about the computation."""
        return content_hash([fingerprint_weights(self.shards), telling(self.config)])

    def require_rows(self, rows: int | None) -> None:
        """UserError when the adapter stores embeddings of another height than the model's `rows` (None: unknown)."""
        if None not in (self.rows, rows) and self.rows != rows:
            what = f"the adapter stores embeddings of {self.rows} rows, the model has {rows}"
            raise UserError(what, str(self.path), "merge it into its model first")


def read_adapter(path: Path | str) -> Adapter:
    """Judge an adapter folder by its config and headers. UserError: no folder, no adapter, pickled weights, damaged
    files, fields of a wrong kind, half of a low-rank pair, stored embeddings of two heights."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise UserError("no such adapter folder", str(folder), near=near_folders(folder))
    if not (folder / ADAPTER_CONFIG).exists():
        raise UserError(f"no {ADAPTER_CONFIG}: not a PEFT adapter", str(folder))
    config = read_json(folder / ADAPTER_CONFIG)
    judge_adapter_config(config, folder / ADAPTER_CONFIG)
    shards = tuple(read_shard(file) for file in sorted(folder.glob("adapter_model*.safetensors")))
    if not shards:
        pickled = (folder / "adapter_model.bin").is_file()
        lacks = "no adapter_model.safetensors"
        raise UserError("only a pickled adapter; it can run code, so it is refused" if pickled else lacks, str(folder))
    tensors = {_plain(entry.name): entry for shard in shards for entry in shard.tensors}
    pairs, whole, other = _sorted_out(tensors, folder)
    return Adapter(
        path=folder,
        config=config,
        base=config.get("base_model_name_or_path") or "",
        rank=_rank(config, pairs, folder),
        target_modules=_last_names(pairs),
        modules_to_save=_last_names([*whole, *(config.get("modules_to_save") or ())]),
        rows=_rows(pairs, whole, folder),
        shards=shards,
        pairs=pairs,
        whole=whole,
        other=other,
    )


def _plain(name: str) -> str:
    return name.removeprefix(PREFIX).replace(".modules_to_save", "")


def _sorted_out(
    tensors: Mapping[str, TensorEntry], folder: Path
) -> tuple[dict[str, dict[str, TensorEntry]], dict[str, TensorEntry], tuple[str, ...]]:
    """Pairs, whole weights and names of the rest; see Adapter."""
    other = []
    pairs: dict[str, dict[str, TensorEntry]] = {}
    whole: dict[str, TensorEntry] = {}
    for name, entry in tensors.items():
        if "original_module" in name.split("."):
            continue  # the model's own matrix, which PEFT keeps beside the trained one
        if match := LOW_RANK.match(name):
            pairs.setdefault(match["module"], {})[match["side"][-1]] = entry
        elif name.endswith(".weight") and "lora_" not in name:
            whole[name.removesuffix(".weight").removesuffix(".base_layer")] = entry
        else:
            other.append(entry.name)
    for module, pair in pairs.items():
        if missing := {"A", "B"} - pair.keys():
            raise UserError(f"the adapter has no lora_{missing.pop()} for {shown(module)}", str(folder))
        if len(pair["A"].shape) == 2 and pair["A"].shape[0] != pair["B"].shape[-1]:
            raise UserError(f"lora_A and lora_B of {shown(module)} differ in rank", str(folder))
    return pairs, whole, tuple(other)


def _rank(config: Mapping[str, Any], pairs: Mapping[str, Mapping[str, TensorEntry]], folder: Path) -> int:
    said = max([config.get("r") or DEFAULT_RANK, *(config.get("rank_pattern") or {}).values()])
    for module, pair in pairs.items():
        if pair["A"].height > said:
            what = f"r is {said}, but lora_A of {shown(module)} has rank {pair['A'].height}"
            raise UserError(what, str(folder / ADAPTER_CONFIG))
    return int(said)


def _rows(pairs: Mapping[str, Mapping[str, TensorEntry]], whole: Mapping[str, TensorEntry], folder: Path) -> int | None:
    heights = {entry.height for module, entry in whole.items() if is_vocabulary(module)}
    for module, pair in pairs.items():
        if is_vocabulary(module):
            embeds = "lora_embedding" in pair["A"].name
            heights.add(pair["A"].shape[-1] if embeds else pair["B"].height)
    if len(heights) > 1:
        raise UserError(f"the adapter stores embeddings of {' and '.join(map(str, sorted(heights)))} rows", str(folder))
    return heights.pop() if heights else None


def _last_names(modules: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({module.rpartition(".")[2] for module in modules}))
