"""Model folders before and after a training."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from darumeru.models.model_files import SMALL_FILES

PARTIAL = ".partial"


def load_model(folder: Path, dtype: str = "auto") -> Any:
    """The transformers model of a folder, without dropout, on the accelerator if there is one."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=dtype)
    return model.to(torch.accelerator.current_accelerator()) if torch.accelerator.is_available() else model


def save_model(model: Any, source: Path, folder: Path, chat_template: str | None = None) -> Path:
    """Write a whole model folder, adapters merged, with the small files (config, tokenizer) of `source`; it appears
    when it is complete. chat_template: in the place of the source's."""
    from huggingface_hub import save_torch_state_dict

    from darumeru.models.live_weights import checkpoint_weights

    partial = folder.with_name(folder.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for path in {
        path for pattern in SMALL_FILES for path in source.glob(pattern) if not path.name.endswith(".index.json")
    }:
        shutil.copyfile(path, partial / path.name)
    if chat_template is not None:
        for old in ("chat_template.json", "chat_template.jinja"):
            (partial / old).unlink(missing_ok=True)
        (partial / "chat_template.jinja").write_text(chat_template, encoding="utf-8")
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint_weights(model)}
    save_torch_state_dict(weights, partial, metadata={"format": "pt"})
    for path in partial.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return folder
