"""Documents of text files, each with its place, and files of JSON lines that are whole or not there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from darumeru.core.files import json_line, write_atomically
from lep_plugins.vocabulary.corpus import Corpus

Split = Literal["blank", "line"]
RECORDS = (".jsonl", ".json", ".parquet")


@dataclass(frozen=True)
class Document:
    """source: name of the file; number: of the document in it, from 1."""

    source: str
    number: int
    text: str


def documents(files: Sequence[str | Path], field: str, split: Split) -> Iterator[Document]:
    """Records of JSON lines and Parquet; of plain text what stands between blank lines, or each line. UserError for
    files that cannot be read (Corpus.texts)."""
    for path in Corpus.of(files, field).paths:
        texts = Corpus((path,), field).texts()
        name = path.name.lower().removesuffix(".xz").removesuffix(".gz")
        parts = texts if name.endswith(RECORDS) else _parts(texts, split)
        for number, text in enumerate(parts, 1):
            yield Document(path.name, number, text)


def _parts(pieces: Iterable[str], split: Split) -> Iterator[str]:
    """The documents of a plain file that comes in pieces which end at line ends."""
    kept: list[str] = []
    for line in (line for piece in pieces for line in piece.splitlines()):
        if split == "line" or not line.strip():
            if kept:
                yield "\n".join(kept)
            kept = [line] if line.strip() else []
        else:
            kept.append(line)
    if kept:
        yield "\n".join(kept)


def shards(found: Iterable[Document], size: int, start: int) -> Iterator[tuple[int, list[Document]]]:
    """Number and documents of each shard of `size` from shard `start` on."""
    stream = islice(found, start * size, None)
    number = start
    while part := list(islice(stream, size)):
        yield number, part
        number += 1


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Replace a file of JSON lines, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "".join(map(json_line, records)))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """What write_lines wrote."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
