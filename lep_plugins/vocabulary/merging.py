"""Continued BPE: count adjacent pairs in words that the old merges have already segmented, merge the most frequent
pair, repeat (arXiv:2512.03989)."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

Pair = tuple[int, int]


class Merging:
    """The state of a continued BPE training.

    words: segments of each distinct word, as symbol numbers; a negative number joins with nothing. counts: how often
    each word occurs. symbols: bytes of each symbol number; merged symbols are appended. taken: byte strings that no
    merge may make. allowed: whether two byte strings may be joined. Ties go to the pair whose bytes come first, so
    the result depends neither on hashing nor on the order of words.
    """

    def __init__(
        self,
        words: Sequence[Sequence[int]],
        counts: Sequence[int],
        symbols: Sequence[bytes],
        taken: set[bytes],
        allowed: Callable[[bytes, bytes], bool],
    ) -> None:
        self.words = [list(word) for word in words]
        self.counts = counts
        self.symbols = list(symbols)
        self.taken = set(taken)
        self._allowed = allowed
        self._may: dict[Pair, bool] = {}
        self._pairs: dict[Pair, int] = defaultdict(int)
        self._where: dict[Pair, set[int]] = defaultdict(set)
        for number, word in enumerate(self.words):
            for pair in pairwise(word):
                self._add(pair, self.counts[number], number)
        self._heap = [self._entry(pair) for pair in self._pairs]
        heapq.heapify(self._heap)

    def _joinable(self, pair: Pair) -> bool:
        """A result that the vocabulary already has is refused: with a second way to make an old token, old merges
        could fire after new ones and some words would need more tokens than before."""
        known = self._may.get(pair)
        if known is None and min(pair) < 0:
            known = self._may[pair] = False
        if known is None:
            left, right = self.symbols[pair[0]], self.symbols[pair[1]]
            known = self._may[pair] = left + right not in self.taken and self._allowed(left, right)
        return known

    def _add(self, pair: Pair, count: int, word: int) -> None:
        if self._joinable(pair):
            self._pairs[pair] += count
            self._where[pair].add(word)

    def _entry(self, pair: Pair) -> tuple[int, bytes, bytes, Pair]:
        return -self._pairs[pair], self.symbols[pair[0]], self.symbols[pair[1]], pair

    def run(self, limit: int, min_frequency: int) -> Iterator[Pair]:
        """Up to `limit` merges as pairs of symbol numbers; the n-th makes symbol number len(symbols) + n. Ends early
        when no pair occurs `min_frequency` times."""
        made = 0
        while made < limit and self._heap:
            entry = heapq.heappop(self._heap)
            pair = entry[-1]
            if pair not in self._pairs:
                continue
            result = self.symbols[pair[0]] + self.symbols[pair[1]]
            if result in self.taken:
                del self._pairs[pair], self._where[pair]
                continue
            if -entry[0] != self._pairs[pair]:
                heapq.heappush(self._heap, self._entry(pair))
                continue
            if self._pairs[pair] < min_frequency:
                return
            self._merge(pair, result)
            made += 1
            yield pair

    def _merge(self, pair: Pair, result: bytes) -> None:
        new = len(self.symbols)
        self.symbols.append(result)
        self.taken.add(result)
        touched: set[Pair] = set()
        for number in self._where.pop(pair):
            word, count = self.words[number], self.counts[number]
            merged: list[int] = []
            position = 0
            while position < len(word):
                if position + 1 < len(word) and (word[position], word[position + 1]) == pair:
                    merged.append(new)
                    position += 2
                else:
                    merged.append(word[position])
                    position += 1
            for old_pair in pairwise(word):
                if old_pair in self._pairs:
                    self._pairs[old_pair] -= count
            for new_pair in pairwise(merged):
                self._add(new_pair, count, number)
                if new in new_pair and self._joinable(new_pair):
                    touched.add(new_pair)
            self.words[number] = merged
        del self._pairs[pair]
        for new_pair in touched:
            heapq.heappush(self._heap, self._entry(new_pair))
