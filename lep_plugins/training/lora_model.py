"""A model with the parts that calibration trains: LoRA on linear layers, embedding and head whole."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from darumeru.core.errors import UserError

Layers = Literal["all", "first_last"]
Saved = Literal["embedding", "head"]


@dataclass(frozen=True)
class AdaptedParts:
    """rank, alpha: of LoRA on the linear modules of attention and MLP. layers: of all decoder layers or of the first
    and the last. saved: matrices trained whole; in a tied model one stands for both."""

    rank: int
    alpha: float
    layers: Layers
    saved: tuple[Saved, ...]


def adapted_model(folder: Path, parts: AdaptedParts, dtype: str, seed: int) -> Any:
    """The model of a folder as a PeftModel: frozen weights in `dtype`, what is trained in float32. The adapter begins
    at `seed`; torch's own random numbers go on as before. UserError: parts that the folder's tensors do not name."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from darumeru.models.checkpoint import open_checkpoint

    checkpoint = open_checkpoint(folder)
    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=getattr(torch, dtype))
    modules, saved = linear_modules(model, parts.layers), _saved_modules(model, parts.saved, checkpoint.tied)
    for module in (*modules, *saved):
        checkpoint.entry(f"{module}.weight")  # what cannot be merged is not worth training
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=parts.rank,
        lora_alpha=parts.alpha,
        lora_dropout=0.0,
        target_modules=modules,
        modules_to_save=saved or None,
        ensure_weight_tying=checkpoint.tied and bool(saved),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        adapted = get_peft_model(model, config)
    # peft raises LoRA to float32 but not what is trained whole; in bfloat16 small updates would vanish.
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return adapted


def linear_modules(model: Any, layers: Layers) -> list[str]:
    """Names of the linear modules inside the decoder layers of a transformers model (attention and MLP)."""
    import torch

    numbered: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        place = re.search(r"\.(?:layers|h|blocks)\.(\d+)\.", f".{name}.")
        if isinstance(module, torch.nn.Linear) and place:
            numbered.setdefault(int(place[1]), []).append(name)
    if not numbered:
        raise UserError("no linear layers are found in the model", type(model).__name__)
    wanted = numbered if layers == "all" else {min(numbered), max(numbered)}
    return [name for number in sorted(wanted) for name in numbered[number]]


def _saved_modules(model: Any, saved: Sequence[Saved], tied: bool) -> list[str]:
    if not saved:
        return []
    names = {id(module): name for name, module in model.named_modules()}
    embedding, head = names[id(model.get_input_embeddings())], names[id(model.get_output_embeddings())]
    if tied:  # one matrix: trained once, used in both places
        return [embedding]
    return [{"embedding": embedding, "head": head}[each] for each in saved]
