"""Constrained word2vec (arXiv:2407.05841): a new row is a convex combination of old rows whose weights are learnt from
text by skip-gram with negative sampling, so it never leaves the convex hull of the old embeddings.

A full weight matrix would have V_new x V_old entries. Here a token may draw on its sub-tokens and on the old tokens
that occur inside its bytes, and the weights are learnt in a random projection of the old rows; they are then applied
to the rows themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from darumeru.models.token_bytes import TokenTable
from lep_plugins.conversion import ConversionMatrix, Origin
from lep_plugins.initialization.rows import Fresh, Ids, OldRows, weighted_rows
from lep_plugins.initialization.task import Task

SUPPORT, SHARE = 24, 0.9
WIDTH, WINDOW, NEGATIVES = 64, 5, 5
BATCH, STEPS, RATE = 2048, 1500, 0.05


def cw2v(task: Task) -> dict[str, Fresh]:
    """The same convex weights for each matrix. UserError: no corpus to learn from."""
    task.text("cw2v")
    weights = convex_weights(task)
    return {old.name: weighted_rows(old, weights) for old in task.matrices}


def convex_weights(task: Task) -> Any:
    """scipy CSR, rows_new x rows_old, float64: non-negative rows that sum to 1 for MEAN ids (one-hot rows as in T)."""
    from scipy.sparse import csr_matrix
    from scipy.special import softmax

    candidates = _candidates(task.conversion, task.old, task.new)
    logits = np.where(candidates.mask, _learnt(task, candidates), -np.inf)
    rows = np.flatnonzero(candidates.mask.any(axis=1))
    weights = np.zeros(logits.shape)
    weights[rows] = softmax(logits[rows].astype(np.float64), axis=1)
    places, columns = np.nonzero(candidates.mask)
    values = weights[places, columns]
    shape = (task.conversion.rows_new, task.conversion.rows_old)
    return csr_matrix((values, (places, candidates.ids[places, columns])), shape=shape)


@dataclass(frozen=True)
class _Candidates:
    """The old tokens that each new one may draw on. ids: int64, rows_new x SUPPORT; mask: which of them count;
    prior: log-weights to start from: the sub-tokens share SHARE, the others the rest."""

    ids: npt.NDArray[np.int64]
    mask: npt.NDArray[np.bool_]
    prior: npt.NDArray[np.float32]


def _candidates(conversion: ConversionMatrix, old: TokenTable, new: TokenTable) -> _Candidates:
    ids = np.zeros((conversion.rows_new, SUPPORT), dtype=np.int64)
    mask = np.zeros(ids.shape, dtype=bool)
    prior = np.zeros(ids.shape, dtype=np.float32)
    for token_id in np.flatnonzero(np.diff(conversion.indptr)):
        parts = conversion.sources(int(token_id))
        own = list(dict.fromkeys(parts))[:SUPPORT]
        token = new.tokens[token_id] if conversion.origins[token_id] == Origin.MEAN else None
        inside = _inside(token, old, set(own))[: SUPPORT - len(own)] if isinstance(token, bytes) else []
        ids[token_id, : len(own) + len(inside)] = own + inside
        mask[token_id, : len(own) + len(inside)] = True
        for position, number in enumerate(own):
            prior[token_id, position] = np.log((SHARE if inside else 1.0) * parts.count(number) / len(parts))
        prior[token_id, len(own) : len(own) + len(inside)] = np.log((1 - SHARE) / max(1, len(inside)))
    return _Candidates(ids, mask, prior)


def _inside(token: bytes, old: TokenTable, known: set[int]) -> list[int]:
    """Old tokens of at least two characters that occur inside `token`, longest first, without the `known` ones."""
    text = token.decode("utf-8", "surrogateescape")
    spans = [(start, stop) for start in range(len(text)) for stop in range(start + 2, len(text) + 1)]
    spans.sort(key=lambda span: span[0] - span[1])
    parts = (text[start:stop].encode("utf-8", "surrogateescape") for start, stop in spans)
    found = dict.fromkeys(old.ids_by_bytes.get(part) for part in parts)
    return [number for number in found if number is not None and number not in known]


def _learnt(task: Task, candidates: _Candidates) -> npt.NDArray[np.float32]:
    """Log-weights after skip-gram with negative sampling; tokens that the text lacks keep the prior."""
    generator = torch.Generator().manual_seed(task.seed)
    table = _projected(task.matrices[0], candidates, generator)
    support, mask = torch.from_numpy(candidates.ids), torch.from_numpy(candidates.mask)
    logits = torch.nn.Parameter(torch.from_numpy(candidates.prior.copy()))
    contexts = torch.nn.Parameter(torch.zeros(len(support), table.shape[1]))
    optimizer = torch.optim.Adam([logits, contexts], lr=RATE)
    frequency = torch.zeros(len(support))
    for centres, around in islice(_pairs(task, generator), STEPS):
        frequency += torch.bincount(around, minlength=len(support))
        others = torch.multinomial(frequency**0.75, NEGATIVES * len(centres), True, generator=generator)
        weights = torch.softmax(logits[centres].masked_fill(~mask[centres], -torch.inf), dim=1)
        vectors = (weights.unsqueeze(2) * table[support[centres]]).sum(dim=1)
        near = (vectors * contexts[around]).sum(dim=1)
        far = (vectors.unsqueeze(1) * contexts[others.view(len(centres), NEGATIVES)]).sum(dim=2)
        loss = -torch.nn.functional.logsigmoid(near).mean() - torch.nn.functional.logsigmoid(-far).sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return np.asarray(logits.detach().numpy(), dtype=np.float32)


def _projected(old: OldRows, candidates: _Candidates, generator: torch.Generator) -> torch.Tensor:
    """Old rows in at most WIDTH random directions, scaled to a mean norm of 1; rows that nobody draws on are 0."""
    used: Ids = np.unique(candidates.ids[candidates.mask])
    width = min(WIDTH, old.width)
    directions, _ = torch.linalg.qr(torch.randn(old.width, width, generator=generator))
    table = torch.zeros(old.checkpoint.vocab_rows, width)
    for start in range(0, len(used), BATCH):
        ids = used[start : start + BATCH]
        table[torch.from_numpy(ids)] = old.gather(ids).float() @ directions
    return table / table[torch.from_numpy(used)].norm(dim=1).mean().clamp(min=1e-12)


def _pairs(task: Task, generator: torch.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(centre ids, context ids) in batches, the contexts at a random distance of at most WINDOW, either side."""
    centres: list[torch.Tensor] = []
    contexts: list[torch.Tensor] = []
    waiting = 0
    known = torch.from_numpy(np.diff(task.conversion.indptr) > 0)
    for text in task.text("cw2v").texts():
        ids = torch.tensor(task.new_tokenizer.encode(text, add_special_tokens=False).ids, dtype=torch.int64)
        for distance in range(1, WINDOW + 1):
            left, right = ids[:-distance], ids[distance:]
            for centre, context in ((left, right), (right, left)):
                keep = (torch.rand(len(centre), generator=generator) < 1 / distance) & known[centre]
                centres.append(centre[keep])
                contexts.append(context[keep])
                waiting += int(keep.sum())
        if waiting >= BATCH:
            yield from _shuffled(torch.cat(centres), torch.cat(contexts), generator)
            centres, contexts, waiting = [], [], 0
    if waiting:
        yield from _shuffled(torch.cat(centres), torch.cat(contexts), generator)


def _shuffled(
    centres: torch.Tensor, contexts: torch.Tensor, generator: torch.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    order = torch.randperm(len(centres), generator=generator)
    for part in order.split(BATCH):
        yield centres[part], contexts[part]
