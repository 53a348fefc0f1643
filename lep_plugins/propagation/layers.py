"""Layers of the result where they are not simply the target's: chat vectors and the layer parts of adapters."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from darumeru.core.errors import UserError
from darumeru.models.checkpoint_read import CHUNK_BYTES, FLOAT_DTYPES, check_finite, read_rows
from darumeru.models.checkpoint_write import Replacement
from darumeru.models.weight_files import TensorEntry
from lep_plugins.propagation.models import Trio
from lep_plugins.propagation.rows import blocks


def difference_layers(trio: Trio) -> dict[str, Replacement]:
    """donor + (target - base) for every floating-point tensor but the vocabulary's, by tensor name.

    UserError: an adapter as donor, a tensor that base or donor lacks or has in another shape.
    """
    if trio.donor.adapter:
        raise UserError("chat_vector needs a whole donor, not an adapter", str(trio.donor.path), "merge the adapter")
    vocabulary = trio.target.checkpoint.vocabulary
    own = {vocabulary.embedding, vocabulary.head, *vocabulary.copies}
    found = {}
    for name, entry in trio.target.checkpoint.tensors.items():
        if name in own or entry.dtype not in FLOAT_DTYPES:
            continue
        others = [model.checkpoint.entry(name) for model in (trio.base, trio.donor)]
        for other in others:
            if other.shape != entry.shape:
                text = f"tensor {name} is {list(other.shape)} here and {list(entry.shape)} in the target"
                raise UserError(text, str(other.file))
        found[name] = _difference(entry, *others)
    return found


def _difference(target: TensorEntry, base: TensorEntry, donor: TensorEntry) -> Replacement:
    dtype = FLOAT_DTYPES[target.dtype]
    wide = torch.float64 if dtype == torch.float64 else torch.float32

    def chunks() -> Iterator[torch.Tensor]:
        for start, stop in blocks(target.height, max(1, CHUNK_BYTES // max(1, target.row_bytes))):
            rows = [read_rows(entry, start, stop).to(wide) for entry in (donor, target, base)]
            changed = (rows[0] + (rows[1] - rows[2])).to(dtype)
            check_finite(changed, target.name, np.arange(start, stop))
            yield changed

    return Replacement(target.shape, target.dtype, chunks)
