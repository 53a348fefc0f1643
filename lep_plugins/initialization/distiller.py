"""A frozen model with new input rows to learn: hidden states of two segmentations of a text, and their distance."""

from __future__ import annotations

from typing import Any

import torch

from darumeru.core.errors import UserError
from lep_plugins.training.training_loop import Batch


class NewRows(torch.nn.Module):  # type: ignore[misc]
    """Input embeddings with rows added: ids below `known` are the old ones, which stay as they are, the next ones
    `weight`, n x d in float32, which is trained, the rest `fixed`. Gives float32."""

    def __init__(self, old: Any, trained: torch.Tensor, fixed: torch.Tensor) -> None:
        super().__init__()
        self.old = old
        self.known = int(old.weight.shape[0])
        self.weight = torch.nn.Parameter(trained.to(old.weight.device))
        self.register_buffer("fixed", fixed.to(old.weight.device), persistent=False)
        self.scale = float(getattr(old, "embed_scale", 1.0))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        own = (ids >= self.known).unsqueeze(-1)
        with torch.no_grad():
            rows = self.old(ids.clamp(max=self.known - 1)).float()
        added = torch.cat([self.weight, self.fixed])
        found = torch.nn.functional.embedding((ids - self.known).clamp(min=0), added) * self.scale
        return torch.where(own, found, rows)


class Distiller(torch.nn.Module):  # type: ignore[misc]
    """network: a transformers causal language model; its layers are frozen, those above `layer` dropped (-1: none, and
    the states are those after the final norm). trained, fixed: rows of new tokens, float32."""

    def __init__(self, network: Any, trained: torch.Tensor, fixed: torch.Tensor, layer: int) -> None:
        super().__init__()
        self.mixed = network.dtype != torch.float32
        self.network = network.base_model.requires_grad_(False)
        self.embedding = NewRows(network.get_input_embeddings(), trained, fixed)
        network.set_input_embeddings(self.embedding)
        self._states: torch.Tensor | None = None
        holder, layers = _layers(network)
        self.whole = layer in (-1, len(layers))
        if not self.whole:
            setattr(*holder, layers[:layer])
            layers[layer - 1].register_forward_hook(self._keep)

    def _keep(self, module: Any, given: Any, output: Any) -> None:
        self._states = output[0] if isinstance(output, tuple) else output

    def train(self, mode: bool = True) -> Distiller:
        """No dropout, whatever is asked: the teacher and the student are to differ by their tokens alone."""
        super().train(False)
        return self

    def get_input_embeddings(self) -> NewRows:
        return self.embedding

    def get_output_embeddings(self) -> None:
        return None

    def states(self, ids: torch.Tensor) -> torch.Tensor:
        """Hidden states of ids [n, L]: n x L x d. Padding stands at the end, where causal attention cannot see it."""
        device = self.embedding.weight.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.mixed):
            last = self.network(input_ids=ids.to(device), use_cache=False).last_hidden_state
        states = last if self.whole else self._states
        assert states is not None
        return states


def distance(model: Distiller, batch: Batch) -> torch.Tensor:
    """The mean squared difference of the hidden states, over d, summed over the pairs of positions.

    batch: teacher [n, L] old ids; student [n, M] ids with new tokens; pairs [3, p]: row, place in the teacher's, place
    in the student's ids, where both end a token at the same place of the text."""
    rows, one, other = batch["pairs"].to(model.embedding.weight.device)
    with torch.no_grad():
        wanted = model.states(batch["teacher"])[rows, one].float()
    found = model.states(batch["student"])[rows, other].float()
    return (found - wanted).square().mean(dim=1).sum()


def pairs_of(batch: Batch) -> int:
    """Pairs of positions in a batch."""
    return int(batch["pairs"].shape[1])


def depth(config: Any) -> int:
    """Layers of a model by its config.json."""
    inner = config.get("text_config") or config
    return int(inner.get("num_hidden_layers") or inner.get("n_layer") or 0)


def _layers(network: Any) -> tuple[tuple[Any, str], torch.nn.ModuleList]:
    """((module, attribute) that holds the layers, the layers)."""
    count = network.config.get_text_config().num_hidden_layers
    for module in network.base_model.modules():
        for name, child in module.named_children():
            if isinstance(child, torch.nn.ModuleList) and len(child) == count:
                return (module, name), child
    raise UserError("the model's layers were not found", "--method distill", "use another method")
