"""Checkpoint folders as a trainer leaves them, seen from outside."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from darumeru.core.errors import UserError

_LAST = re.compile(r"(?:.*\D)?(\d+)")
_NAMED = re.compile(r"(?:step|checkpoint|ckpt|iter|batch)[^0-9/]{0,8}?(\d+)", re.IGNORECASE)
_WEIGHTS = ("*.safetensors", "*.bin", "*.index.json")
# How deep inside a numbered folder a model may lie (global_step_500/actor/huggingface).
DEPTH = 3


@dataclass(frozen=True)
class Checkpoint:
    """name: of the numbered folder. path: the model folder, or with `base` a PEFT adapter folder: that folder itself or
    one inside it. step: the number in the name, after the word step, checkpoint, ckpt, iter or batch, or at the end."""

    path: Path
    step: int
    name: str
    base: str | None = None


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """The folders inside `folder` whose names say a step (checkpoint-500, step_500-hf, epoch=1-step=500, 500), by that
    number."""
    try:
        inside = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", str(folder), "give the trainer's output folder") from error
    found = [(path, step) for path in inside if (step := step_of(path.name)) is not None]
    return sorted((_read(path, step) for path, step in found), key=lambda one: (one.step, one.name))


def step_of(name: str) -> int | None:
    """The training step that a folder's name says."""
    match = (_NAMED.findall(name) or [None])[-1] or ((last := _LAST.fullmatch(name)) and last[1])
    return int(match) if match else None


def check_layout(path: Path) -> None:
    """UserError with what to do for a folder that holds a training's pieces and no model."""
    files = [file.name for file in path.rglob("*") if file.is_file()]
    if any(name.endswith(".distcp") for name in files):
        mend = "`accelerate merge-weights FOLDER OUT` joins them; fsdp_state_dict_type FULL_STATE_DICT saves them whole"
        raise UserError("its weights are in pieces (torch's distributed checkpoint)", str(path), mend)
    if any(name.endswith("_model_states.pt") for name in files):
        mend = (
            "`python zero_to_fp32.py . OUT --safe_serialization` in it joins them; DeepSpeed's "
            "stage3_gather_16bit_weights_on_model_save saves them whole"
        )
        raise UserError("its weights are in pieces (DeepSpeed)", str(path), mend)


def _read(path: Path, step: int) -> Checkpoint:
    model = _model_inside(path)
    adapter = model / "adapter_config.json"
    if not adapter.is_file() or (model / "config.json").is_file():
        return Checkpoint(model, step, path.name)
    try:
        base = json.loads(adapter.read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError):
        base = None  # still being written, or broken: whoever loads it says which
    return Checkpoint(model, step, path.name, base)


def _model_inside(path: Path) -> Path:
    """The folder itself, or the only one inside it that holds a config and weights."""
    if _is_described(path):
        return path
    level, found = [path], []
    for _ in range(DEPTH):
        level = [inside for folder in level for inside in sorted(folder.iterdir()) if inside.is_dir()]
        found += [one for one in level if _is_described(one) and any(any(one.glob(each)) for each in _WEIGHTS)]
    return found[0] if len(found) == 1 else path


def _is_described(path: Path) -> bool:
    return any((path / name).is_file() for name in ("config.json", "adapter_config.json"))


def look(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of the files: equal looks some time apart mean that nobody is writing."""
    files = []
    for file in sorted(path.rglob("*")):
        try:
            status = file.stat()
        except OSError:
            continue
        files.append((str(file.relative_to(path)), status.st_size, status.st_mtime_ns))
    return tuple(files)
