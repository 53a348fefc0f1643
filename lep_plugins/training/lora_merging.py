"""An adapter merged into the model it was trained on, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from darumeru.models.checkpoint import Checkpoint, open_checkpoint
from darumeru.models.checkpoint_read import float_dtype
from darumeru.models.checkpoint_write import Replacement, write_checkpoint
from darumeru.models.weight_files import TensorEntry
from lep_plugins.propagation.lora import LoraDonor, open_adapter
from lep_plugins.propagation.rows import Rows, blocks

CHUNK_ROWS = 1024


def merge_adapter(model: Path, adapter_folder: Path, output: Path) -> Path:
    """Write `model` with the adapter's changes to `output`, atomically, and return it.

    Changed tensors are computed in float32 and cast once to their own dtype; every other tensor, the configs, the
    tokenizer and its chat template are those of the model. A tied model stays tied: an adapter that trained its one
    matrix changes that. UserError: the adapter does not fit, or trains head or embedding of a tied model apart.
    """
    source, adapter = open_checkpoint(model), open_adapter(adapter_folder)
    if source.tied and _touches_vocabulary(adapter, source):
        adapter.require_tied(source)
    changed = {}
    for name in adapter.changed:
        if source.tied and name in adapter.heads():
            continue
        stored = source.entry(name)
        changed[name] = _replacement(adapter.rows(name, source), stored)
    write_checkpoint(source, output, changed, dropped=source.vocabulary.copies)
    return output


def _touches_vocabulary(adapter: LoraDonor, source: Checkpoint) -> bool:
    return bool(adapter.heads()) or source.embedding_name in adapter.changed


def _replacement(rows: Rows, stored: TensorEntry) -> Replacement:
    dtype = float_dtype(stored)

    def chunks() -> Iterator[torch.Tensor]:
        return (rows.read(*block).to(dtype) for block in blocks(rows.height, CHUNK_ROWS))

    return Replacement(stored.shape, stored.dtype, chunks)
