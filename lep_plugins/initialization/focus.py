"""FOCUS (arXiv:2305.14481): a new row is a weighted mean of the rows of shared tokens, the weights the sparsemax of
cosines between static vectors of the new tokenizer's tokens.

The vectors are learnt from the corpus (`corpus_vectors`), or read from a file whose words are token ids. A token too
rare for a vector keeps the mean of its sub-tokens (in the paper: a random row).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from darumeru.core.errors import UserError
from lep_plugins.conversion import Origin
from lep_plugins.initialization.rows import Fresh, weighted_rows
from lep_plugins.initialization.task import Task
from lep_plugins.initialization.word_vectors import Vectors, corpus_vectors, vectors_by_id

CHUNK = 256


def focus(task: Task) -> dict[str, Fresh]:
    """The same weights for each matrix. UserError: neither corpus nor vectors; no shared token has a vector."""
    rows = task.conversion.rows_new
    if task.options.vectors is not None:
        vectors = vectors_by_id(Path(task.options.vectors), rows)
    else:
        vectors = corpus_vectors(task.text("focus").texts(), task.new_tokenizer, rows, task.seed)
    weights = similar_weights(task, vectors)
    return {old.name: weighted_rows(old, weights) for old in task.matrices}


def similar_weights(task: Task, vectors: Vectors) -> Any:
    """scipy CSR, rows_new x rows_old, float64: rows of MEAN ids with a vector hold sparsemax weights over the shared
    tokens that have one, the other rows T's. vectors: rows_new x width, of length one or zero."""
    from scipy.sparse import csr_matrix, vstack

    conversion = task.conversion
    has = np.abs(vectors).sum(axis=1) > 0
    shared_new, shared_old = conversion.one_hot(Origin.COPIED)
    usable = has[shared_new] & task.matrices[0].trained(shared_old).numpy()
    shared_new, shared_old = shared_new[usable], shared_old[usable]
    ids = conversion.ids(Origin.MEAN)
    made = ids[has[ids]]
    if not len(shared_new):
        raise UserError("no shared token has a vector", "--method focus", "more text, or --method mean")
    task.say(f"{len(made):,} of {len(ids):,} new tokens have vectors, so have {len(shared_new):,} shared tokens")
    anchors = torch.from_numpy(vectors[shared_new])
    rows, columns, values = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)], [np.empty(0)]
    for start in range(0, len(made), CHUNK):
        part = made[start : start + CHUNK]
        weights = sparsemax(torch.from_numpy(vectors[part]) @ anchors.T)
        at, to = (places.numpy() for places in torch.nonzero(weights, as_tuple=True))
        rows.append(part[at])
        columns.append(shared_old[to])
        values.append(weights[at, to].double().numpy())
    shape = (conversion.rows_new, conversion.rows_old)
    own = csr_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=shape)
    both = vstack([own, conversion.matrix]).tocsr()
    take = np.arange(conversion.rows_new) + np.where(np.isin(np.arange(conversion.rows_new), made), 0, shape[0])
    return both[take]


def sparsemax(scores: torch.Tensor) -> torch.Tensor:
    """The point of the simplex nearest to each row (Martins and Astudillo 2016): max(0, scores - tau), which sums to
    1. scores: n x m, float32. tau is found by Michelot's method, exact after finitely many rounds."""
    kept = torch.ones_like(scores, dtype=torch.bool)
    while True:
        tau = ((scores * kept).sum(dim=1, dtype=torch.float64) - 1) / kept.sum(dim=1)
        smaller = kept & (scores > tau.unsqueeze(1))
        if torch.equal(smaller, kept):
            return (scores.double() - tau.unsqueeze(1)).clamp(min=0).masked_fill(~kept, 0).to(scores.dtype)
        kept = smaller
