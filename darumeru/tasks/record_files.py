"""Files of records: JSON lines, JSON, CSV, Parquet, plain text."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.core.files import has_half_character
from darumeru.core.terminal import one_line
from darumeru.tasks.record import Record

LONGEST_CELL = 1 << 26
"""Characters."""


def read_records(path: Path, shown: str) -> tuple[list[Record], str]:
    """The records of a file by its suffix, and the sha256 of its bytes. shown: as messages call the file.

    Raises UserError with file and line for what cannot be read, a suffix that is not known, and a file without
    records.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError("is no file of records by its suffix", shown, f"known: {', '.join(READERS)}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", shown) from error
    records = list(reader(content, shown))
    if not records:
        raise UserError("holds no records", shown)
    return [replace(record, place=place) for place, record in enumerate(records)], hashlib.sha256(content).hexdigest()


def _decoded(content: bytes, shown: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError("is not UTF-8", f"{shown}:{line}", "save it as UTF-8") from error


def _text(content: bytes, shown: str) -> Iterator[Record]:
    try:
        yield Record({"text": content.decode("utf-8-sig")}, shown)
    except UnicodeDecodeError as error:
        raise UserError("is not UTF-8", shown) from error


def _jsonl(content: bytes, shown: str) -> Iterator[Record]:
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        if not line.strip():
            continue
        where = f"{shown}:{number}"
        values = _parsed(line, where)
        if not isinstance(values, dict):
            raise UserError("a record must be a JSON object", where)
        if b"\\ud" in line.lower():
            _check_texts(values, where)
        yield Record(values, where)


def _json(content: bytes, shown: str) -> Iterator[Record]:
    values = _parsed(content.removeprefix(b"\xef\xbb\xbf"), shown)
    if not isinstance(values, list):
        raise UserError("must be a JSON list of objects", shown, "one object a line is a .jsonl file")
    for number, one in enumerate(values, 1):
        where = f"{shown}: record {number}"
        if not isinstance(one, dict):
            raise UserError("a record must be a JSON object", where)
        _check_texts(one, where)
        yield Record(one, where)


def _parsed(text: bytes, where: str) -> Any:
    try:
        return json.loads(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UserError("is not UTF-8", where) from error
    except ValueError as error:
        raise UserError(f"is not JSON: {error}", where) from error
    except RecursionError as error:
        raise UserError("is nested too deeply", where) from error


def _check_texts(values: Mapping[str, Any], where: str) -> None:
    for name, value in values.items():
        if has_half_character([name, value]):
            raise UserError(f"`{one_line(name)}` holds half a character (a lone surrogate)", where)


def _csv(content: bytes, shown: str, delimiters: str = ",;\t|") -> Iterator[Record]:
    """Cells are texts; a cell that is empty is an empty text. The header says the delimiter: the one that stands in it
    most often."""
    text = _decoded(content, shown)
    before = csv.field_size_limit(LONGEST_CELL)
    try:
        yield from _rows(text, shown, delimiters)
    finally:
        csv.field_size_limit(before)


def _rows(text: str, shown: str, delimiters: str) -> Iterator[Record]:
    header = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(delimiters, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names: list[str] = []
    line = 1
    try:
        for row in reader:
            line, began = reader.line_num + 1, line
            if not any(cell.strip() for cell in row):
                continue
            if not names:
                names = _header(row, f"{shown}:{began}")
                continue
            if len(row) != len(names):
                what = f"has {len(row)} cells, the header {len(names)} ({', '.join(map(one_line, names))})"
                raise UserError(what, f"{shown}:{began}", "put cells that hold the delimiter in quotes")
            yield Record(dict(zip(names, row, strict=True)), f"{shown}:{began}")
    except csv.Error as error:
        raise UserError(f"is not CSV: {error}", f"{shown}:{line}") from error


def _header(row: Sequence[str], where: str) -> list[str]:
    names = [cell.strip() for cell in row]
    for place, name in enumerate(names, 1):
        if not name:
            raise UserError(f"column {place} of the header has no name", where)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"two columns are called `{one_line(twice)}`", where)
    return names


def _parquet(content: bytes, shown: str) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        rows: Sequence[Mapping[str, Any]] = pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()
    except pyarrow.ArrowException as error:
        raise UserError(f"is not a readable Parquet file: {str(error).splitlines()[0]}", shown) from error
    for number, values in enumerate(rows, 1):
        yield Record(values, f"{shown}: row {number}")


READERS: Mapping[str, Callable[[bytes, str], Iterator[Record]]] = {
    ".jsonl": _jsonl,
    ".parquet": _parquet,
    ".csv": _csv,
    ".tsv": partial(_csv, delimiters="\t"),
    ".json": _json,
    ".txt": _text,
}
"""Suffix -> reader, in the order in which a folder is searched for a split."""
