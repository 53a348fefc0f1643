"""How the transformers engine comes by its model: the class, the adapter, the head that answers."""

from __future__ import annotations

import copy
import inspect
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.core.packages import missing
from darumeru.engines.protocol import EngineOptions
from darumeru.models.weight_files import read_header

# What transformers raises for a folder that it cannot make a model of; no list of it exists.
LOADING_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    ImportError,
    RuntimeError,
    KeyError,
    AttributeError,
    NotImplementedError,
    AssertionError,
)


def load_model(options: EngineOptions) -> tuple[Any, Any]:
    """Model in evaluation mode, with its adapter, where it will compute; and its tokenizer."""
    import torch
    from transformers import AutoConfig, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    extra = dict(options.extra)
    own = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    device = extra.pop("device", None if "device_map" in extra else own or "cpu")
    trust = options.trust_remote_code
    try:
        tokenizer = AutoTokenizer.from_pretrained(options.tokenizer or options.model, trust_remote_code=trust)
        config = AutoConfig.from_pretrained(options.model, trust_remote_code=trust)
        auto, known = _classes(config, options.model)
        if known is not None:
            refuse_without_cache(known, options.model)
        model = auto.from_pretrained(options.model, dtype=options.dtype, trust_remote_code=trust, **extra)
        if known is None:
            refuse_without_cache(type(model), options.model)
        if options.lora:
            model = _with_adapter(model, Path(options.lora))
    except LOADING_ERRORS as error:
        raise UserError(f"transformers cannot load the model: {_first_line(error)}", options.model) from error
    _widen_head(model)
    return (model if device is None else model.to(device)).eval(), tokenizer


def _classes(config: Any, where: str) -> tuple[Any, Any]:
    """The Auto class for this configuration and the model class it will choose (None: code of the model's own).

    A wrapper of pictures and text that has no causal class of its own is loaded whole and asked for text alone.
    """
    import transformers

    if "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {}):
        return transformers.AutoModelForCausalLM, None
    for auto, mapping in (
        (transformers.AutoModelForCausalLM, transformers.MODEL_FOR_CAUSAL_LM_MAPPING),
        (transformers.AutoModelForImageTextToText, transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING),
    ):
        if type(config) in mapping:
            return auto, mapping[type(config)]
    raise UserError(f"transformers has no causal language model of the type `{config.model_type}`", where)


def refuse_without_cache(model_class: type, where: str) -> None:
    """Recurrent models (Mamba, RWKV) keep a state of another kind: padding and copied rows would be silently wrong."""
    if "past_key_values" not in inspect.signature(model_class.forward).parameters:  # type: ignore[attr-defined]
        raise UserError("a model without a key-value cache; the transformers engine needs one", where)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0]


def _with_adapter(model: Any, folder: Path) -> Any:
    """The model under its PEFT adapter; embeddings grow to the rows that the adapter stores."""
    try:
        from peft import PeftModel
    except ImportError as error:
        raise missing("peft", "--lora") from error
    rows = _stored_rows(model, folder)
    if rows and rows != model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(rows, mean_resizing=False)
    try:
        return PeftModel.from_pretrained(model, str(folder))
    except LOADING_ERRORS as error:
        raise UserError(f"does not fit the model: {_first_line(error)}", str(folder)) from error


def _stored_rows(model: Any, folder: Path) -> int | None:
    """Rows of the whole embedding or head that the adapter stores; None when it stores neither."""
    tables = {model.get_input_embeddings(), model.get_output_embeddings()}
    names = {name.rsplit(".", 1)[-1] for name, module in model.named_modules() if module in tables}
    for path in folder.glob("adapter_model*.safetensors"):
        for name, entry in read_header(path).items():
            parts = name.split(".")
            if parts[-1] == "weight" and ".lora_" not in name and names & set(parts):
                return int(entry.shape[0])
    return None


def _widen_head(model: Any) -> None:
    """Give a model in half precision a float32 head of its own (a tied one is copied), fed with float32.

    The head is the one that answers: an adapter's copy of it, or the layer that an adapter wraps around it.
    """
    import torch

    from darumeru.engines.transformers_forward import inner_model

    inner = inner_model(model)
    head = inner.get_output_embeddings()
    weights = list(head.parameters()) if head is not None else []
    if all(each.dtype == torch.float32 for each in weights) or not all(each.is_floating_point() for each in weights):
        return
    wide = copy.deepcopy(head).float()
    wide.register_forward_pre_hook(lambda _module, inputs: tuple(each.float() for each in inputs))
    inner.config.tie_word_embeddings = False
    inner.set_output_embeddings(wide)
