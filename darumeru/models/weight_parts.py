"""Weights on their way to another process: safetensors files of bounded size in memory, each gone once it is read."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from darumeru.core.files import remove_leftovers

if TYPE_CHECKING:
    import torch

PART_BYTES = 1 << 30
SHARED_MEMORY = Path("/dev/shm")


def weight_parts(weights: Iterable[tuple[str, torch.Tensor]], part_bytes: int = PART_BYTES) -> Iterator[Path]:
    """Yield files that hold the weights in order, each of at most `part_bytes` (or one tensor); a file is deleted when
    the next one is asked for. They lie in shared memory where there is some with room for two parts."""
    roomy = SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free > 2 * part_bytes
    place = SHARED_MEMORY if roomy else tempfile.gettempdir()
    remove_leftovers(Path(place), "darumeru-")
    with tempfile.TemporaryDirectory(prefix=f"darumeru-{os.getpid()}-", dir=place) as folder:
        path = Path(folder) / "part.safetensors"
        for part in parts(weights, part_bytes):
            _save(part, path)
            yield path
            path.unlink()


def read_part(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of one file, without a copy of the whole."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - it is no dictionary
            yield name, file.get_tensor(name)


def parts(
    weights: Iterable[tuple[str, torch.Tensor]], part_bytes: int = PART_BYTES
) -> Iterator[dict[str, torch.Tensor]]:
    """The weights in order, in pieces of at most `part_bytes` (or one tensor)."""
    part: dict[str, torch.Tensor] = {}
    size = 0
    for name, tensor in weights:
        if part and size + tensor.nbytes > part_bytes:
            yield part
            part, size = {}, 0
        part[name] = tensor
        size += tensor.nbytes
    if part:
        yield part


def _save(part: dict[str, torch.Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    seen: set[tuple[int, int]] = set()
    separate: dict[str, torch.Tensor] = {}
    for name, tensor in part.items():
        cpu = tensor.detach().to("cpu").contiguous()
        place = (cpu.untyped_storage().data_ptr(), cpu.storage_offset())
        # Tied tensors share memory, which the format does not allow.
        separate[name] = cpu.clone() if place in seen else cpu
        seen.add(place)
    save_file(separate, path)
