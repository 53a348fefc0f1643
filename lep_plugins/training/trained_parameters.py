"""Which parameters a training moves, and their float32 masters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args

import torch

from darumeru.core.errors import UserError

Trained = Literal["embeddings", "edges", "lora", "full"]
EDGE = 2
"""Lowest and highest layers that "edges" trains (arXiv:2406.11477)."""


def choose(model: Any, trained: Trained, rank: int = 8, alpha: float = 16.0) -> Any:
    """Freeze everything but what `trained` names; returns the model, wrapped by PEFT for "lora".

    embeddings: input and output embeddings (the paper). edges: beside them the two lowest and two highest layers. lora:
    beside them LoRA of `rank` on all linear layers (arXiv:2412.07633). full: everything.
    """
    check_trained(trained)
    if trained == "full":
        return model.requires_grad_(True)
    if trained == "lora":
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear"))
    else:
        model.requires_grad_(False)
    for weight in embeddings(model):
        weight.requires_grad_(True)
    if trained == "edges":
        layers = _layers(model)
        for layer in {*layers[:EDGE], *layers[-EDGE:]}:
            layer.requires_grad_(True)
    return model


def check_trained(trained: str) -> None:
    """UserError: no such choice."""
    if trained not in get_args(Trained):
        mend = f"one of {', '.join(get_args(Trained))}"
        raise UserError(f"`{trained}` is not what can be trained", "trained", mend)


def embeddings(model: Any) -> list[torch.nn.Parameter]:
    """The input and the output embeddings; one parameter where they are tied."""
    modules = (model.get_input_embeddings(), model.get_output_embeddings())
    found = {id(module.weight): module.weight for module in modules if module is not None}
    return list(found.values())


def _layers(model: Any) -> list[torch.nn.Module]:
    count = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return list(module)
    raise UserError("the model's layers were not found", 'trained: "edges"', 'train "embeddings" or "lora"')


class Masters:
    """Trained parameters by name, each with the float32 tensor that the optimizer moves: a bfloat16 weight would lose
    updates below half a unit in its last place. A float32 parameter is its own master."""

    def __init__(self, model: Any) -> None:
        self.parameters = {name: one for name, one in model.named_parameters() if one.requires_grad}
        self.masters: dict[str, torch.Tensor] = {
            name: one if one.dtype == torch.float32 else one.detach().float().clone()
            for name, one in self.parameters.items()
        }

    def groups(self, model: Any, decay: float, embedding_decay: float) -> list[dict[str, Any]]:
        """Optimizer groups: matrices decay, vectors do not, embeddings have a rate of their own (rows that no text
        touches would only shrink)."""
        own = {id(one) for one in embeddings(model)}
        rates: dict[float, list[torch.Tensor]] = {}
        for name, parameter in self.parameters.items():
            rate = embedding_decay if id(parameter) in own else decay if parameter.ndim > 1 else 0.0
            rates.setdefault(rate, []).append(self.masters[name])
        return [{"params": tensors, "weight_decay": rate} for rate, tensors in rates.items()]

    def take_gradients(self) -> None:
        """Add the gradients of the last backward pass to the masters', in float32."""
        for parameter, master in self._apart():
            if parameter.grad is not None:
                gradient = parameter.grad.float()
                master.grad = gradient if master.grad is None else master.grad.add_(gradient)
                parameter.grad = None

    def publish(self) -> None:
        """Round the masters into the model."""
        with torch.no_grad():
            for parameter, master in self._apart():
                parameter.copy_(master)

    def load(self, weights: dict[str, torch.Tensor]) -> None:
        """Take stored masters over."""
        with torch.no_grad():
            for name, master in self.masters.items():
                master.copy_(weights[name])
        self.publish()

    def state(self) -> dict[str, torch.Tensor]:
        """The masters, for a checkpoint."""
        return {name: master.detach() for name, master in self.masters.items()}

    def _apart(self) -> Iterator[tuple[torch.nn.Parameter, torch.Tensor]]:
        for name, parameter in self.parameters.items():
            if self.masters[name] is not parameter:
                yield parameter, self.masters[name]
