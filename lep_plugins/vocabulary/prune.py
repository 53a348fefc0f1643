"""Leaf-frequency pruning: remove only tokens that no surviving merge needs, least frequent first."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import numpy.typing as npt

from darumeru.core.errors import UserError
from lep_plugins.vocabulary.description import Description, Merge

BATCH = 256


def count_tokens(description: Description, texts: Iterable[str]) -> npt.NDArray[np.int64]:
    """How often each token id occurs in the texts; int64, one entry per id."""
    tokenizer = description.build()
    tokenizer.no_truncation()
    tokenizer.no_padding()
    counts = np.zeros(max(description.vocab.values()) + 1, dtype=np.int64)
    stream: Iterator[str] = iter(texts)
    while batch := list(islice(stream, BATCH)):
        for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            counts += np.bincount(np.asarray(encoding.ids, dtype=np.int64), minlength=len(counts))
    return counts


def protected_pieces(description: Description) -> set[str]:
    """Added tokens, the unknown token and single bytes; single characters too where there is no byte fallback."""
    table = description.table
    kept = set(table.added) | set(table.special_ids)
    kept |= {piece for token_id in table.byte_pieces.values() if (piece := table.pieces[token_id]) is not None}
    if not table.byte_pieces:
        kept |= {piece for piece in description.vocab if len(piece) == 1}
    return kept


def prune(
    description: Description, counts: npt.NDArray[np.int64], keep: int | None = None, min_count: int = 0
) -> Description:
    """`description` without its least frequent leaves; ids become contiguous in the old order.

    keep: tokens to keep, specials included; None removes every leaf that occurs fewer than `min_count` times. A
    removed token's occurrences pass to the two tokens that it was made of. UserError: `keep` is not smaller than
    the vocabulary, or smaller than what must stay.
    """
    vocab = description.vocab
    if keep is not None and not 0 < keep < len(vocab):
        raise UserError(f"cannot keep {keep} of {len(vocab)} tokens", mend=f"give a number below {len(vocab)}")
    made_by: dict[str, list[Merge]] = defaultdict(list)
    users: dict[str, int] = defaultdict(int)
    for left, right in description.merges:
        made_by[left + right].append((left, right))
        for part in (left, right):
            users[part] += 1
    protected = protected_pieces(description)
    count = {piece: int(counts[token_id]) for piece, token_id in vocab.items()}
    heap = [
        (count[piece], -token_id, piece)
        for piece, token_id in vocab.items()
        if piece not in protected and users[piece] == 0
    ]
    heapq.heapify(heap)
    alive = set(vocab)
    while heap and (keep is None or len(alive) > keep):
        occurrences, order, piece = heapq.heappop(heap)
        if occurrences != count[piece]:
            heapq.heappush(heap, (count[piece], order, piece))
            continue
        if keep is None and occurrences >= min_count:
            break
        alive.remove(piece)
        for position, (left, right) in enumerate(made_by[piece]):
            for part in (left, right):
                users[part] -= 1
                if position == 0:
                    count[part] += occurrences
                if users[part] == 0 and part not in protected and part in alive:
                    heapq.heappush(heap, (count[part], -vocab[part], part))
    if keep is not None and len(alive) > keep:
        raise UserError(f"cannot keep {keep} tokens: {len(alive)} must stay", mend="bytes and specials are protected")
    return _restricted(description, alive)


def _restricted(description: Description, alive: set[str]) -> Description:
    """The description with only these pieces, ids contiguous in the old order."""
    ordered = sorted(alive, key=description.vocab.__getitem__)
    if description.model == "Unigram":
        scores = description.scores
        unknown_id = description.data["model"]["unk_id"]
        unknown = None if unknown_id is None else description.table.pieces[unknown_id]
        return description.with_unigram([(piece, scores.get(piece, 0.0)) for piece in ordered], unknown)
    merges = [merge for merge in description.merges if merge[0] + merge[1] in alive]
    return description.with_bpe({piece: position for position, piece in enumerate(ordered)}, merges)
