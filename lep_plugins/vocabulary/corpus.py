"""Text corpora as one stream of documents: plain text, JSONL and Parquet, also compressed with xz or gzip."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from darumeru.core.errors import UserError
from darumeru.core.files import has_half_character

Normalization = Literal["NFC", "NFKC"]
Advance = Callable[[int], None]
"""Told how many more bytes of the corpus files have been read."""

CHUNK_CHARACTERS = 1 << 14


@dataclass(frozen=True)
class Corpus:
    """Files read front to back, as often as needed, never whole in memory.

    paths: files; a name that ends in .jsonl or .json is JSON lines, .parquet is Parquet, all else is plain text;
    .xz and .gz are unpacked while reading. field: the text field of JSON lines and the text column of Parquet.
    share: of the documents, above 0 and at most 1, drawn with `seed`.
    """

    paths: tuple[Path, ...]
    field: str = "text"
    share: float = 1.0
    seed: int = 0

    @classmethod
    def of(cls, paths: Sequence[str | Path], field: str = "text", share: float = 1.0, seed: int = 0) -> Corpus:
        """Check that there is a corpus. UserError: no files, a file that is missing or has no bytes, no share."""
        if not 0 < share <= 1:
            raise UserError(f"`share` of a corpus must be above 0 and at most 1, not {share}")
        if not paths:
            raise UserError("no corpus", mend="name one or more files")
        files = tuple(Path(path) for path in paths)
        for file in files:
            if not file.is_file():
                raise UserError("no such corpus file", where=str(file))
            if file.stat().st_size == 0:
                raise UserError("the corpus file is empty", where=str(file))
        return cls(files, field, share, seed)

    @property
    def size(self) -> int:
        """Bytes of all files as they lie on disk."""
        return sum(path.stat().st_size for path in self.paths)

    def texts(self, normalization: Normalization = "NFC", advance: Advance | None = None) -> Iterator[str]:
        """Documents in order, or pieces of them cut at line ends (plain text: about 16,000 characters each, line ends
        kept, so that newline runs and indentation can be learnt). Composed ("й" is one character) by default.

        UserError, naming the file: not UTF-8, broken compression, broken JSON or Parquet, no text field, no text."""
        random = np.random.default_rng(self.seed)
        for path in self.paths:
            anything = False
            for text in _read(path, self.field, advance or (lambda count: None)):
                if text and not text.isspace():
                    anything = True
                    if self.share < 1 and random.random() >= self.share:
                        continue
                    yield unicodedata.normalize(normalization, text)
            if not anything:
                raise UserError("the corpus file holds no text", where=str(path))


def _read(path: Path, field: str, advance: Advance) -> Iterator[str]:
    names = path.name.lower().split(".")
    packing = names.pop() if names[-1] in ("xz", "gz") else ""
    kind = names[-1]
    try:
        if kind == "parquet":
            yield from _parquet(path, field, advance)
            return
        with path.open("rb") as raw:
            counted = io.BufferedReader(_Counted(raw, advance))
            reader = io.TextIOWrapper(_unpacked(counted, packing), encoding="utf-8", newline="")
            yield from _json_lines(path, reader, field) if kind in ("jsonl", "json") else _plain(reader)
    except UnicodeDecodeError as error:
        raise UserError(f"the corpus file is not UTF-8 ({error.reason})", where=str(path)) from None
    except (lzma.LZMAError, gzip.BadGzipFile, EOFError) as error:
        raise UserError(f"the corpus file cannot be unpacked: {error}", where=str(path)) from None


def _unpacked(packed: Any, packing: str) -> Any:
    if packing == "xz":
        return lzma.open(packed)
    return gzip.open(packed) if packing == "gz" else packed


class _Counted(io.RawIOBase):
    """A raw stream that tells how much was read from it."""

    def __init__(self, raw: IO[bytes], advance: Advance) -> None:
        self._raw, self._advance = raw, advance

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count: int = self._raw.readinto(buffer)  # type: ignore[attr-defined]
        self._advance(count)
        return count


def _plain(reader: io.TextIOWrapper) -> Iterator[str]:
    lines, size = [], 0
    first = True
    for line in reader:
        lines.append(line.removeprefix("\ufeff") if first else line)
        first = False
        size += len(line)
        if size >= CHUNK_CHARACTERS:
            yield "".join(lines)
            lines, size = [], 0
    yield "".join(lines)


def _json_lines(path: Path, reader: io.TextIOWrapper, field: str) -> Iterator[str]:
    for number, line in enumerate(reader, 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"not a JSON line: {getattr(error, 'msg', error)}", where=where) from None
        text = record.get(field) if isinstance(record, dict) else None
        if not isinstance(text, str):
            raise UserError(f'no text in the field "{field}"', where=where, mend="name it with --field")
        if has_half_character(text):
            what = f'the field "{field}" holds half a character (a lone surrogate)'
            raise UserError(what, where=where, mend="no tokenizer takes that: leave the line out")
        yield text


def _parquet(path: Path, field: str, advance: Advance) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise UserError(f"not a Parquet file: {error}", where=str(path)) from None
    if field not in file.schema_arrow.names:
        raise UserError(f'no column "{field}"', where=str(path), mend="name it with --field")
    groups = file.metadata.num_row_groups
    for group in range(groups):
        for batch in file.iter_batches(batch_size=256, row_groups=[group], columns=[field]):
            for text in batch.column(0).to_pylist():
                if isinstance(text, bytes):
                    text = text.decode("utf-8")
                if isinstance(text, str):
                    yield text
        advance(path.stat().st_size // groups)
