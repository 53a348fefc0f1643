"""config.json and tokenizer_config.json as values: judged field by field, the language model's part, changed copies."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.models.files import shown

TEXT_CONFIGS = ("text_config", "llm_config", "language_config")
EXPERT_KEYS = ("num_experts", "num_local_experts", "n_routed_experts")
CONTEXT_KEYS = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length", "max_sequence_length",
)  # fmt: skip
DTYPE_KEYS = ("dtype", "torch_dtype")
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""The safetensors names of the types that config.json may name as the model's, and what it calls them."""

IDLE_KEYS = frozenset(
    {
        *("transformers_version", "_name_or_path", "name_or_path", "torch_dtype_origin", "_commit_hash"),
        *("base_model_name_or_path", "inference_mode"),  # of adapters
        *("_from_model_config", "_attn_implementation_autoset", "special_tokens_map_file", "tokenizer_file"),
    }
)
"""Fields that say nothing about what the model computes."""


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of config.json that describes the language model (the whole of it, or a nested text_config)."""
    for key in TEXT_CONFIGS:
        if isinstance(config.get(key), Mapping):
            return config[key]  # type: ignore[no-any-return]
    return config


def vocab_size(config: Mapping[str, Any]) -> int | None:
    """Rows of the embeddings. Some families leave out what equals their defaults, vocab_size too: then None."""
    size: int | None = text_config(config).get("vocab_size", config.get("vocab_size"))
    return size


def context_length(config: Mapping[str, Any], tokenizer_config: Mapping[str, Any]) -> int | None:
    """Positions the model was made for; None when its files do not say."""
    parts = (config, text_config(config))
    lengths = [part[key] for part in parts for key in CONTEXT_KEYS if _whole(part.get(key)) and part[key] > 0]
    if not lengths:
        return None
    # vLLM also holds to the tokenizer's limit; "no limit" is written as a number beyond any context.
    limit = tokenizer_config.get("model_max_length") or 0
    return min(lengths[0], int(limit)) if limit > 0 else int(lengths[0])


def with_vocab_size(config: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """config.json with another vocab_size, in the nested language model's part where there is one."""
    changed = copy.deepcopy(dict(config))
    part = text_config(changed)
    assert isinstance(part, dict)
    part["vocab_size"] = rows
    if "vocab_size" in changed:
        changed["vocab_size"] = rows
    return changed


def has_experts(config: Mapping[str, Any]) -> bool:
    """Whether the model is a mixture of experts."""
    return any(part.get(key) for part in (config, text_config(config)) for key in EXPERT_KEYS)


def with_dtype(config: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """config.json that names `dtype` ("float32") as the type of the stored tensors, also in the parts that name one:
    what loads a model by dtype="auto" reads it first and would round the weights to another."""

    def named(part: Mapping[str, Any]) -> dict[str, Any]:
        told = {key: dtype for key in DTYPE_KEYS if part.get(key) is not None}
        return {**part, **{key: named(value) for key, value in part.items() if isinstance(value, dict)}, **told}

    changed = named(config)
    return changed if any(changed.get(key) for key in DTYPE_KEYS) else {**changed, DTYPE_KEYS[0]: dtype}


def telling(config: Mapping[str, Any]) -> str:
    """What of a configuration says what is computed, as canonical text; for fingerprints."""

    def reduced(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: reduced(one) for key, one in value.items() if key not in IDLE_KEYS}
        return value

    return json.dumps(reduced(config), sort_keys=True)


def _whole(value: Any) -> bool:
    return type(value) is int


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _ids(value: Any) -> bool:
    return _whole(value) or (isinstance(value, list) and all(map(_whole, value)))


def _size(value: Any) -> bool:
    # Families whose layers differ have a list with one number a layer.
    return (_whole(value) and value > 0) or (isinstance(value, list) and all(_whole(one) and one >= 0 for one in value))


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _values(value: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(map(fits, value.values()))


def _templates(value: Any) -> bool:
    named = isinstance(value, list) and all(
        isinstance(one, dict) and all(isinstance(one.get(key), str) for key in ("name", "template")) for one in value
    )
    return isinstance(value, str) or named


def _dtype(value: Any) -> bool:
    known = (*DTYPES.values(), "auto")
    return isinstance(value, str) and (value.removeprefix("torch.") in known or "float8" in value)


_Kind = tuple[Callable[[Any], bool], str]
_SIZE: _Kind = (_size, "a whole number above 0")
_COUNT: _Kind = (lambda value: _size(value) or value == 0, "a whole number, not below 0")
_NUMBER: _Kind = (_number, "a number")
_OBJECT: _Kind = (lambda value: isinstance(value, dict), "an object")
_TEXT: _Kind = (lambda value: isinstance(value, str), "text")
_FLAG: _Kind = (lambda value: isinstance(value, bool), "true or false")
_IDS: _Kind = (_ids, "a token id or a list of them")

_ROPE: dict[str, _Kind] = {
    **dict.fromkeys(("rope_theta", "factor", "original_max_position_embeddings", "partial_rotary_factor"), _NUMBER),
    **dict.fromkeys(("rope_type", "type"), _TEXT),
}
_CONFIG: dict[str, _Kind] = {
    **dict.fromkeys(("vocab_size", "hidden_size", "n_embd", "d_model", "num_hidden_layers", "n_layer"), _SIZE),
    **dict.fromkeys(("num_attention_heads", "n_head", "num_key_value_heads", "head_dim", "intermediate_size"), _COUNT),
    **dict.fromkeys(CONTEXT_KEYS, _NUMBER),
    **dict.fromkeys(("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "rope_theta"), _NUMBER),
    **dict.fromkeys(("rope_parameters", "rope_scaling", "quantization_config", "auto_map", *TEXT_CONFIGS), _OBJECT),
    **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), _IDS),
    **dict.fromkeys(DTYPE_KEYS, (_dtype, "float32, bfloat16, float16 or the like")),
    "model_type": _TEXT,
    "tie_word_embeddings": _FLAG,
    "architectures": (_texts, "a list of texts"),
}
_TOKENIZER_CONFIG: dict[str, _Kind] = {
    "chat_template": (_templates, "text, or a list of named templates"),
    "model_max_length": _NUMBER,
    "auto_map": _OBJECT,
    "added_tokens_decoder": _OBJECT,
    "tokenizer_class": _TEXT,
}
_ADAPTER: dict[str, _Kind] = {
    **dict.fromkeys(("peft_type", "base_model_name_or_path", "bias"), _TEXT),
    **dict.fromkeys(("use_dora", "use_rslora", "fan_in_fan_out"), _FLAG),
    "r": (lambda value: _whole(value) and value > 0, "a whole number above 0"),
    "lora_alpha": _NUMBER,
    "rank_pattern": (lambda value: _values(value, lambda one: _whole(one) and one > 0), "an object of whole numbers"),
    "alpha_pattern": (lambda value: _values(value, _number), "an object of numbers"),
    "target_modules": (lambda value: isinstance(value, str) or _texts(value), "text or a list of texts"),
    "modules_to_save": (_texts, "a list of texts"),
}
_TOKEN: _Kind = (lambda value: isinstance(value, str) or (isinstance(value, dict) and "content" in value), "text")
_TOKENIZER_CONFIG |= {f"{role}_token": _TOKEN for role in ("bos", "eos", "pad", "unk", "sep", "cls", "mask")}


def judge_config(config: Mapping[str, Any], path: Path) -> None:
    """UserError, with file and field, for a value of config.json (or generation_config.json) of a kind that no model
    has. null says nothing and is always right."""
    _judge(config, _CONFIG, path)
    for part in (*TEXT_CONFIGS, "rope_parameters", "rope_scaling"):
        if isinstance(config.get(part), dict):
            _judge(config[part], _ROPE if part.startswith("rope") else _CONFIG, path, f"{part}.")


def judge_tokenizer_config(config: Mapping[str, Any], path: Path) -> None:
    """The same for tokenizer_config.json."""
    _judge(config, _TOKENIZER_CONFIG, path)


def judge_adapter_config(config: Mapping[str, Any], path: Path) -> None:
    """The same for adapter_config.json."""
    _judge(config, _ADAPTER, path)


def _judge(config: Mapping[str, Any], kinds: Mapping[str, _Kind], path: Path, prefix: str = "") -> None:
    for key, (fits, words) in kinds.items():
        value = config.get(key)
        if value is not None and not fits(value):
            raise UserError(f"{prefix}{key} must be {words}, not {shown(value)}", str(path))
