"""Records: from the Hub, from a local folder in the Hub's layout, or bundled."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError, near_names
from darumeru.core.terminal import one_line
from darumeru.tasks.hub import hub_access
from darumeru.tasks.spec import RecordSource

SUFFIXES = (".jsonl", ".parquet", ".txt")
OWN = "darumeru/"
"""Data sets of this project's own, which come with it and are nowhere else."""


@dataclass(frozen=True)
class Record:
    """One record and where it stands ("file:line"), for messages."""

    values: Mapping[str, Any]
    where: str

    def need(self, name: str, *kinds: type) -> Any:
        """values[name], checked; UserError names file, line and field. "inputs.text" reaches into a mapping."""
        value: Any = self.values
        for part in name.split("."):
            if not isinstance(value, Mapping) or part not in value or value[part] is None:
                raise UserError(f"field `{name}` is missing", self.where)
            value = value[part]
        if kinds and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise UserError(f"field `{name}` must be {wanted}, is {type(value).__name__}", self.where)
        return value

    def need_text(self, name: str) -> str:
        """values[name], a text that is not blank; UserError names file, line and field."""
        text: str = self.need(name, str)
        if not text.strip():
            raise UserError(f"field `{name}` is empty", self.where)
        return text


@dataclass(frozen=True)
class Split:
    """The records of one split and their origin: revision ("bundled", "local" or a Hub commit) and content hash."""

    records: tuple[Record, ...]
    origin: str
    revision: str
    sha256: str


def bundled_folder() -> Path:
    """The folder of the bundled data."""
    from darumeru.core.shipped import tasks_folder

    return tasks_folder() / "bundled"


def split_path(folder: Path, source: RecordSource, split: str) -> Path:
    """Path of a split in a local data folder, without suffix: DIR/<owner>/<repository>/[<config>/]<split>."""
    base = folder / source.repository
    return (base / source.config if source.config else base) / split


def parts(source: RecordSource) -> tuple[RecordSource, ...]:
    """The source of each configuration of a source that puts several together; of others the source itself."""
    return tuple(replace(source, config=name, configs=()) for name in source.configs) or (source,)


def load_split(source: RecordSource, split: str, data: str) -> Split:
    """The records of `split`. data: "hub", "bundled" or a folder. Records of a source with `configs` have the name of
    theirs as the field `config`; bundled data hold some of the configurations. A text file is one record with the field
    `text`.

    Raises UserError for a missing split, an unreadable or empty file, a broken line, or no network.
    """
    if not source.configs:
        return _one_split(source, split, data)
    found = [
        (str(part.config), _one_split(part, split, data))
        for part in parts(source)
        if data != "bundled" or split_path(bundled_folder(), part, split).with_suffix(".jsonl").exists()
    ]
    if not found:
        raise UserError("none of its configurations is bundled", source.repository)
    records = tuple(
        Record({**record.values, "config": name}, record.where) for name, one in found for record in one.records
    )
    hashes = "".join(one.sha256 for _, one in found)
    first = found[0][1]
    return Split(records, first.origin, first.revision, hashlib.sha256(hashes.encode()).hexdigest())


def _one_split(source: RecordSource, split: str, data: str) -> Split:
    if data == "hub" and source.repository.startswith(OWN):
        data = "bundled"
    if data == "hub":
        return _from_hub(source, split)
    folder = bundled_folder() if data == "bundled" else Path(data).expanduser()
    if data != "bundled" and not folder.is_dir():
        near = near_names(folder.name, [p.name for p in folder.parent.iterdir()]) if folder.parent.is_dir() else []
        raise UserError("no such data folder", str(folder), near=near)
    base = split_path(folder, source, split)
    for suffix in SUFFIXES:
        path = base.with_name(base.name + suffix)
        if path.exists():
            records, sha256 = _from_file(path, path.relative_to(folder).as_posix() if data == "bundled" else str(path))
            return Split(
                tuple(records), str(data), "bundled" if data == "bundled" else _revision(folder, source), sha256
            )
    raise UserError(
        f"no file {base.name}.jsonl or {base.name}.parquet", str(base.parent), "`darumeru fetch` writes this layout"
    )


def _revision(folder: Path, source: RecordSource) -> str:
    path = folder / REVISIONS
    if not path.is_file():
        return "local"
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        return str(listed["repositories"][source.repository]["revision"])
    except (ValueError, KeyError, TypeError):
        return "local"


REVISIONS = "revisions.json"


def _from_file(path: Path, shown: str) -> tuple[list[Record], str]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", shown) from error
    readers = {".parquet": lambda: _parquet(path, shown), ".txt": lambda: _text(content, shown)}
    records = list(readers.get(path.suffix, lambda: _jsonl(content, shown))())
    if not records:
        raise UserError("holds no records", shown)
    return records, hashlib.sha256(content).hexdigest()


def _text(content: bytes, shown: str) -> Iterator[Record]:
    try:
        yield Record({"text": content.decode("utf-8-sig")}, shown)
    except UnicodeDecodeError as error:
        raise UserError("is not UTF-8", shown) from error


def _jsonl(content: bytes, shown: str) -> Iterator[Record]:
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        where = f"{shown}:{number}"
        try:
            values = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise UserError("is not UTF-8", where) from error
        except ValueError as error:
            raise UserError(f"is not JSON: {error}", where) from error
        except RecursionError as error:
            raise UserError("is nested too deeply", where) from error
        if not isinstance(values, dict):
            raise UserError("a record must be a JSON object", where)
        if b"\\ud" in line.lower():
            _check_texts(values, where)
        yield Record(values, where)


def _check_texts(values: Mapping[str, Any], where: str) -> None:
    """JSON can hold half a character ("\\ud800"), a tokenizer cannot."""
    for name, value in values.items():
        try:
            json.dumps([name, value], ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise UserError(f"`{one_line(name)}` holds half a character (a lone surrogate)", where) from error


def _parquet(path: Path, shown: str) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        rows: Sequence[Mapping[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
    except pyarrow.ArrowException as error:
        raise UserError(f"is not a readable Parquet file: {str(error).splitlines()[0]}", shown) from error
    for number, values in enumerate(rows, 1):
        yield Record(values, f"{shown}: row {number}")


def _from_hub(source: RecordSource, split: str) -> Split:
    import datasets
    from huggingface_hub.errors import (
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    datasets.disable_progress_bars()
    name = source.repository + (f"/{source.config}" if source.config else "")
    offline = "use `--data bundled`, or `darumeru fetch` on a machine with network and `--data DIR`"
    try:
        with hub_access():
            table = datasets.load_dataset(source.repository, source.config, split=split, revision=source.revision)
    except RepositoryNotFoundError as error:
        raise UserError(
            "no such data set on the Hub, or no access to it", name, "log in with `hf auth login`"
        ) from error
    except (ConnectionError, OfflineModeIsEnabled, LocalEntryNotFoundError, HfHubHTTPError) as error:
        raise UserError("the Hub cannot be reached and the data set is not cached", name, offline) from error
    except (FileNotFoundError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise UserError(f"cannot be loaded: {str(error).splitlines()[0]}", f"{name}, split {split}", offline) from error
    hasher = hashlib.sha256()
    records = []
    for number, values in enumerate(table):
        hasher.update(json.dumps(values, ensure_ascii=False, sort_keys=True, default=str).encode())
        records.append(Record(dict(values), f"{name}, split {split}, record {number}"))
    if not records:
        raise UserError("holds no records", f"{name}, split {split}")
    return Split(tuple(records), "hub", source.revision or _hub_revision(table), hasher.hexdigest())


def _hub_revision(table: Any) -> str:
    """The commit that the loaded files came from, "unknown" when the cache does not say."""
    for address in table.info.download_checksums or {}:
        found = re.search(r"@([0-9a-f]{40})/", address)
        if found:
            return found.group(1)
    return "unknown"
