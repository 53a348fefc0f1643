"""Writing a changed copy of a model folder: rewrite the shards that hold a changed tensor, link all others."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch

from darumeru.models import checkpoint_read
from darumeru.models.checkpoint import Checkpoint
from darumeru.models.checkpoint_output import DirectWriter, check_disk, check_output, link_or_copy
from darumeru.models.checkpoint_read import CHUNK_BYTES
from darumeru.models.config_file import with_dtype
from darumeru.models.files import read_json, write_json
from darumeru.models.model_folder import SavesTokenizer, main_dtype, new_model
from darumeru.models.weight_files import BITS, INDEX, Shard, TensorEntry

Progress = Callable[[int, int], None]
"""Told (bytes done, bytes in all) as the weights are written."""


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
        return prod(self.shape) * BITS[self.dtype] // 8


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
    check_output(output)
    check_disk(output, sum(_cost(plan, output) for plan in plans))
    total = sum(plan.size for plan in plans if plan.changed)
    done = 0

    def wrote(count: int) -> None:
        nonlocal done
        done += count
        if progress:
            progress(done, total)

    with new_model(
        output,
        _naming_dtype(source.config if config is None else config, source, contents, dropped),
        source=source.path,
        tokenizer=tokenizer,
        generation_config=generation_config,
    ) as folder:
        for plan in plans:
            _put_shard(plan, folder / plan.shard.file.name, contents, wrote)
        if source.sharded:
            write_json(folder / INDEX, _index(source, plans))
        if finish:
            finish(folder)


def _naming_dtype(
    config: Mapping[str, Any], source: Checkpoint, contents: Mapping[str, Replacement], dropped: Collection[str]
) -> Mapping[str, Any]:
    """The config with the dtype of the tensors where the new contents change it."""
    old = {entry.name: (entry.dtype, entry.end - entry.begin) for entry in source.tensors.values()}
    new = old | {name: (one.dtype, one.size) for name, one in contents.items()}
    before, after = main_dtype(old.values()), main_dtype(new[name] for name in new if name not in dropped)
    return config if before == after or after is None else with_dtype(config, after)


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


def _index(source: Checkpoint, plans: list[_ShardPlan]) -> dict[str, Any]:
    old = read_json(source.path / INDEX)
    weight_map = {entry.name: plan.shard.file.name for plan in plans for entry in plan.items}
    metadata = dict(old["metadata"]) if isinstance(old.get("metadata"), dict) else {}
    metadata["total_size"] = sum(plan.size - len(plan.header) for plan in plans)
    if "total_parameters" in metadata:
        metadata["total_parameters"] = sum(prod(shape) for plan in plans for shape in plan.shapes)
    return {"metadata": metadata, "weight_map": dict(sorted(weight_map.items()))}
