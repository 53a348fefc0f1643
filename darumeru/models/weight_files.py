"""Safetensors files looked at without loading them: are they whole, and what is their fingerprint."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError

INDEX = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
COMPLETE_BELOW = 1 << 30
BLOCK = 1 << 20
BLOCKS = 64
_MOST_HEADER = 100_000_000


def find_weights(folder: Path) -> list[Path]:
    """The safetensors files that make the model of `folder`, each checked to be whole.

    UserError: no weights, weights only as pickles (which can run code when they are read), a shard that the index
    names is missing or lacks a tensor, a file shorter or longer than its header says.
    """
    index = folder / INDEX
    if index.is_file():
        return _indexed(index)
    found = sorted(path for path in folder.glob("*.safetensors") if path.name != "adapter_model.safetensors")
    # Mistral's own format lies beside the Hub's in some repositories.
    files = [path for path in found if not path.name.startswith("consolidated")] or found
    if not files:
        raise _no_weights(folder)
    for path in files:
        read_header(path)
    return files


def _no_weights(folder: Path) -> UserError:
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        mend = "save the model with save_pretrained(..., safe_serialization=True)"
        return UserError(
            f"only pickled weights ({pickles[0]}); they can run code, so they are refused", str(folder), mend
        )
    if (folder / "adapter_config.json").is_file():
        return UserError("a LoRA adapter, not a model", str(folder), "give the base model and --lora with this folder")
    if any(folder.glob("*.gguf")):
        return UserError("GGUF weights; only safetensors are read", str(folder), "take the original safetensors model")
    return UserError("no weights (*.safetensors)", str(folder), "is the copy or the download complete?")


def _indexed(index: Path) -> list[Path]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise UserError("has no weight_map", str(index), "copy the file again")
    tensors: dict[str, set[str]] = {}
    for tensor, shard in places.items():
        tensors.setdefault(str(shard), set()).add(tensor)
    files = []
    for shard in sorted(tensors):
        path = index.parent / shard
        if not path.is_file():
            raise UserError(f"names {shard}, which is not there", str(index), "copy or download that file")
        lacking = tensors[shard] - read_header(path).keys()
        if lacking:
            raise UserError(f"has no tensor {min(lacking)}, which {index.name} places there", str(path))
        files.append(path)
    return files


def read_header(path: Path) -> dict[str, Any]:
    """Tensor name -> {"dtype", "shape", "data_offsets"} of one safetensors file; UserError when it is not whole."""
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
        if not 2 <= length <= _MOST_HEADER or 8 + length > size:
            raise UserError("is not a safetensors file or is cut short", str(path), "copy or download it again")
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise UserError(f"has a broken safetensors header: {error}", str(path), "copy it again") from error
    if not isinstance(header, dict):
        raise UserError("has a broken safetensors header", str(path), "copy it again")
    header.pop("__metadata__", None)
    expected = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if expected != size:
        kind = "cut short" if size < expected else "longer than its header says"
        raise UserError(f"is {kind}: {size:,} of {expected:,} bytes", str(path), "copy or download it again")
    return header


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; UserError with the line when it is broken."""
    try:
        value = json.loads(path.read_bytes())
    except UnicodeDecodeError as error:
        raise UserError("is not UTF-8 text", str(path)) from error
    except json.JSONDecodeError as error:
        raise UserError(f"broken JSON: {error.msg}", f"{path}:{error.lineno}") from error
    if not isinstance(value, dict):
        raise UserError("is not a JSON object", str(path))
    return value


def fingerprint_weights(files: Iterable[Path]) -> str:
    """SHA-256 over names and contents.

    Complete when the files have at most 1 GiB together. Larger ones are sampled, so that a run need not read a whole
    large model twice: of each file its size, its safetensors header (names, shapes, types) and 64 evenly spaced
    blocks of 1 MiB. Two large models that differ only between those blocks share a fingerprint.
    """
    files = sorted(files, key=lambda path: path.name)
    complete = sum(path.stat().st_size for path in files) <= COMPLETE_BELOW
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            if complete:
                while block := file.read(BLOCK):
                    digest.update(block)
            else:
                _add_sample(digest, file, path.stat().st_size)
    return digest.hexdigest()


def _add_sample(digest: Any, file: Any, size: int) -> None:
    length = struct.unpack("<Q", file.read(8))[0]
    digest.update(file.read(length))
    first = 8 + length
    if size - first <= BLOCK * BLOCKS:
        digest.update(file.read())
        return
    for number in range(BLOCKS):
        file.seek(first + number * (size - first - BLOCK) // (BLOCKS - 1))
        digest.update(file.read(BLOCK))
