"""ZeTT (arXiv:2405.07883): rows written by a trained hypernetwork that reads the old pieces of each new token.

The published hypernetworks are Flax checkpoints whose network is code of their own and which no library builds; no such
code is part of this project. What is taken is the network as one program, exported by `torch.export.save` where it was
trained: f(pieces, mask) -> input rows, or (input rows, output rows) for a model whose head is not tied. pieces:
n x PIECES x d, the old input rows of the token's sub-tokens, float32; mask: n x PIECES, bool; n is CHUNK.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from darumeru.core.errors import UserError
from lep_plugins.initialization.rows import Fresh, Ids, OldRows
from lep_plugins.initialization.task import Task

PIECES = 7
"""Sub-tokens that the hypernetwork reads; of a longer token the first ones (as in the paper)."""

CHUNK = 256
"""Tokens that the program is given at a time, always: those of the last call that are too many are masked."""

EXPORT = "export it with torch.export.save as docs/adaptation.md describes"


def zett(task: Task) -> dict[str, Fresh]:
    """Rows of each matrix. UserError: no hypernetwork, one that is no exported program, or does not fit the model."""
    hypernet = task.options.hypernet
    if hypernet is None:
        mend = f"give --hypernet FILE, trained for this very base model: {EXPORT}"
        raise UserError("zett needs a trained hypernetwork; it is not trained here", "--method zett", mend)
    network = _program(Path(hypernet))
    old = task.matrices[0]
    rows = {one.name: _rows(task, old, network, place) for place, one in enumerate(task.matrices)}
    for fresh in rows.values():
        _check(fresh, old, hypernet)
    return rows


def _program(path: Path) -> Callable[..., Any]:
    if path.is_dir() or path.suffix in (".msgpack", ".safetensors", ".bin"):
        raise UserError(
            "weights without a program: the network that they belong to is not part of this", str(path), EXPORT
        )
    if not path.is_file():
        raise UserError("no such hypernetwork", str(path))
    try:
        module: Callable[..., Any] = torch.export.load(str(path)).module()
    except Exception as error:  # the reader raises what it meets: of zip, pickle, its own schema
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise UserError(f"not an exported program: {reason}", str(path), EXPORT) from None
    return module


def _rows(task: Task, old: OldRows, network: Callable[..., Any], place: int) -> Fresh:
    def fresh(ids: Ids) -> torch.Tensor:
        return torch.cat([_made(part) for part in np.split(ids, range(CHUNK, len(ids), CHUNK))])

    def _made(ids: Ids) -> torch.Tensor:
        pieces, mask = torch.zeros(CHUNK, PIECES, old.width), torch.zeros(CHUNK, PIECES, dtype=torch.bool)
        for row, token_id in enumerate(ids):
            sources = np.array(task.conversion.sources(int(token_id))[:PIECES], dtype=np.int64)
            pieces[row, : len(sources)], mask[row, : len(sources)] = old.gather(sources).float(), True
        with torch.no_grad():
            made = network(pieces, mask)
        both = made if isinstance(made, tuple | list) else (made,)
        if len(both) <= place:
            raise UserError("the hypernetwork writes input rows alone, and the head is not tied", "--hypernet")
        return torch.as_tensor(both[place]).float()[: len(ids)]

    return fresh


def _check(fresh: Fresh, old: OldRows, hypernet: str) -> None:
    """UserError unless a row comes out as it should."""
    try:
        made = fresh(np.zeros(1, dtype=np.int64))
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise UserError(f"does not take {PIECES} pieces of {old.width}: {reason}", hypernet, EXPORT) from None
    if made.shape != (1, old.width) or not torch.isfinite(made).all():
        what = f"gives {tuple(made.shape[1:])} numbers for a row of {old.width}, or none that are finite"
        raise UserError(what, hypernet, "it was trained for another model")
