"""Writing the Hub's data into a local folder in the Hub's layout."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.core.files import file_hash, no_empty_folders, to_json, write_atomically
from darumeru.tasks.records import REVISIONS, load_split, parts, split_path
from darumeru.tasks.spec import OWN_FILE, SHOTS_FILE, TaskSpec


def fetch_tasks(specs: Sequence[TaskSpec], folder: Path) -> Iterator[str]:
    """Write DIR/<owner>/<repository>/[<config>/]<split>.jsonl for every split of the tasks and revisions.json with
    the revision of each repository and the hash of each file; yields a line a file. Files that are there stay."""
    folder = folder.expanduser()
    with no_empty_folders(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot be written: {error.strerror}", str(folder), "choose another --data-dir") from error
        yield from _fetched(specs, folder)


def _fetched(specs: Sequence[TaskSpec], folder: Path) -> Iterator[str]:
    listed = _listed(folder)
    for spec in specs:
        own = (OWN_FILE, SHOTS_FILE)
        splits = [name for name in dict.fromkeys((spec.source.test, spec.source.shots)) if name and name not in own]
        if not spec.source.repository:
            continue  # its files are here already
        for source, split in product(parts(spec.source), splits):
            base = split_path(folder, source, split)
            path = base.with_name(f"{base.name}.jsonl")
            name = path.relative_to(folder).as_posix()
            if path.exists() and listed["files"].get(name) == file_hash(path):
                continue
            found = load_split(source, split, "hub")
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = [json.dumps(dict(record.values), ensure_ascii=False, default=str) for record in found.records]
            write_atomically(path, "\n".join(lines) + "\n")
            listed["repositories"][spec.source.repository] = {"revision": found.revision}
            listed["files"][name] = file_hash(path)
            write_atomically(folder / REVISIONS, to_json(listed))
            yield f"{name}: {len(lines)} records, revision {found.revision}"


def _listed(folder: Path) -> dict[str, Any]:
    path = folder / REVISIONS
    if not path.exists():
        return {"schema": 1, "repositories": {}, "files": {}}
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"is not JSON: {error}", str(path), "delete it to fetch again") from error
    if not isinstance(listed, dict) or not {"repositories", "files"} <= set(listed):
        raise UserError("is not the list of revisions of `darumeru fetch`", str(path), "delete it to fetch again")
    return listed
