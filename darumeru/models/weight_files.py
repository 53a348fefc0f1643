"""Safetensors files without their tensors: which make a model, what headers say, whether they are whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.models.files import DAMAGED, parse_json, read_json, require_regular, shown

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8,
    "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "C64": 64,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
"""Bits of one number, by the format's name for its type."""

HEADER_LIMIT = 100_000_000
"""The format's own limit on the header, in bytes."""


@dataclass(frozen=True)
class TensorEntry:
    """Where a tensor lies: file, safetensors dtype name, shape, first and last byte + 1 within the file."""

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one row (of one number where there is one dimension, of all where there is none)."""
        return (self.end - self.begin) // max(1, self.height)

    @property
    def height(self) -> int:
        """Rows: the first dimension, or one where there is none."""
        return self.shape[0] if self.shape else 1


@dataclass(frozen=True)
class Shard:
    """One safetensors file: its tensors in the order of their bytes, its metadata, its size in bytes."""

    file: Path
    tensors: tuple[TensorEntry, ...]
    metadata: Mapping[str, str]
    size: int


def find_weights(folder: Path) -> list[Path]:
    """The safetensors files that make the model of `folder`; see `read_shards`."""
    return [shard.file for shard in read_shards(folder)]


def read_shards(folder: Path) -> tuple[Shard, ...]:
    """The safetensors files that make the model of `folder`, headers only, each checked to be whole.

    UserError: no weights, weights only as pickles (which can run code when they are read), a shard that the index
    names is missing or lacks a tensor, a file that `read_shard` refuses.
    """
    index = folder / INDEX
    if index.exists():
        return _indexed(index)
    if (folder / SINGLE).exists():
        return (read_shard(folder / SINGLE),)
    found = sorted(path for path in folder.glob("*.safetensors") if path.name != ADAPTER_WEIGHTS)
    # Mistral's own format lies beside the Hub's in some repositories.
    files = [path for path in found if not path.name.startswith("consolidated")] or found
    if not files:
        raise _no_weights(folder)
    return tuple(read_shard(path) for path in files)


def _no_weights(folder: Path) -> UserError:
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        mend = "save the model with save_pretrained(..., safe_serialization=True)"
        return UserError(
            f"only pickled weights ({pickles[0]}); they can run code, so they are refused", str(folder), mend
        )
    if (folder / ADAPTER_CONFIG).is_file():
        return UserError("a LoRA adapter, not a model", str(folder), "give the base model and --lora with this folder")
    if any(folder.glob("*.gguf")):
        return UserError("GGUF weights; only safetensors are read", str(folder), "take the original safetensors model")
    return UserError("no weights (*.safetensors)", str(folder), "is the copy or the download complete?")


def _indexed(index: Path) -> tuple[Shard, ...]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise UserError("has no weight_map", str(index), DAMAGED)
    tensors: dict[str, set[str]] = {}
    for tensor, name in places.items():
        if not isinstance(name, str) or Path(name).name != name:
            raise UserError(f"tensor {shown(tensor)}: {shown(name)} is not a file of the folder", str(index), DAMAGED)
        tensors.setdefault(name, set()).add(tensor)
    shards = []
    for name, wanted in sorted(tensors.items()):
        path = index.parent / name
        if not path.exists():
            raise UserError(f"names {name}, which is not there", str(index), "copy or download that file")
        shards.append(read_shard(path))
        if lacking := wanted - {entry.name for entry in shards[-1].tensors}:
            raise UserError(f"has no tensor {min(lacking)}, which {index.name} places there", str(path), DAMAGED)
    return tuple(shards)


def read_header(path: Path) -> dict[str, TensorEntry]:
    """Tensor name -> entry of one safetensors file; see `read_shard`."""
    return {entry.name: entry for entry in read_shard(path).tensors}


def read_shard(path: Path) -> Shard:
    """The header of a safetensors file, checked against the file's size; no tensor is read.

    UserError, with the tensor's name: missing, cut short, no header, an entry that is none, a type that the format
    does not know, offsets that overlap, leave gaps or miss the end, bytes that do not fit the shape.
    """
    require_regular(path)
    with path.open("rb") as stream:
        size = path.stat().st_size
        start = stream.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or not 2 <= length <= HEADER_LIMIT or 8 + length > size:
            raise UserError("is not a safetensors file or is cut short", str(path), DAMAGED)
        raw = stream.read(length)
    try:
        header = parse_json(raw, path)
    except UserError as error:
        raise UserError(f"has a broken safetensors header: {error.what}", str(path), DAMAGED) from None
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise UserError("__metadata__ in the header must be an object of texts", str(path), DAMAGED)
    entries = [_entry(path, name, item, 8 + length) for name, item in header.items()]
    entries.sort(key=lambda entry: (entry.begin, entry.end))
    position = 8 + length
    for entry in entries:
        if entry.begin != position:
            raise UserError(f"the bytes of tensor {entry.name} overlap or leave a gap", str(path), DAMAGED)
        position = entry.end
    if position != size:
        kind = "cut short" if size < position else "longer than its header says"
        raise UserError(f"is {kind}: {size:,} of {position:,} bytes", str(path), DAMAGED)
    return Shard(path, tuple(entries), metadata, size)


def _entry(path: Path, name: str, item: Any, base: int) -> TensorEntry:
    def wrong(what: str) -> UserError:
        return UserError(f"tensor {shown(name)}: {what}", str(path), DAMAGED)

    if not isinstance(item, dict):
        raise wrong("its entry in the header is not an object")
    dtype: Any = item.get("dtype")
    shape: Any = item.get("shape")
    offsets: Any = item.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in BITS:
        raise wrong(f"unknown dtype {shown(dtype)}")
    if not _whole_numbers(shape):
        raise wrong("shape must be a list of whole numbers, none below 0")
    if not _whole_numbers(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise wrong("data_offsets must be two whole numbers, the first not below 0 nor above the second")
    begin, end = offsets
    if (end - begin) * 8 != BITS[dtype] * prod(shape):
        raise wrong(f"has {end - begin:,} bytes for shape {shape} {dtype}")
    return TensorEntry(name, path, dtype, tuple(shape), base + begin, base + end)


def _whole_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)
