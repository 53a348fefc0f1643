"""OFA (arXiv:2311.08849): new rows from the nearest old tokens in a space of word vectors of both languages, in the
coordinates of a low-rank factorization of the old rows.

E = F P by SVD; a new token's coordinates are the mean of those of its 10 nearest old tokens, weighted by the softmax of
cosines at temperature 0.1, and its row is coordinates x P: the product is multiplied out, so the architecture stays.
Shared tokens keep their rows whole. Tokens in no word of the file get coordinates from the normal distribution of
the old ones, each on its own.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from darumeru.core.errors import UserError
from lep_plugins.conversion import Origin
from lep_plugins.initialization.rows import Fresh, Ids, OldRows, weighted_rows
from lep_plugins.initialization.task import Task
from lep_plugins.initialization.word_vectors import Vectors, vectors_by_word

NEAREST, TEMPERATURE, CHUNK = 10, 0.1, 256


def ofa(task: Task) -> dict[str, Fresh]:
    """The same weights for each matrix, each with its own factorization. UserError: no vectors, a rank above d, no old
    token in the file's words."""
    if task.options.vectors is None:
        mend = "give --vectors FILE: aligned vectors of English and Russian words"
        raise UserError("ofa needs word vectors of both languages", "--method ofa", mend)
    width = task.matrices[0].width
    rank = task.options.rank or width
    if rank > width:
        raise UserError(f"rank {rank} is above the hidden size {width}", "--rank")
    conversion = task.conversion
    old_tokenizer = task.source.description.build()
    tokenizers = ((old_tokenizer, conversion.rows_old), (task.new_tokenizer, conversion.rows_new))
    old, new = vectors_by_word(Path(task.options.vectors), tokenizers)
    weights = nearest_weights(task, old, new)
    return {rows.name: _factored(rows, weights, rank, task.seed, place) for place, rows in enumerate(task.matrices)}


def nearest_weights(task: Task, old: Vectors, new: Vectors) -> Any:
    """scipy CSR, rows_new x rows_old: at most NEAREST weights in the row of each MEAN id that has a vector. old, new:
    vectors of the tokens of either vocabulary, of length one or zero."""
    from scipy.sparse import csr_matrix

    tokens = task.matrices[0].tokens
    known = tokens[(np.abs(old[tokens]).sum(axis=1) > 0) & task.matrices[0].trained(tokens).numpy()]
    if not len(known):
        raise UserError("no old token occurs in the words of the file", str(task.options.vectors))
    ids = task.conversion.ids(Origin.MEAN)
    made = ids[np.abs(new[ids]).sum(axis=1) > 0]
    task.say(f"{len(made):,} of {len(ids):,} new tokens occur in the words of the file, {len(known):,} old ones")
    anchors = torch.from_numpy(old[known])
    places, values = [], []
    for start in range(0, len(made), CHUNK):
        likeness = torch.from_numpy(new[made[start : start + CHUNK]]) @ anchors.T
        best = likeness.topk(min(NEAREST, len(known)), dim=1)
        places.append(best.indices.numpy())
        values.append(torch.softmax(best.values.double() / TEMPERATURE, dim=1).numpy())
    shape = (task.conversion.rows_new, task.conversion.rows_old)
    if not places:
        return csr_matrix(shape)
    columns, weights = np.concatenate(places), np.concatenate(values)
    rows = np.repeat(made, columns.shape[1])
    return csr_matrix((weights.ravel(), (rows, known[columns.ravel()])), shape=shape)


def _factored(old: OldRows, weights: Any, rank: int, seed: int, number: int) -> Fresh:
    whole = weighted_rows(old, weights)
    factors = cache(lambda: coordinates(old, rank))

    def fresh(ids: Ids) -> torch.Tensor:
        primitive, mean, spread = factors()
        inside = whole(ids) @ primitive.T
        for place in np.flatnonzero(np.diff(weights[ids].indptr) == 0):
            draw = np.random.default_rng([seed, number, int(ids[place])]).standard_normal(rank, dtype=np.float32)
            inside[int(place)] = mean + spread * torch.from_numpy(draw)
        return inside @ primitive

    return fresh


def coordinates(old: OldRows, rank: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(P, mean, spread): the first `rank` right singular vectors of the trained token rows, rank x d; mean and standard
    deviation of the rows' coordinates, float32."""
    gram = torch.zeros(old.width, old.width, dtype=torch.float64)
    count = 0
    for rows in old.chunks():
        gram += (rows.T @ rows).double()
        count += len(rows)
    values, vectors = torch.linalg.eigh(gram)
    primitive = vectors[:, -rank:].T.flip(0)
    mean = primitive @ old.mean.double()
    squares = values[-rank:].flip(0) / count
    spread = ((squares - mean**2).clamp(min=0) * count / max(1, count - 1)).sqrt()
    return primitive.float(), mean.float(), spread.float()
