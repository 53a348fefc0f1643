"""Orthogonal matching pursuit (arXiv:2506.06607): a new row is a sparse signed combination of the rows of shared
tokens.

The coefficients are found where both the new tokens and the shared ones have rows: in the embeddings of a donor, when
the new tokenizer's folder is a model, and otherwise in the old embeddings, with the sub-token mean as the row of a new
token. They are then applied to the old rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from darumeru.core.errors import UserError
from darumeru.models.checkpoint import open_checkpoint
from lep_plugins.conversion import Origin
from lep_plugins.initialization.rows import Fresh, Ids, OldRows, weighted_rows
from lep_plugins.initialization.task import Task

ATOMS, POOL = 64, 128
"""Shared tokens in a combination (the paper's k); shared tokens among which they are sought, nearest first."""

BLOCK, CHUNK, RIDGE = 8192, 64, 1e-6


def omp(task: Task) -> dict[str, Fresh]:
    """The same sparse weights for each matrix. UserError: the vocabularies share no token; a donor whose embeddings do
    not fit its tokenizer."""
    weights = sparse_weights(task)
    return {old.name: weighted_rows(old, weights) for old in task.matrices}


@dataclass(frozen=True)
class _Space:
    """Where coefficients are found. wanted: rows of MEAN ids on demand; anchors: m x d rows of the shared tokens."""

    wanted: Fresh
    anchors: torch.Tensor


def sparse_weights(task: Task, atoms: int = ATOMS, pool: int = POOL) -> Any:
    """scipy CSR, rows_new x rows_old, float64: at most `atoms` coefficients in the row of each MEAN id."""
    from scipy.sparse import csr_matrix

    conversion = task.conversion
    shared_new, shared_old = conversion.one_hot(Origin.COPIED)
    if not len(shared_new):
        raise UserError("the two vocabularies share no token", where="--method omp", mend="use --method mean")
    space = _space(task, shared_new, shared_old)
    ids = conversion.ids(Origin.MEAN)
    rows, columns, values = [], [], []
    for start in range(0, len(ids), CHUNK * 16):
        part = ids[start : start + CHUNK * 16]
        wanted = space.wanted(part)
        nearest = _nearest(wanted, space.anchors, min(pool, len(shared_new)))
        for first in range(0, len(part), CHUNK):
            batch = slice(first, first + CHUNK)
            chosen, found = pursuit(wanted[batch], space.anchors[nearest[batch]].float(), atoms)
            rows.append(np.repeat(part[batch], chosen.shape[1]))
            columns.append(shared_old[nearest[batch].gather(1, chosen).numpy().ravel()])
            values.append(found.numpy().ravel())
    shape = (conversion.rows_new, conversion.rows_old)
    if not rows:
        return csr_matrix(shape)
    return csr_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=shape)


def _space(task: Task, shared_new: Ids, shared_old: Ids) -> _Space:
    old = task.matrices[0]
    files = ("model.safetensors", "model.safetensors.index.json")
    if not any((task.new_folder / name).is_file() for name in files):
        return _Space(weighted_rows(old, task.conversion.matrix), old.gather(shared_old))
    checkpoint = open_checkpoint(task.new_folder)
    if checkpoint.vocab_rows <= int(shared_new.max(initial=0)):
        raise UserError("fewer embedding rows than token ids", where=str(task.new_folder))
    tokens: npt.NDArray[np.int64] = np.arange(checkpoint.vocab_rows)
    donor = OldRows(checkpoint, checkpoint.embedding_name, tokens)
    return _Space(lambda ids: donor.gather(ids).float(), donor.gather(shared_new))


def _nearest(wanted: torch.Tensor, anchors: torch.Tensor, count: int) -> torch.Tensor:
    """The `count` anchors with the largest absolute cosine, best first: int64, n x count. By blocks of anchors."""
    best = torch.empty(len(wanted), 0)
    where = torch.empty(len(wanted), 0, dtype=torch.int64)
    for start in range(0, len(anchors), BLOCK):
        block = torch.nn.functional.normalize(anchors[start : start + BLOCK].float(), dim=1)
        likeness = (wanted @ block.T).abs()
        places = torch.arange(start, start + len(block)).expand(len(wanted), -1)
        best, where = torch.cat([best, likeness], dim=1), torch.cat([where, places], dim=1)
        best, order = best.topk(min(count, best.shape[1]), dim=1)
        where = where.gather(1, order)
    return where


def pursuit(wanted: torch.Tensor, atoms: torch.Tensor, most: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Orthogonal matching pursuit for a batch.

    wanted: n x d, float32. atoms: n x p x d, float32, each row's own dictionary. most: atoms to choose. Returns the
    chosen positions (int64, n x k) and coefficients for the atoms as given (float64, n x k), k = min(most, p, d).
    """
    lengths = atoms.norm(dim=2).clamp(min=1e-12)
    unit = atoms / lengths.unsqueeze(2)
    gram = (unit @ unit.transpose(1, 2)).double()
    towards = (unit @ wanted.unsqueeze(2)).squeeze(2).double()
    count = min(most, atoms.shape[1], atoms.shape[2])
    every = torch.arange(len(wanted))
    # Gram-Schmidt among the chosen atoms, seen only through products with the dictionary: directions[:, s] holds those
    # of the s-th direction, rest those of what is left of the row.
    directions = torch.zeros(len(wanted), count, atoms.shape[1], dtype=torch.float64)
    chosen = torch.empty(len(wanted), count, dtype=torch.int64)
    rest, free = towards.clone(), torch.ones_like(towards, dtype=torch.bool)
    for step in range(count):
        atom = rest.abs().masked_fill(~free, -1.0).argmax(dim=1)
        chosen[:, step], free[every, atom] = atom, False
        known = directions[every, :step, atom].unsqueeze(1)
        direction = gram[every, atom] - (known @ directions[:, :step]).squeeze(1)
        length = (direction[every, atom].clamp(min=0) + RIDGE).sqrt().unsqueeze(1)
        directions[:, step] = direction / length
        rest -= rest[every, atom].unsqueeze(1) / length * directions[:, step]
    among = gram.gather(1, chosen.unsqueeze(2).expand(-1, -1, gram.shape[2]))
    among = among.gather(2, chosen.unsqueeze(1).expand(-1, count, -1)) + RIDGE * torch.eye(count, dtype=torch.float64)
    coefficients = torch.linalg.solve(among, towards.gather(1, chosen))
    return chosen, coefficients / lengths.gather(1, chosen).double()
