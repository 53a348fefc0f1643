"""In which precision a model in training computes, and what its answers are in another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from darumeru.models.live_weights import is_sharded, unwrapped

DTYPES = ("float32", "bfloat16", "float16")


def computing_dtype(model: Any) -> str:
    """The type in which the model multiplies matrices when it is called here and now: under autocast (accelerate's,
    or the caller's own) that of the products, not that of the weights. float32, bfloat16 or float16."""
    inner = unwrapped(model)
    found = _accelerated() if is_sharded(model) else _first_product(inner)
    name = str(found or inner.dtype).removeprefix("torch.")
    return name if name in DTYPES else "bfloat16"


def _accelerated() -> str | None:
    """What accelerate's mixed precision is called, where it is on: a sharded model cannot be asked by one rank."""
    from accelerate.state import AcceleratorState

    precision = AcceleratorState._shared_state.get("_mixed_precision")
    return {"bf16": "bfloat16", "fp16": "float16", "fp8": "bfloat16"}.get(str(precision))


def _first_product(model: Any) -> Any:
    """Type of what the first matrix gives for one token."""
    import torch

    from darumeru.engines.transformers_forward import evaluating

    seen: list[Any] = []

    def note(_module: Any, _inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.is_floating_point():
            seen.append(output.dtype)

    with ExitStack() as hooks:
        hooks.enter_context(evaluating(model))
        for module in model.modules():
            weight = module._parameters.get("weight")
            if weight is not None and weight.ndim == 2 and not isinstance(module, torch.nn.Embedding):
                hooks.callback(module.register_forward_hook(note).remove)
        model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=next(model.parameters()).device))
    return seen[0] if seen else None


@contextmanager
def computing_in(model: Any, dtype: str) -> Iterator[None]:
    """The model computes in `dtype`, as an engine of that type does: without autocast, its head in float32. Weights are
    cast while a layer needs them; the model's own are not touched. RuntimeError out of the block where a kernel of the
    model does not take the type."""
    import torch

    inner = unwrapped(model)
    kind = getattr(torch, dtype)
    head = inner.get_output_embeddings()
    autocast = torch.autocast(next(inner.parameters()).device.type, enabled=False)
    with ExitStack() as stack:
        stack.enter_context(autocast)
        stack.enter_context(_without_accelerate(inner))
        for unit in _units(inner, head):
            before, after = _casting(unit, kind, unit is head)
            stack.callback(unit.register_forward_pre_hook(before).remove)
            stack.callback(unit.register_forward_hook(after, always_call=True).remove)
        yield


@contextmanager
def _without_accelerate(model: Any) -> Iterator[None]:
    """The forward pass as it was before accelerate put autocast around it."""
    wrapped = model.__dict__.get("forward")
    if wrapped is None or "_original_forward" not in model.__dict__:
        yield
        return
    model.forward = model._original_forward
    try:
        yield
    finally:
        model.forward = wrapped


def _units(model: Any, head: Any) -> Iterator[Any]:
    """Layers of the stack and the head whole, since their parts (adapters among them) look at each other's types; every
    other module with weights."""
    from torch.nn import ModuleList

    def below(module: Any) -> Iterator[Any]:
        if isinstance(module, ModuleList):
            yield from module
            return
        if module is head:
            yield module
            return
        if any(one is not None for one in module._parameters.values()):
            yield module
        for child in module.children():
            yield from below(child)

    yield from below(model)


def _casting(unit: Any, kind: Any, is_head: bool) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Hooks that give a module cast weights for the time of its forward pass."""
    import torch

    kept: list[tuple[dict[str, Any], str, Any]] = []

    def before(_module: Any, inputs: tuple[Any, ...]) -> Any:
        for module in unit.modules():
            for name, weight in module._parameters.items():
                if weight is not None and weight.is_floating_point():
                    kept.append((module._parameters, name, weight))
        for parameters, name, weight in kept:
            cast = weight.detach().to(kind)
            parameters[name] = cast.to(torch.float32) if is_head else cast
        return tuple(one.float() for one in inputs) if is_head else None

    def after(_module: Any, _inputs: Any, _output: Any) -> None:
        while kept:
            parameters, name, weight = kept.pop()
            parameters[name] = weight

    return before, after
