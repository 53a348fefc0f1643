"""The weights of a model in training, as its checkpoint would hold them, one tensor at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Named = Iterator[tuple[str, "torch.Tensor"]]


def unwrapped(model: Any) -> Any:
    """The transformers (or PEFT) model inside DataParallel, DDP, DeepSpeed's engine or torch.compile."""
    while True:
        inner = getattr(model, "_orig_mod", None) or getattr(model, "module", None)
        if inner is None:
            return model
        model = inner


def signature(model: Any) -> Mapping[str, tuple[int, ...]]:
    """Name -> shape of every tensor of the checkpoint; where FSDP of the first kind holds flat pieces, of this rank's
    pieces. An engine can take new weights while this stays as it is."""
    if _is_flattened(model):
        return {name: tuple(piece.shape) for name, piece in model.named_parameters()}
    return {name: shape for name, shape, _ in _tensors(unwrapped(model))}


def checkpoint_weights(model: Any, *, keep: bool = True) -> Named:
    """Yield (name, tensor) under checkpoint names, adapters merged in copies; the model stays as it is.

    Sharded tensors (FSDP2, ZeRO-3) are gathered one at a time, those of FSDP's first kind all at once: then every rank
    must run this to its end, and the ranks with keep=False get nothing for it. Models whose weights are held fused
    (mixtures of experts) are taken apart whole.
    """
    inner = unwrapped(model)
    with _summoned(model):
        if not keep and _is_flattened(model):
            return  # the first rank alone has whole tensors, and it has all of them by now
        named = _gathered(inner, keep)
        if not _held_as_stored(_base(inner)):
            from transformers.core_model_loading import revert_weight_conversion

            named = iter(revert_weight_conversion(_base(inner), dict(named)).items())
        yield from named


def is_sharded(model: Any) -> bool:
    """Whether a forward pass or a look at the weights needs all ranks."""
    parameters = unwrapped(model).parameters()
    return _is_flattened(model) or any(_is_dtensor(one) or _is_piece(one) for one in parameters)


def _is_flattened(model: Any) -> bool:
    """Whether FSDP of the first kind holds the parameters in flat pieces."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    return any(isinstance(module, FullyShardedDataParallel) for module in model.modules())


def _summoned(model: Any) -> AbstractContextManager[Any]:
    if not _is_flattened(model):
        return nullcontext()
    from torch.distributed.fsdp import FullyShardedDataParallel

    # On a CPU there is nothing to offload, and torch frees what it still reads when told to.
    away = next(model.parameters()).device.type != "cpu"
    whole: AbstractContextManager[Any] = FullyShardedDataParallel.summon_full_params(
        model, writeback=False, rank0_only=away, offload_to_cpu=away
    )
    return whole


def _gathered(model: Any, keep: bool) -> Named:
    import torch

    with torch.no_grad():
        for name, _, read in _tensors(model):
            tensor = read()
            if keep:
                yield name, tensor
            del tensor


def _tensors(model: Any) -> Iterator[tuple[str, tuple[int, ...], Callable[[], torch.Tensor]]]:
    """Name, shape and a function that gives the whole tensor."""
    base = _base(model)
    if base is model:
        tied = _tied_names(model)
        for name, tensor in _held(model):
            if name not in tied:
                yield name, _shape(tensor), _reader(tensor)
        return
    yield from _merged(model)


def _held(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """What `state_dict` holds, without its hooks, by which FSDP of the first kind would flatten the tensors again."""
    for path, module in model.named_modules(remove_duplicate=False):
        owner = f"{_plain(path)}." if _plain(path) else ""
        lasting = [one for one in module._buffers.items() if one[0] not in module._non_persistent_buffers_set]
        for name, tensor in [*module._parameters.items(), *lasting]:
            if tensor is not None:
                yield owner + name, tensor


def _plain(path: str) -> str:
    """A module's path without the wrappers of FSDP's first kind."""
    return ".".join(part for part in path.split(".") if part != "_fsdp_wrapped_module")


def _base(model: Any) -> Any:
    """The transformers model under PEFT's wrapper."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def _merged(model: Any) -> Iterator[tuple[str, tuple[int, ...], Callable[[], torch.Tensor]]]:
    """A PEFT model's tensors with the active adapters' changes added, never in place: a merge that is undone would
    change the last bits of the weights."""
    base, tied = _base(model), _tied_names(_base(model))
    modules = {_plain(path): module for path, module in base.named_modules()}
    for name, tensor in _held(base):
        owner, _, leaf = name.rpartition(".")
        parts = owner.split(".")
        plain = ".".join(part for part in parts if part != "base_layer") + f".{leaf}"
        if "modules_to_save" in parts:
            adapter = parts[parts.index("modules_to_save") + 1]
            if adapter in model.active_adapters:
                yield name.replace(f".modules_to_save.{adapter}", ""), _shape(tensor), _reader(tensor)
        elif "original_module" in parts:
            holder = modules[owner.removesuffix(".original_module")]
            if not any(adapter in holder.modules_to_save for adapter in model.active_adapters):
                yield name.replace(".original_module", ""), _shape(tensor), _reader(tensor)
        elif any(part.startswith("lora_") for part in parts) or plain in tied:
            continue
        elif parts[-1] == "base_layer" and leaf == "weight":
            yield plain, _shape(tensor), _sum_reader(modules[owner.removesuffix(".base_layer")], tensor)
        else:
            yield plain, _shape(tensor), _reader(tensor)


def _sum_reader(layer: Any, tensor: torch.Tensor) -> Callable[[], torch.Tensor]:
    def read() -> torch.Tensor:
        whole = _reader(tensor)()
        for adapter in layer.active_adapters:
            if adapter in layer.lora_A or adapter in getattr(layer, "lora_embedding_A", {}):
                parts = [part for name, part in layer.named_parameters() if adapter in name.split(".")]
                with _joined(parts):
                    change = layer.get_delta_weight(adapter)
                whole = whole + _whole(change).to(whole)
        return whole

    return read


def _reader(tensor: torch.Tensor) -> Callable[[], torch.Tensor]:
    def read() -> torch.Tensor:
        with _joined([tensor]):
            whole = _whole(tensor).detach()
            return whole.clone() if _is_piece(tensor) else whole

    return read


def _joined(tensors: Sequence[Any]) -> AbstractContextManager[Any]:
    """Within it ZeRO-3's pieces among `tensors` are whole."""
    if not any(_is_piece(tensor) for tensor in tensors):
        return nullcontext()
    import deepspeed  # type: ignore[import-not-found,unused-ignore]

    gathered: AbstractContextManager[Any] = deepspeed.zero.GatheredParameters(tensors)
    return gathered


def _whole(tensor: Any) -> torch.Tensor:
    """FSDP2's sharded tensor gathered, any other as it is."""
    found: torch.Tensor = tensor.full_tensor() if _is_dtensor(tensor) else tensor
    return found


def _is_piece(tensor: Any) -> bool:
    """Whether ZeRO-3 holds the tensor in pieces."""
    return hasattr(tensor, "ds_id")


def _is_dtensor(tensor: Any) -> bool:
    return hasattr(tensor, "full_tensor")


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(getattr(tensor, "ds_shape", tensor.shape))


def _tied_names(model: Any) -> set[str]:
    """Names that a checkpoint leaves out because another tensor is the same one."""
    if not getattr(model.config, "tie_word_embeddings", False):
        return set()
    keys = getattr(model, "_tied_weights_keys", None) or ()
    return set(keys)


def _held_as_stored(model: Any) -> bool:
    """Whether names in memory are those of the checkpoint."""
    from transformers.conversion_mapping import get_model_conversion_mapping

    own = getattr(model, "_weight_conversions", None)
    return not (own or get_model_conversion_mapping(model, add_legacy=False))
