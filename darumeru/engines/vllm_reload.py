"""New weights for a running vLLM engine, without a checkpoint and without a restart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from darumeru.engines.vllm_head import settle_heads

if TYPE_CHECKING:
    import torch


class ReloadFailed(Exception):
    """The engine could not take the weights and must not be used any more; the message says why in one line."""


def reload_weights(llm_engine: Any, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Put `weights` (names and shapes of a checkpoint of the engine's own architecture) into vLLM's LLMEngine.

    The prefix cache is emptied: keys and values of old weights would be used silently. The engine must have no request
    in flight. ReloadFailed when vLLM refuses a tensor.
    """
    with _refusals():
        llm_engine.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights)})
    _settle(llm_engine)


def transfer_weights(llm_engine: Any, method: str, argument: Any = None) -> None:
    """One step of vLLM's own weight transfer in its workers, as `reload_weights` otherwise."""
    with _refusals():
        llm_engine.collective_rpc(method, args=() if argument is None else (argument,))
    if method == "finish_weight_update":
        _settle(llm_engine)


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError, AssertionError, KeyError, AttributeError, TypeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ReloadFailed(f"vLLM refused the weights: {reason}") from error


def _settle(llm_engine: Any) -> None:
    with _refusals():
        llm_engine.apply_model(settle_heads)
    if not llm_engine.reset_prefix_cache():
        raise ReloadFailed("vLLM did not empty its prefix cache: requests are still in flight")
