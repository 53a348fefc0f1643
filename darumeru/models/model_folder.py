"""Whole model folders: loaded for a training, and written so that they appear complete or not at all."""

from __future__ import annotations

import copy
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from darumeru.models.checkpoint_output import appearing_folder, sync
from darumeru.models.config_file import DTYPES, with_dtype
from darumeru.models.files import read_json, write_json
from darumeru.models.live_weights import checkpoint_weights, unwrapped
from darumeru.models.model_files import tokenizer_files
from darumeru.models.weight_files import INDEX

if TYPE_CHECKING:
    import torch

    Weights = Iterable[tuple[str, torch.Tensor]]

# What a model may be loaded in.
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx", INDEX)
CARRIED_SUFFIXES = (".json", ".jinja", ".py", ".txt", ".model", ".tiktoken")
TEMPLATES = ("chat_template.json", "chat_template.jinja")


class SavesTokenizer(Protocol):
    """Whatever writes tokenizer files into a folder, as transformers tokenizers do."""

    def save_pretrained(self, save_directory: str) -> Any: ...


@contextmanager
def new_model(
    output: Path,
    config: Mapping[str, Any] | None,
    *,
    source: Path | None = None,
    tokenizer: Path | str | SavesTokenizer | None = None,
    generation_config: Mapping[str, Any] | None = None,
    chat_template: str | None = None,
    replace: bool = False,
) -> Iterator[Path]:
    """A folder to put weights into; when the block ends well the rest is added and it takes the name `output`.

    config: config.json; None where the block writes it. source: a model whose small files (tokenizer, generation
    config, licence, own code) are carried over. tokenizer: a folder whose tokenizer files, or an object with
    save_pretrained, in the place of the source's. generation_config, chat_template: in the place of the source's.
    replace: in the place of what `output` holds. UserError: output not empty, disk full.
    """
    with appearing_folder(output, replace) as folder:
        yield folder
        if source is not None:
            _carry(source, folder, with_tokenizer=tokenizer is None)
        if isinstance(tokenizer, str | Path):
            for path in tokenizer_files(Path(tokenizer)):
                shutil.copyfile(path, folder / path.name)
        elif tokenizer is not None:
            tokenizer.save_pretrained(str(folder))
        if generation_config is not None:
            write_json(folder / "generation_config.json", generation_config)
        if chat_template is not None:
            for name in TEMPLATES:
                (folder / name).unlink(missing_ok=True)
            (folder / "chat_template.jinja").write_text(chat_template, encoding="utf-8")
        for path in folder.rglob("*"):
            sync(path)
        # Last: a folder without config.json is not a model to any loader, however it was left behind.
        if config is not None:
            write_json(folder / "config.json", config)
            sync(folder / "config.json")


def load_model(folder: Path, dtype: str = "auto") -> Any:
    """The transformers model of a folder, without dropout, on the accelerator if there is one."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=dtype)
    return model.to(torch.accelerator.current_accelerator()) if torch.accelerator.is_available() else model


def save_model(model: Any, source: Path, folder: Path, chat_template: str | None = None) -> Path:
    """Write the weights of a model in training, adapters merged, with the config and the small files of `source`, the
    model it was loaded from; config.json names the dtype of what is stored."""
    weights = list(checkpoint_weights(model))
    dtype = main_dtype((str(tensor.dtype), tensor.nbytes) for _, tensor in weights)
    config = read_json(source / "config.json")
    config = with_dtype(config, dtype) if dtype else config
    with new_model(folder, config, source=source, chat_template=chat_template, replace=True) as inside:
        _save_weights(weights, inside)
    return folder


def write_model(model: Any, tokenizer: SavesTokenizer, folder: Path, weights: Weights | None = None) -> Path:
    """Write config, generation config and tokenizer of a model in memory, and `weights` if there are any."""
    inner = unwrapped(model)
    base = inner.get_base_model() if hasattr(inner, "peft_config") else inner
    config = copy.deepcopy(base.config)
    config.dtype, config.architectures = base.dtype, [type(base).__name__.removeprefix("FSDP")]
    with new_model(folder, None, tokenizer=tokenizer, replace=True) as inside:
        if weights is not None:
            _save_weights(weights, inside)
        if getattr(base, "generation_config", None) is not None:
            base.generation_config.save_pretrained(inside)
        config.save_pretrained(inside)
    return folder


def main_dtype(stored: Iterable[tuple[str, int]]) -> str | None:
    """The floating-point type of most of the bytes, as config.json names it; stored: (dtype as torch or safetensors
    names it, bytes) of each tensor. None where no tensor has a type that a model can be loaded in."""
    counts: Counter[str] = Counter()
    for dtype, size in stored:
        counts[DTYPES.get(dtype, dtype.removeprefix("torch."))] += size
    found = [(size, dtype) for dtype, size in counts.items() if dtype in DTYPES.values()]
    return max(found)[1] if found else None


def _save_weights(weights: Weights, folder: Path) -> None:
    from huggingface_hub import save_torch_state_dict

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights}
    save_torch_state_dict(tensors, folder, metadata={"format": "pt"})


def _carry(source: Path, folder: Path, with_tokenizer: bool) -> None:
    left = () if with_tokenizer else {path.name for path in tokenizer_files(source)}
    for path in sorted(source.iterdir()):
        if path.is_file() and _is_carried(path) and path.name not in left:
            shutil.copyfile(path, folder / path.name)


def _is_carried(path: Path) -> bool:
    """Whether a file beside the weights belongs to the model: no model card, which would describe another model."""
    if path.name == "config.json" or path.name.endswith(WEIGHT_SUFFIXES):
        return False
    return path.suffix in CARRIED_SUFFIXES or path.name.upper().startswith(("LICENSE", "NOTICE", "USE_POLICY"))
