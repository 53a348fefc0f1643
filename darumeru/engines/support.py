"""Models and adapters that no number can be had of, told from their config before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.models.files import read_json
from darumeru.models.weight_files import read_header

_CAUSAL = ("ForCausalLM", "LMHeadModel", "LMHeadModelV2")
# Endings of architectures whose head says something else than the next token.
_OTHER_HEADS = {
    "ForMaskedLM": "a masked language model",
    "ForPreTraining": "a model for pretraining",
    "ForSequenceClassification": "a classifier",
    "ForTokenClassification": "a classifier of tokens",
    "ForQuestionAnswering": "a model for extractive question answering",
    "ForMultipleChoice": "a classifier of choices",
    "ForNextSentencePrediction": "a classifier of sentence pairs",
    "RewardModel": "a reward model",
}


def check_causal(folder: Path) -> None:
    """UserError for a model that is no causal language model: a score from it would be meaningless."""
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    names = [str(name) for name in config.get("architectures") or ()]
    if config.get("is_encoder_decoder"):
        raise UserError("an encoder-decoder model, not a causal language model", str(folder))
    if not names or any(name.endswith(_CAUSAL) for name in names):
        return
    for ending, what in _OTHER_HEADS.items():
        if names[0].endswith(ending):
            raise UserError(f"{what} ({names[0]}), not a causal language model", str(folder))
    if names[0].endswith("Model") and _is_encoder(config):
        raise UserError(f"an encoder without a head ({names[0]}), not a causal language model", str(folder))


def _is_encoder(config: Mapping[str, Any]) -> bool:
    """Whether transformers knows this type with a masked head and the config does not make a decoder of it."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    return config.get("model_type") in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not config.get("is_decoder")


def check_plain_adapter(adapter: Path, model: Path) -> None:
    """UserError for an adapter that is more than low-rank updates: vLLM takes no weights of whole modules."""
    whole = sorted(whole_modules(adapter))
    if not whole:
        return
    rows = {shape[0] for name, shape in whole if len(shape) == 2 and name in _TABLES}
    own = table_rows(model)
    grown = f"embeddings of {max(rows)} rows (the model has {own})" if rows and own and rows != {own} else ""
    stored = grown or f"whole modules ({', '.join(sorted({name for name, _ in whole}))})"
    mend = "use --engine transformers, or merge the adapter into the model first"
    raise UserError(f"the adapter stores {stored} in modules_to_save; vLLM takes none", str(adapter), mend)


_TABLES = ("embed_tokens", "lm_head", "wte", "word_embeddings", "embed_in", "embed_out", "tok_embeddings", "output")


def whole_modules(adapter: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Last name and shape of each weight that the adapter stores as a whole, beside its low-rank updates."""
    for path in adapter.glob("adapter_model*.safetensors"):
        for name, entry in read_header(path).items():
            if ".lora_" not in name and ".base_layer." not in name:  # vLLM passes the latter over
                yield name.removesuffix(".weight").rsplit(".", 1)[-1], entry.shape


def table_rows(model: Path) -> int | None:
    """Rows of the model's input embeddings as its config says."""
    config = read_json(model / "config.json")
    nested = config.get("text_config")
    rows = (nested if isinstance(nested, dict) else config).get("vocab_size")
    return rows if isinstance(rows, int) else None
