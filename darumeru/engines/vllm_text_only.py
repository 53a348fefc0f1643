"""A wrapper of pictures and text as the text model that it contains.

vLLM imports a wrapper's picture processing, which needs torchvision: builds of it for a CPU build of torch are not on
PyPI. Text needs none of it, so that without torchvision the wrapper's text configuration and weights are loaded as the
text model that vLLM knows.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from darumeru.core.errors import UserError
from darumeru.engines.protocol import EngineOptions

LOAD_FORMAT = "darumeru_text_only"
# Kept apart from a text model's own "model.": "model.language_model.layers" and "language_model.model.layers".
_INNER = "language_model"


def is_wrapper(config: Mapping[str, Any]) -> bool:
    """Whether config.json is that of a model around a text model."""
    return isinstance(config.get("text_config"), Mapping)


def text_only_arguments(options: EngineOptions) -> dict[str, Any]:
    """vLLM's arguments for the text model of a wrapper; empty where torchvision is installed."""
    if importlib.util.find_spec("torchvision") is not None:
        return {}
    if options.tensor_parallel * options.pipeline_parallel > 1:
        mend = "install torchvision in the build that fits torch"
        raise UserError("vLLM needs the package torchvision for this model", options.model, mend)
    _register_loader()
    return {"hf_overrides": as_text_model, "load_format": LOAD_FORMAT}


def as_text_model(config: Any) -> Any:
    """The text configuration of a wrapper's, with the architecture that vLLM has for it and a float32 head."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    text = getattr(config, "text_config", None)
    if text is None:
        return config
    text.architectures = [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[text.model_type]]
    text.head_dtype = "float32"
    text.tie_word_embeddings = config.tie_word_embeddings
    for name in ("dtype", "quantization_config", "eos_token_id"):
        if getattr(text, name, None) is None and getattr(config, name, None) is not None:
            setattr(text, name, getattr(config, name))
    return text


def text_weights(weights: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Those of the text model under the names that it has by itself."""
    for name, tensor in weights:
        parts = name.split(".")
        if _INNER in parts:
            parts.remove(_INNER)
        if parts[0] == "lm_head" or len(parts) < name.count(".") + 1:
            yield ".".join(parts), tensor


def _register_loader() -> None:
    from vllm.model_executor import model_loader
    from vllm.model_executor.model_loader.default_loader import DefaultModelLoader

    class TextOnlyLoader(DefaultModelLoader):  # type: ignore[misc]
        def __init__(self, load_config: Any) -> None:
            super().__init__(dataclasses.replace(load_config, load_format="auto"))

        def get_all_weights(self, model_config: Any, model: Any) -> Iterator[tuple[str, Any]]:
            return text_weights(super().get_all_weights(model_config, model))

    if LOAD_FORMAT not in model_loader._LOAD_FORMAT_TO_MODEL_LOADER:
        model_loader.register_model_loader(LOAD_FORMAT)(TextOnlyLoader)
