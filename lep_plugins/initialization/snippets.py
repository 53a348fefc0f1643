"""Places in a text corpus where new tokens occur, as old tokens around a phrase and as the new tokens of the phrase."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, processors

IntArray = npt.NDArray[np.int64]
TEXTS_AT_ONCE = 32


@dataclass(frozen=True)
class Snippet:
    """old: old ids of a window of text. begin, stop: the phrase within them. new: new ids of the phrase, of which
    `token` is one. Old and new segmentation of the whole text both end a token before and after the phrase, and
    nowhere both within it: in an extended vocabulary the phrase is the one token, in a substituted one about a word."""

    token: int
    old: IntArray
    begin: int
    stop: int
    new: IntArray


@dataclass(frozen=True)
class Segmentation:
    """A text in tokens. ids; starts, ends: places in the text, in characters; the parts of one character share its."""

    ids: IntArray
    starts: IntArray
    ends: IntArray

    @classmethod
    def of(cls, encoding: Any) -> Segmentation:
        places = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        return cls(np.array(encoding.ids, dtype=np.int64), places[:, 0], np.maximum.accumulate(places[:, 1]))

    def borders(self) -> IntArray:
        """Places that no token reaches across, ascending."""
        found = np.unique(self.ends)
        after = np.searchsorted(self.ends, found, side="right")
        following = np.append(self.starts, np.iinfo(np.int64).max)[after]
        return found[following >= found]

    def upto(self, place: int) -> int:
        """Tokens that end at `place` or before."""
        return int(np.searchsorted(self.ends, place, side="right"))


class SnippetSearch:
    """Searches texts for new tokens. wanted: bool by new id, what to look for; usable: bool by new id, what may stand
    in a phrase. most: snippets of a token, of which one text gives at most a quarter, or three. length: old tokens
    of a window, centred on the phrase."""

    def __init__(
        self, old: Any, new: Any, wanted: npt.NDArray[np.bool_], usable: npt.NDArray[np.bool_], most: int, length: int
    ) -> None:
        self.old, self.new = _plain(old), _plain(new)
        self.usable, self.most, self.length = usable, most, length
        self.left = np.where(wanted, most, 0)
        self.texts = 0

    def search(self, texts: Iterable[str]) -> Iterator[Snippet]:
        """Snippets in the order of the text, until every token has its number or the text ends."""
        stream = iter(texts)
        while self.left.any() and (batch := list(islice(stream, TEXTS_AT_ONCE))):
            pairs = zip(self.old.encode_batch(batch), self.new.encode_batch(batch), strict=True)
            for one, other in pairs:
                self.texts += 1
                yield from self._in_text(Segmentation.of(one), Segmentation.of(other))

    def _in_text(self, old: Segmentation, new: Segmentation) -> Iterator[Snippet]:
        shared = np.union1d([0], np.intersect1d(old.borders(), new.borders()))
        here: Counter[int] = Counter()
        for place in np.flatnonzero(self.left[new.ids] > 0):
            token = int(new.ids[place])
            if not self.left[token] or here[token] >= max(3, self.most // 4):
                continue
            after = int(np.searchsorted(shared, new.ends[place]))
            if after == len(shared):
                continue  # the two do not end together
            before = int(np.searchsorted(shared, new.starts[place], side="right")) - 1
            found = self._snippet(token, old, new, int(shared[min(before, after - 1)]), int(shared[after]))
            if found is not None:
                here[token] += 1
                self.left[token] -= 1
                yield found

    def _snippet(self, token: int, old: Segmentation, new: Segmentation, left: int, right: int) -> Snippet | None:
        begin, stop = old.upto(left), old.upto(right)
        phrase = new.ids[new.upto(left) : new.upto(right)]
        room = self.length - (stop - begin)
        if room < 0 or begin == stop or token not in phrase or not self.usable[phrase].all():
            return None
        first = max(0, begin - room // 2)
        last = min(len(old.ids), first + self.length)
        first = max(0, min(first, last - self.length))
        return Snippet(token, old.ids[first:last], begin - first, stop - first, phrase)


def _plain(tokenizer: Any) -> Any:
    """A copy that tells places in the text as they are and adds nothing."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    copy.post_processor = processors.ByteLevel(trim_offsets=False)
    return copy


@dataclass(frozen=True)
class SnippetSet:
    """What a search found. texts: how many were read for it."""

    snippets: tuple[Snippet, ...]
    texts: int

    def counts(self, rows: int) -> IntArray:
        """Snippets by new id."""
        return np.bincount([one.token for one in self.snippets], minlength=rows).astype(np.int64)

    def save(self, path: Path, key: str) -> None:
        """Write one file, whole or not at all. key: what the set depends on."""
        head = [(one.token, one.begin, one.stop, len(one.old), len(one.new)) for one in self.snippets]
        old = [one.old for one in self.snippets] or [np.empty(0, dtype=np.int64)]
        new = [one.new for one in self.snippets] or [np.empty(0, dtype=np.int64)]
        partial = path.with_name(f".{path.name}.partial")
        with partial.open("wb") as file:
            np.savez_compressed(
                file,
                key=key,
                texts=self.texts,
                head=np.array(head, dtype=np.int64).reshape(-1, 5),
                old=np.concatenate(old).astype(np.int32),
                new=np.concatenate(new).astype(np.int32),
            )
        partial.replace(path)

    @classmethod
    def load(cls, path: Path, key: str) -> SnippetSet | None:
        """What `save` wrote; None where there is nothing, or something of another key."""
        if not path.is_file():
            return None
        with np.load(path) as stored:
            if str(stored["key"]) != key:
                return None
            head, texts = stored["head"], int(stored["texts"])
            old, new = stored["old"].astype(np.int64), stored["new"].astype(np.int64)
        olds, news = np.split(old, np.cumsum(head[:, 3])[:-1]), np.split(new, np.cumsum(head[:, 4])[:-1])
        found = (
            Snippet(int(token), one, int(begin), int(stop), other)
            for (token, begin, stop, *_), one, other in zip(head, olds, news, strict=True)
        )
        return cls(tuple(found), texts)
