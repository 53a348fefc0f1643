"""The head of vLLM's models on a CPU, where copies of its weights are what multiplies."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def settle_heads(model: Any) -> None:
    """Make the copies of a model's heads anew; to be called when other weights have been put into it."""
    _refresh_tied_head(model)
    pack_heads(model)


def pack_heads(model: Any) -> None:
    """Make the copies that vLLM does not make; to be called when a model is loaded. On a GPU there are none."""
    for part in model.modules():
        if hasattr(part, "lm_head") and hasattr(part, "logits_processor"):
            _pack_float32_head(part.lm_head, part.logits_processor)


def _refresh_tied_head(model: Any) -> None:
    """A tied head on the CPU is a packed copy of the embeddings, which a reload leaves as it was."""
    head, inner = getattr(model, "lm_head", None), getattr(model, "model", None)
    embeddings = getattr(inner, "embed_tokens", None)
    method = getattr(head, "quant_method", None)
    if head is None or method is None or embeddings is None:
        return
    shared = head is embeddings or head.weight.data_ptr() == embeddings.weight.data_ptr()
    if shared:
        method.process_weights_after_loading(head)


def _pack_float32_head(head: Any, processor: Any) -> None:
    """The head's product in float32 from one packed copy of its weights.

    On a CPU vLLM casts a half-precision head to float32 at every step: 60 ms for 49,152 rows of 576, of which the
    product from a packed copy takes 4. The numbers are the same but for the order of summation.
    """
    import torch
    from vllm import _custom_ops
    from vllm.model_executor.layers.linear import UnquantizedLinearMethod
    from vllm.model_executor.layers.vocab_parallel_embedding import UnquantizedEmbeddingMethod
    from vllm.platforms import current_platform

    processor = getattr(processor, "base_layer", processor)  # an adapted head's
    head = getattr(head, "base_layer", head)
    if (
        not (current_platform.is_cpu() and _custom_ops._supports_onednn)
        or getattr(processor, "head_dtype", None) != torch.float32
        or not isinstance(getattr(head, "quant_method", None), UnquantizedEmbeddingMethod | UnquantizedLinearMethod)
        or head.weight.dtype not in (torch.bfloat16, torch.float16)
    ):
        return
    packed = _custom_ops.create_onednn_mm(head.weight.detach().float().t(), 32)
    processor._apply_head = partial(_from_packed, packed)


def _from_packed(
    packed: Any, head: Any, hidden_states: torch.Tensor, embedding_bias: torch.Tensor | None
) -> torch.Tensor:
    from vllm import _custom_ops

    bias = None if embedding_bias is None else embedding_bias.float()
    logits: torch.Tensor = _custom_ops.onednn_mm(packed, hidden_states.float().contiguous(), bias)
    return logits
