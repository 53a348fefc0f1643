"""Optimization: shrink the old vocabulary to the tokens that matter on a mixed corpus, then extend it
(arXiv:2412.21140: LLaMA-3's most frequent half, 64,000, and the most frequent new tokens make 114,504)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from darumeru.core.errors import UserError
from lep_plugins.vocabulary.description import Description
from lep_plugins.vocabulary.extend import extend
from lep_plugins.vocabulary.prune import count_tokens, prune
from lep_plugins.vocabulary.script import Script


def optimize(
    old: Description,
    texts: Callable[[], Iterable[str]],
    size: int,
    keep: int | None = None,
    script: Script = "cyrillic",
    min_frequency: int = 2,
) -> Description:
    """`old` shrunk to its `keep` most frequent tokens (half by default), then extended to `size`.

    texts: opens the corpus anew for each of two passes. UserError: not a BPE tokenizer; `keep` out of range or not
    below `size`."""
    if old.model != "BPE":
        raise UserError(f"optimization extends BPE merges, and this tokenizer is {old.model}", mend="trim it instead")
    keep = len(old.vocab) // 2 if keep is None else keep
    if keep >= size:
        raise UserError(f"{keep} tokens are kept, so the size must be larger", where=f"--size {size}")
    kept = prune(old, count_tokens(old, texts()), keep)
    return extend(kept, texts(), size, script, min_frequency)
