"""Orthogonal matching pursuit (arXiv:2506.06607): a new row is a sparse signed combination of the rows of shared
tokens.

The coefficients are found where both the new tokens and the shared ones have rows: in the embeddings of a donor, when
the new tokenizer's folder is a model, and otherwise in the old embeddings, with the sub-token mean as the row of a new
token. They are then applied to the old rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from darumeru.core.errors import UserError
from darumeru.models.checkpoint import open_checkpoint
from lep_plugins.conversion import Origin
from lep_plugins.initialization.rows import Fresh, Ids, OldRows, weighted_rows
from lep_plugins.initialization.task import Task
from lep_plugins.propagation.changes import multiplies_bf16

ATOMS, POOL = 64, 128
"""Shared tokens in a combination (the paper's k); shared tokens among which they are sought, nearest first."""

BLOCK, CHUNK, TOGETHER, RIDGE = 8192, 64, 1024, 1e-6
"""Anchors in a product; new tokens whose dictionaries are in memory together; new tokens that are pursued together."""


def omp(task: Task) -> dict[str, Fresh]:
    """The same sparse weights for each matrix. UserError: the vocabularies share no token; a donor whose embeddings do
    not fit its tokenizer."""
    weights = sparse_weights(task)
    return {old.name: weighted_rows(old, weights) for old in task.matrices}


@dataclass(frozen=True)
class _Space:
    """Where coefficients are found. wanted: rows of MEAN ids on demand; anchors: m x d rows of the shared tokens, in
    the dtype on disk; lengths: m, float32, of the anchors."""

    wanted: Fresh
    anchors: torch.Tensor
    lengths: torch.Tensor

    @classmethod
    def of(cls, rows: OldRows, ids: Ids, wanted: Fresh) -> _Space:
        """The anchors are the rows `ids`. UserError: NaN or infinity in the row of any token."""
        lengths = rows.lengths[torch.from_numpy(ids)].clamp(min=1e-12)
        return cls(wanted, rows.gather(ids), lengths)

    def nearest(self, wanted: torch.Tensor, count: int) -> torch.Tensor:
        """The `count` anchors with the largest absolute cosine to each row, best first: int64, n x count. By blocks of
        anchors; in bfloat16 where they are stored so and the processor multiplies it: a pool need not be exact."""
        half = self.anchors.dtype == torch.bfloat16 and multiplies_bf16()
        given = wanted.to(torch.bfloat16 if half else torch.float32)
        best = torch.empty(len(wanted), 0, dtype=given.dtype)
        where = torch.empty(len(wanted), 0, dtype=torch.int64)
        for start in range(0, len(self.anchors), BLOCK):
            block = self.anchors[start : start + BLOCK].to(given.dtype)
            likeness = (given @ block.T).abs_().div_(self.lengths[start : start + BLOCK].to(given.dtype))
            found, places = likeness.topk(min(count, likeness.shape[1]), dim=1)
            best, where = torch.cat([best, found], dim=1), torch.cat([where, places + start], dim=1)
            best, order = best.topk(min(count, best.shape[1]), dim=1)
            where = where.gather(1, order)
        return where


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
    for start in range(0, len(ids), TOGETHER):
        part = ids[start : start + TOGETHER]
        wanted = space.wanted(part)
        nearest = space.nearest(wanted, min(pool, len(shared_new)))
        problems = [
            Problem.of(wanted[first : first + CHUNK], space.anchors[nearest[first : first + CHUNK]].float())
            for first in range(0, len(part), CHUNK)
        ]
        chosen, found = Problem.joined(problems).solved(min(atoms, space.anchors.shape[1]))
        rows.append(np.repeat(part, chosen.shape[1]))
        columns.append(shared_old[nearest.gather(1, chosen).numpy().ravel()])
        values.append(found.numpy().ravel())
    shape = (conversion.rows_new, conversion.rows_old)
    if not rows:
        return csr_matrix(shape)
    return csr_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=shape)


def _space(task: Task, shared_new: Ids, shared_old: Ids) -> _Space:
    old = task.matrices[0]
    files = ("model.safetensors", "model.safetensors.index.json")
    if not any((task.new_folder / name).is_file() for name in files):
        return _Space.of(old, shared_old, weighted_rows(old, task.conversion.matrix))
    checkpoint = open_checkpoint(task.new_folder)
    tokens = np.flatnonzero(task.conversion.origins != Origin.PADDING).astype(np.int64)
    if checkpoint.vocab_rows <= int(tokens.max(initial=0)):
        raise UserError("fewer embedding rows than token ids", where=str(task.new_folder))
    donor = OldRows(checkpoint, checkpoint.embedding_name, tokens)
    return _Space.of(donor, shared_new, lambda ids: donor.gather(ids).float())


@dataclass(frozen=True)
class Problem:
    """Rows to be put together of atoms, each of its own p atoms, by their products alone. gram: n x p x p, float32, of
    the atoms scaled to length one; towards: n x p, of these with the row; lengths: n x p, of the atoms."""

    gram: torch.Tensor
    towards: torch.Tensor
    lengths: torch.Tensor

    @classmethod
    def of(cls, wanted: torch.Tensor, atoms: torch.Tensor) -> Problem:
        """wanted: n x d, float32. atoms: n x p x d, float32."""
        gram = atoms @ atoms.transpose(1, 2)
        lengths = gram.diagonal(dim1=1, dim2=2).sqrt().clamp(min=1e-12)
        gram.div_(lengths.unsqueeze(2)).div_(lengths.unsqueeze(1))
        return cls(gram, (atoms @ wanted.unsqueeze(2)).squeeze(2) / lengths, lengths)

    @classmethod
    def joined(cls, parts: Sequence[Problem]) -> Problem:
        """Several problems as one."""
        named = ("gram", "towards", "lengths")
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in named))

    def solved(self, most: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Orthogonal matching pursuit: the chosen positions (int64, n x k) and coefficients for the atoms as given
        (float64, n x k), k = min(most, p). Gram-Schmidt among the chosen atoms, seen only through products with the
        dictionary: directions[:, s] holds those of the s-th direction, rest those of what is left of the row."""
        gram, rest = self.gram.double(), self.towards.double()
        count, every = min(most, gram.shape[1]), torch.arange(len(gram))
        directions = torch.zeros(len(gram), count, gram.shape[1], dtype=torch.float64)
        chosen = torch.empty(len(gram), count, dtype=torch.int64)
        free = torch.ones_like(rest, dtype=torch.bool)
        for step in range(count):
            atom = rest.abs().masked_fill(~free, -1.0).argmax(dim=1)
            chosen[:, step], free[every, atom] = atom, False
            known = directions[every, :step, atom].unsqueeze(1)
            direction = gram[every, atom] - (known @ directions[:, :step]).squeeze(1)
            length = (direction[every, atom].clamp(min=0) + RIDGE).sqrt().unsqueeze(1)
            directions[:, step] = direction / length
            rest -= rest[every, atom].unsqueeze(1) / length * directions[:, step]
        among = gram.gather(1, chosen.unsqueeze(2).expand(-1, -1, gram.shape[2]))
        among = among.gather(2, chosen.unsqueeze(1).expand(-1, count, -1))
        among += RIDGE * torch.eye(count, dtype=torch.float64)
        coefficients = torch.linalg.solve(among, self.towards.double().gather(1, chosen))
        return chosen, coefficients / self.lengths.gather(1, chosen).double()


def pursuit(wanted: torch.Tensor, atoms: torch.Tensor, most: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Orthogonal matching pursuit for a batch: positions and coefficients as `Problem.solved` has them, at most d.

    wanted: n x d, float32. atoms: n x p x d, float32, each row's own dictionary. most: atoms to choose."""
    return Problem.of(wanted, atoms).solved(min(most, atoms.shape[2]))
