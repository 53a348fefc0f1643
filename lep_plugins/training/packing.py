"""A corpus as blocks of token ids on disk, made once, read in any order."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from darumeru.core.errors import UserError
from darumeru.core.files import to_json, write_atomically

IntArray = npt.NDArray[np.int64]
BLOCKS, ABOUT = "blocks.bin", "blocks.json"
DOCUMENTS_AT_ONCE = 64
_LINE_ENDS = re.compile(r"\n+")


@dataclass(frozen=True)
class PackedCorpus:
    """count blocks of `block` tokens in FOLDER/blocks.bin (little-endian uint32, one block after the other).

    Documents stand as BOS + text + EOS, one after the other; a block starts at a document or at a paragraph, and what
    is left of a paragraph that a block cut off is dropped. tokens: of all documents. documents: how many. opening: the
    id that begins a document (BOS), or None; closing: the one that ends it (EOS), or None. key: what the blocks were
    made of.
    """

    folder: Path
    block: int
    count: int
    tokens: int
    documents: int
    opening: int | None
    closing: int | None
    key: str

    @property
    def kept(self) -> float:
        """Share of the corpus' tokens that stand in blocks."""
        return self.count * self.block / self.tokens

    def blocks(self, places: IntArray) -> IntArray:
        """Token ids [len(places), block]."""
        stored = np.memmap(self.folder / BLOCKS, dtype="<u4", mode="r", shape=(self.count, self.block))
        return np.asarray(stored[places], dtype=np.int64)

    def positions(self, ids: IntArray) -> IntArray:
        """Places within each document [n, block], 0 at its first token in the block: what keeps attention inside."""
        begins = np.zeros(ids.shape, dtype=bool)
        begins[:, 0] = True
        if self.opening is not None:
            begins |= ids == self.opening
        else:
            begins[:, 1:] |= ids[:, :-1] == self.closing
        places = np.arange(ids.shape[1])
        latest: IntArray = np.maximum.accumulate(np.where(begins, places, 0), axis=1)
        return np.asarray(places - latest, dtype=np.int64)


def pack(
    texts: Callable[[], Iterable[str]],
    tokenizer: Any,
    block: int,
    folder: Path,
    key: str,
    say: Callable[[str], None] = print,
) -> PackedCorpus:
    """Tokenize a stream of documents into FOLDER; blocks that were made with the same `key` are taken as they are.

    UserError: a tokenizer with neither BOS nor EOS, or less text than one block.
    """
    about = folder / ABOUT
    if about.is_file():
        stored = json.loads(about.read_text(encoding="utf-8"))
        if stored.pop("schema") == 1 and stored["key"] == key:
            return PackedCorpus(folder, **stored)
    opening, closing = tokenizer.bos_token_id, tokenizer.eos_token_id
    if opening is None and closing is None:
        raise UserError("the tokenizer has neither a BOS nor an EOS token", "pretrain", "name one of them in it")
    if opening == closing:
        opening = None  # One token in both roles stands once, between documents.
    folder.mkdir(parents=True, exist_ok=True)
    packer = _Packer(block)
    documents = 0
    with (folder / BLOCKS).open("wb") as file:
        for ids, starts in _documents(texts(), tokenizer, opening, closing):
            documents += 1
            for one in packer.add(ids, starts):
                file.write(one.astype("<u4").tobytes())
    if not packer.count:
        raise UserError(
            f"{packer.tokens} tokens of text do not fill one block of {block}",
            "corpus",
            "more text, or a shorter block",
        )
    made = PackedCorpus(folder, block, packer.count, packer.tokens, documents, opening, closing, key)
    values = {name: value for name, value in asdict(made).items() if name != "folder"}
    write_atomically(about, to_json({"schema": 1, **values}))
    say(f"{made.count:,} blocks of {block} tokens, {100 * made.kept:.1f} % of {documents:,} documents' tokens")
    return made


class _Packer:
    """Cuts blocks out of the stream of documents. count: blocks made; tokens: of all documents seen."""

    def __init__(self, block: int) -> None:
        self.block = block
        self.count = self.tokens = 0
        self._ids = np.empty(0, dtype=np.int64)
        self._starts = np.empty(0, dtype=np.int64)

    def add(self, ids: IntArray, starts: IntArray) -> Iterator[IntArray]:
        """Take one document; starts: places in it where a block may begin, the first is 0."""
        self._starts = np.concatenate([self._starts, starts + len(self._ids)])
        self._ids = np.concatenate([self._ids, ids])
        self.tokens += len(ids)
        begin = 0
        while begin + self.block <= len(self._ids):
            yield self._ids[begin : begin + self.block]
            self.count += 1
            place = int(np.searchsorted(self._starts, begin + self.block))
            # No start in what is here: the next document begins one.
            begin = int(self._starts[place]) if place < len(self._starts) else len(self._ids)
        self._ids = self._ids[begin:]
        self._starts = self._starts[self._starts >= begin] - begin


def _documents(
    texts: Iterable[str], tokenizer: Any, opening: int | None, closing: int | None
) -> Iterator[tuple[IntArray, IntArray]]:
    before = [] if opening is None else [opening]
    after = [] if closing is None else [closing]
    stream = iter(texts)
    while batch := list(islice(stream, DOCUMENTS_AT_ONCE)):
        encoded = tokenizer(batch, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        for text, ids, offsets in zip(batch, encoded["input_ids"], encoded["offset_mapping"], strict=True):
            starts = _paragraphs(text, offsets) + len(before)
            starts = np.concatenate([[0], starts[starts > len(before)]]).astype(np.int64)
            yield np.array([*before, *ids, *after], dtype=np.int64), starts


def _paragraphs(text: str, offsets: Sequence[tuple[int, int]]) -> IntArray:
    """Places of the first tokens after line ends."""
    begins = np.array([begin for begin, _ in offsets], dtype=np.int64)
    after = np.array([match.end() for match in _LINE_ENDS.finditer(text)], dtype=np.int64)
    places = np.searchsorted(begins, after)
    return np.unique(places[places < len(begins)]).astype(np.int64)
