"""Which tensors of a checkpoint are the embedding and the head, told from config.json and the tensor names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from darumeru.core.errors import UserError, near_names
from darumeru.models.config_file import text_config, vocab_size
from darumeru.models.weight_files import TensorEntry

EMBEDDINGS = ("embed_tokens", "wte", "embed_in", "word_embeddings", "tok_embeddings", "embeddings")
HEADS = ("lm_head", "embed_out", "output_layer", "output")
PER_LAYER = "embed_tokens_per_layer"

SCALES = ("embedding_multiplier", "scale_emb", "logit_scale", "logits_scaling", "lm_head_multiplier", "mup_width_scale")
"""Config fields by which some architectures scale embeddings or logits; LEP needs them equal in all its models."""


@dataclass(frozen=True)
class VocabularyTensors:
    """embedding: name of the input rows. head: name of the output rows, None when tied. tied: one matrix for both.

    copies: names of redundant copies of the tied matrix on disk (dropped on writing).
    """

    embedding: str
    head: str | None
    tied: bool
    copies: tuple[str, ...] = ()


def embedding_scales(config: Mapping[str, Any]) -> dict[str, float]:
    """The scale factors other than one that a config states, by field name."""
    text = text_config(config)
    return {key: text[key] for key in SCALES if text.get(key) not in (None, 1)}


def find_vocabulary_tensors(
    config: Mapping[str, Any], tensors: Mapping[str, TensorEntry], where: str
) -> VocabularyTensors:
    """Name the embedding and the head. UserError: none or several, a size that config.json contradicts, a head
    bias, per-layer embeddings, a tied flag that the weights contradict."""
    rows = vocab_size(config)  # None: any height will do
    refused = [name for name in tensors if PER_LAYER in name or _last(name) in {f"{head}.bias" for head in HEADS}]
    if refused:
        raise UserError(f"tensor {refused[0]} is not supported", where, "no head bias, no per-layer embeddings")
    embeddings = _matches(tensors, EMBEDDINGS, rows)
    heads = [name for name in _matches(tensors, HEADS, rows) if name not in embeddings]
    if len(embeddings) > 1 or len(heads) > 1:
        raise UserError(f"more than one vocabulary matrix: {', '.join(embeddings + heads)}", where)
    tied = _tied_flag(config)
    if not embeddings:
        if tied and heads:
            return VocabularyTensors(heads[0], None, True)
        embedding_rows(config, tensors, where)
        near = near_names("model.embed_tokens.weight", tensors)
        raise UserError("no embedding tensor (embed_tokens.weight or the like)", where, near=near)
    embedding, head = embeddings[0], heads[0] if heads else None
    if head is None:
        if tied is False:
            raise UserError("tie_word_embeddings is false but there is no output head tensor", where)
        return VocabularyTensors(embedding, None, True)
    if tied:
        if not _same_bytes(tensors[embedding], tensors[head]):
            mend = "set tie_word_embeddings to false in config.json if the head is its own matrix"
            raise UserError(f"tie_word_embeddings is true but {head} differs from {embedding}", where, mend)
        return VocabularyTensors(embedding, None, True, (head,))
    return VocabularyTensors(embedding, head, False)


def embedding_rows(config: Mapping[str, Any], tensors: Mapping[str, TensorEntry], where: str) -> int | None:
    """Rows of the embedding as stored; None where no tensor of a known name is one. UserError: config.json says
    another number."""
    rows, found = vocab_size(config), _matches(tensors, EMBEDDINGS, None)
    if rows is None or not found:
        return tensors[found[0]].height if found else None
    if not _matches(tensors, EMBEDDINGS, rows):
        height = tensors[found[0]].height
        raise UserError(f"config.json says vocab_size {rows} but tensor {found[0]} has {height} rows", where)
    return rows


def is_vocabulary(module: str) -> bool:
    """Whether a module's name is one of an embedding or a head."""
    return module.rsplit(".", 1)[-1] in (*EMBEDDINGS, *HEADS)


def _last(name: str) -> str:
    return ".".join(name.split(".")[-2:])


def _matches(tensors: Mapping[str, TensorEntry], modules: tuple[str, ...], rows: int | None) -> list[str]:
    wanted = {f"{module}.weight" for module in modules}
    found = {name: entry for name, entry in tensors.items() if _last(name) in wanted and len(entry.shape) == 2}
    return [name for name, entry in found.items() if rows is None or entry.shape[0] == rows]


def _tied_flag(config: Mapping[str, Any]) -> bool | None:
    # A nested config often leaves the flag to its parent; the outermost one that is stated counts.
    for part in (config, text_config(config)):
        if isinstance(part.get("tie_word_embeddings"), bool):
            return bool(part["tie_word_embeddings"])
    return None


def _same_bytes(one: TensorEntry, other: TensorEntry) -> bool:
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    import torch

    from darumeru.models.checkpoint_read import row_chunks

    pairs = zip(row_chunks(one), row_chunks(other), strict=True)
    return all(torch.equal(a.view(torch.uint8), b.view(torch.uint8)) for (_, a), (_, b) in pairs)
