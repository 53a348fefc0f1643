"""Records: from the Hub, from a local folder in the Hub's layout, bundled, or from files of the task's own."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError, near_names
from darumeru.tasks.hub import hub_access
from darumeru.tasks.record import Record
from darumeru.tasks.record_files import READERS, read_records
from darumeru.tasks.spec import OWN_FILE, SHOTS_FILE, RecordSource

OWN = "darumeru/"
"""Data sets of this project's own, which come with it and are nowhere else."""


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
    """The records of `split`. data: "hub", "bundled" or a folder; a source with files of its own reads those whatever
    `data` says. Records of a source with `configs` have the name of theirs as the field `config`; bundled data hold
    some of the configurations. A text file is one record with the field `text`.

    Raises UserError for a missing split, an unreadable or empty file, a broken line, or no network.
    """
    if own := source.file if split == OWN_FILE else source.shots_file if split == SHOTS_FILE else None:
        path = Path(own)
        if not path.is_file():
            raise UserError("no such file", str(path), "paths in a task file count from its own folder")
        read, sha256 = read_records(path, str(path))
        return Split(tuple(read), "file", "local", sha256)
    if source.folder:
        return _from_folder(Path(source.folder), Path(source.folder) / split, "folder", "local")
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
    revision = "bundled" if data == "bundled" else _revision(folder, source)
    return _from_folder(folder, split_path(folder, source, split), data, revision)


def _from_folder(folder: Path, base: Path, origin: str, revision: str) -> Split:
    """The split in the file BASE.<suffix> below a folder."""
    for suffix in READERS:
        path = base.with_name(base.name + suffix)
        if path.exists():
            shown = path.relative_to(folder).as_posix() if origin == "bundled" else str(path)
            records, sha256 = read_records(path, shown)
            return Split(tuple(records), origin, revision, sha256)
    what = f"no file {base.name}.jsonl or {base.name}.parquet"
    if origin == "folder":
        there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        near = near_names(base.name, there)
        raise UserError(f"no file {base.name}.jsonl, .csv, .tsv, .json or .parquet", str(folder), near=near)
    mend = "`--data hub` loads it from the Hub" if origin == "bundled" else "`darumeru fetch` writes this layout"
    raise UserError(what, str(base.parent), mend)


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
        records.append(Record(dict(values), f"{name}, split {split}, record {number}", number))
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
