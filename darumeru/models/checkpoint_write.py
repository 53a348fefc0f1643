"""Writing a changed copy of a model folder: rewrite the shards that hold a changed tensor, link all others."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Protocol

import torch

from darumeru.models import checkpoint_output, checkpoint_read
from darumeru.models.checkpoint_folder import Checkpoint
from darumeru.models.checkpoint_output import DirectWriter, appearing_folder, link_or_copy
from darumeru.models.checkpoint_read import CHUNK_BYTES, INDEX, Shard, TensorEntry

TOKENIZER_FILES = frozenset(
    {
        *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
        *("vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "sentencepiece.bpe.model", "spiece.model"),
        *("tekken.json", "chat_template.jinja", "chat_template.json"),
    }
)
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx", INDEX)
CARRIED_SUFFIXES = (".json", ".jinja", ".py", ".txt", ".model")

Progress = Callable[[int, int], None]
"""Told (bytes done, bytes in all) as the weights are written."""


class SavesTokenizer(Protocol):
    """Whatever writes tokenizer files into a folder, as transformers tokenizers do."""

    def save_pretrained(self, save_directory: str) -> Any: ...


@dataclass(frozen=True)
class Replacement:
    """New contents of one tensor: shape, safetensors dtype name ("BF16"), and a function that yields its rows in
    order, in chunks of any height, already in that dtype."""

    shape: tuple[int, ...]
    dtype: str
    chunks: Callable[[], Iterable[torch.Tensor]]

    @classmethod
    def of(cls, rows: torch.Tensor) -> Replacement:
        """A tensor that is in memory already."""
        names = {dtype: name for name, dtype in checkpoint_read.FLOAT_DTYPES.items()}
        return cls(tuple(rows.shape), names[rows.dtype], lambda: (rows,))

    @property
    def size(self) -> int:
        """Bytes of the tensor on disk."""
        bits: int = checkpoint_read.BITS[self.dtype]
        return prod(self.shape) * bits // 8


def write_checkpoint(
    source: Checkpoint,
    output: Path | str,
    replaced: Mapping[str, torch.Tensor | Replacement],
    *,
    dropped: Collection[str] = (),
    config: Mapping[str, Any] | None = None,
    generation_config: Mapping[str, Any] | None = None,
    tokenizer: Path | str | SavesTokenizer | None = None,
    finish: Callable[[Path], None] | None = None,
    progress: Progress | None = None,
) -> None:
    """Write a copy of `source` in which some tensors have new contents, atomically.

    replaced: by tensor name; a name that the source lacks is an error. dropped: tensors left out. config and
    generation_config: the files' new contents (the source's by default). tokenizer: a folder whose tokenizer files
    replace the source's, or an object with save_pretrained. finish: adds files of its own to the folder that it is
    given, once the weights are written. A single file stays a single file, shards stay shards with an index; a shard
    with no changed tensor is cloned, linked or copied. UserError: output not empty, disk too small, disk full.
    """
    output = Path(output)
    contents = {
        name: Replacement.of(rows) if isinstance(rows, torch.Tensor) else rows for name, rows in replaced.items()
    }
    for name in (*contents, *dropped):
        source.entry(name)
    plans = [_plan(shard, contents, frozenset(dropped)) for shard in source.shards]
    checkpoint_output.check_output(output)
    checkpoint_output.check_disk(output, sum(_cost(plan, output) for plan in plans))
    total = sum(plan.size for plan in plans if plan.changed)
    done = 0

    def wrote(count: int) -> None:
        nonlocal done
        done += count
        if progress:
            progress(done, total)

    with appearing_folder(output) as folder:
        for plan in plans:
            _put_shard(plan, folder / plan.shard.file.name, contents, wrote)
        if source.sharded:
            _write_text(folder / INDEX, _index(source, plans))
        _copy_small_files(source.path, folder, tokenizer)
        if generation_config is not None:
            _write_text(folder / "generation_config.json", _json(generation_config))
        if finish:
            finish(folder)
        for path in folder.rglob("*"):
            if path.suffix != ".safetensors":
                checkpoint_output.sync(path)
        # Last: a folder without config.json is not a model to any loader, however it was left behind.
        _write_text(folder / "config.json", _json(source.config if config is None else config))


@dataclass(frozen=True)
class _ShardPlan:
    """A shard to write. items: the tensors it keeps. shapes: theirs in the output. header: the bytes before the
    tensors. size: bytes of the new file. changed: whether it must be rewritten at all."""

    shard: Shard
    changed: bool
    items: tuple[TensorEntry, ...]
    shapes: tuple[tuple[int, ...], ...]
    header: bytes
    size: int


def _plan(shard: Shard, contents: Mapping[str, Replacement], dropped: frozenset[str]) -> _ShardPlan:
    items = tuple(entry for entry in shard.tensors if entry.name not in dropped)
    header: dict[str, Any] = {"__metadata__": dict(shard.metadata)} if shard.metadata else {}
    position = 0
    for entry in items:
        new = contents.get(entry.name)
        size = new.size if new else entry.end - entry.begin
        header[entry.name] = {
            "dtype": new.dtype if new else entry.dtype,
            "shape": list(new.shape if new else entry.shape),
            "data_offsets": [position, position + size],
        }
        position += size
    raw = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    raw += b" " * (-len(raw) % 8)
    changed = len(items) != len(shard.tensors) or any(entry.name in contents for entry in items)
    shapes = tuple(tuple(header[entry.name]["shape"]) for entry in items)
    return _ShardPlan(shard, changed, items, shapes, len(raw).to_bytes(8, "little") + raw, position + len(raw) + 8)


def _cost(plan: _ShardPlan, output: Path) -> int:
    parent = next(part for part in output.absolute().parents if part.exists())
    same_disk = os.stat(plan.shard.file.resolve()).st_dev == os.stat(parent).st_dev
    return plan.size if plan.changed or not same_disk else 0


def _put_shard(plan: _ShardPlan, path: Path, contents: Mapping[str, Replacement], wrote: Callable[[int], None]) -> None:
    if not plan.changed:
        link_or_copy(plan.shard.file, path)
        return
    if not plan.items:  # all its tensors are dropped
        return
    buffer = memoryview(bytearray(CHUNK_BYTES))
    with DirectWriter(path, wrote) as writer:
        writer.write(plan.header)
        for entry in plan.items:
            if entry.name in contents:
                _write_rows(writer, entry.name, contents[entry.name])
                continue
            size = entry.end - entry.begin
            for start in range(0, size, CHUNK_BYTES):
                writer.write(checkpoint_read.read_bytes(entry, start, min(start + CHUNK_BYTES, size), buffer))


def _write_rows(writer: DirectWriter, name: str, new: Replacement) -> None:
    height = 0
    for rows in new.chunks():
        if rows.dtype != checkpoint_read.FLOAT_DTYPES[new.dtype] or tuple(rows.shape[1:]) != new.shape[1:]:
            raise ValueError(f"{name}: chunk {tuple(rows.shape)} {rows.dtype} does not fit {new.shape} {new.dtype}")
        height += rows.shape[0]
        if rows.numel():
            writer.write(memoryview(rows.contiguous().view(torch.uint8).reshape(-1).numpy()))
    if height != (new.shape[0] if new.shape else 1):
        raise ValueError(f"{name}: {height} rows came for shape {new.shape}")


def _index(source: Checkpoint, plans: list[_ShardPlan]) -> str:
    old = checkpoint_read.read_json(source.path / INDEX)
    weight_map = {entry.name: plan.shard.file.name for plan in plans for entry in plan.items}
    metadata = dict(old.get("metadata") or {})
    metadata["total_size"] = sum(plan.size - len(plan.header) for plan in plans)
    if "total_parameters" in metadata:
        metadata["total_parameters"] = sum(prod(shape) for plan in plans for shape in plan.shapes)
    return _json({"metadata": metadata, "weight_map": dict(sorted(weight_map.items()))})


def _copy_small_files(source: Path, folder: Path, tokenizer: Path | str | SavesTokenizer | None) -> None:
    for path in sorted(source.iterdir()):
        if path.is_file() and _is_carried(path) and (tokenizer is None or path.name not in TOKENIZER_FILES):
            shutil.copyfile(path, folder / path.name)
    if isinstance(tokenizer, str | Path):
        for path in sorted(Path(tokenizer).iterdir()):
            if path.name in TOKENIZER_FILES:
                shutil.copyfile(path, folder / path.name)
    elif tokenizer is not None:
        tokenizer.save_pretrained(str(folder))


def _is_carried(path: Path) -> bool:
    """Whether a file beside the weights belongs to the model: no model card, which would describe another model."""
    if path.name == "config.json" or path.name.endswith(WEIGHT_SUFFIXES):
        return False
    return path.suffix in CARRIED_SUFFIXES or path.name.upper().startswith(("LICENSE", "NOTICE", "USE_POLICY"))


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    checkpoint_output.sync(path)
