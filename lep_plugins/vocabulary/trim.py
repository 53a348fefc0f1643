"""Trimming alone: drop what a target-language corpus never uses (arXiv:2305.15020)."""

from __future__ import annotations

from collections.abc import Iterable

from lep_plugins.vocabulary.description import Description
from lep_plugins.vocabulary.prune import count_tokens, prune


def trim(old: Description, texts: Iterable[str], min_count: int = 1) -> Description:
    """`old` without the tokens that occur fewer than `min_count` times and that no other token needs.

    With min_count 1 the corpus is tokenized exactly as before. Bytes and special tokens stay."""
    return prune(old, count_tokens(old, texts), min_count=min_count)
