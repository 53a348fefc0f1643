"""An opened model folder: what it holds, and lazy reading of its tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from darumeru.core.errors import UserError, near_names
from darumeru.models import checkpoint_read
from darumeru.models.checkpoint_names import VocabularyTensors, embedding_scales, find_vocabulary_tensors
from darumeru.models.checkpoint_read import CHUNK_BYTES, check_finite
from darumeru.models.config_file import judge_config
from darumeru.models.files import DAMAGED, near_folders, read_json, shown
from darumeru.models.weight_files import INDEX, Shard, TensorEntry, read_shards


@dataclass(frozen=True)
class Checkpoint:
    """An opened model folder. config: config.json. shards: its safetensors files."""

    path: Path
    config: Mapping[str, Any]
    shards: tuple[Shard, ...]

    @property
    def sharded(self) -> bool:
        """Whether an index joins the files."""
        return (self.path / INDEX).is_file()

    def require_indexed(self) -> None:
        """UserError when the index, if there is one, leaves out a tensor of its files or places it elsewhere."""
        if not self.sharded:
            return
        index = self.path / INDEX
        places = read_json(index)["weight_map"]
        for shard in self.shards:
            for entry in shard.tensors:
                if places.get(entry.name) != shard.file.name:
                    what = f"index and files disagree about tensor {shown(entry.name)}"
                    raise UserError(what, str(index), DAMAGED)

    @cached_property
    def tensors(self) -> dict[str, TensorEntry]:
        """Every tensor by name."""
        return {entry.name: entry for shard in self.shards for entry in shard.tensors}

    @cached_property
    def vocabulary(self) -> VocabularyTensors:
        """The names of embedding and head (see checkpoint_names)."""
        return find_vocabulary_tensors(self.config, self.tensors, str(self.path))

    @property
    def embedding_name(self) -> str:
        return self.vocabulary.embedding

    @property
    def head_name(self) -> str | None:
        """None when the head is tied to the embedding."""
        return self.vocabulary.head

    @property
    def tied(self) -> bool:
        return self.vocabulary.tied

    @property
    def vocab_rows(self) -> int:
        """Rows of the embedding matrix (the vocabulary with its padding rows)."""
        return self.tensors[self.embedding_name].shape[0]

    @property
    def hidden_size(self) -> int:
        """Columns of the embedding matrix."""
        return self.tensors[self.embedding_name].shape[1]

    @property
    def architecture(self) -> str:
        """The class named in config.json, for example LlamaForCausalLM."""
        names = self.config.get("architectures") or [self.config.get("model_type", "unknown")]
        return str(names[0])

    @property
    def scales(self) -> dict[str, float]:
        """Factors the architecture applies to embeddings or logits, by config field."""
        return embedding_scales(self.config)

    def entry(self, name: str) -> TensorEntry:
        """A tensor's place. UserError when there is none of that name."""
        if name not in self.tensors:
            raise UserError(f"no tensor {name}", str(self.path), near=near_names(name, self.tensors))
        return self.tensors[name]

    def rows(self, name: str, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """Rows [start, stop) of a tensor, all by default."""
        entry = self.entry(name)
        return checkpoint_read.read_rows(entry, start, entry.height if stop is None else stop)

    def chunks(
        self, name: str, chunk_bytes: int = CHUNK_BYTES, finite: bool = False
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """All rows in order as (first row, rows). finite: UserError at the first NaN or infinity."""
        for start, rows in checkpoint_read.row_chunks(self.entry(name), chunk_bytes):
            if finite:
                check_finite(rows, f"{self.path}: {name}", np.arange(start, start + len(rows)))
            yield start, rows

    def gather(
        self,
        name: str,
        ids: np.ndarray[Any, np.dtype[np.int64]],
        dtype: torch.dtype | None = None,
        finite: bool = False,
    ) -> torch.Tensor:
        """The rows `ids` (ascending), len(ids) x columns, in `dtype` (the tensor's own by default)."""
        rows = checkpoint_read.gather_rows(self.entry(name), ids, dtype)
        if finite:
            check_finite(rows, f"{self.path}: {name}", ids)
        return rows


def open_checkpoint(path: Path | str) -> Checkpoint:
    """Open a model folder, reading config.json and safetensors headers only.

    UserError: no such folder, no safetensors, missing, truncated or corrupted files, an index that does not fit.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise UserError("no such model folder", str(folder), near=near_folders(folder))
    shards = read_shards(folder)
    config = read_json(folder / "config.json")
    judge_config(config, folder / "config.json")
    checkpoint = Checkpoint(folder, config, shards)
    checkpoint.require_indexed()
    return checkpoint
