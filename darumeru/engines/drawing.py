"""Drawing the next token from logits, the same whatever stands beside the row in its batch."""

from __future__ import annotations

from collections.abc import Set

import torch

from darumeru.engines.request import Sampling


class Drawer:
    """Draws the tokens of one generation with its own generator on the CPU."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self._generator = torch.Generator().manual_seed(sampling.seed)

    def draw(self, logits: torch.Tensor) -> int:
        """The next token id. logits: [vocabulary], float32."""
        probabilities = kept(logits.cpu().double() / self.sampling.temperature, self.sampling)
        return int(torch.multinomial(probabilities, 1, generator=self._generator))


def penalize(logits: torch.Tensor, said: Set[int], penalty: float) -> None:
    """Make what was said less probable, in place. logits: [vocabulary]; see Generate.repetition_penalty."""
    ids = torch.tensor(list(said), device=logits.device)
    found = logits[ids]
    logits[ids] = torch.where(found > 0, found / penalty, found * penalty)


def kept(scaled: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Probabilities [vocabulary] that sum to 1: the top_k largest, of those the fewest that reach top_p together, at
    least one; everything else is 0."""
    order = scaled.argsort(descending=True, stable=True)
    if sampling.top_k:
        order = order[: sampling.top_k]
    sorted_probabilities = scaled[order].softmax(-1)
    before = sorted_probabilities.cumsum(-1) - sorted_probabilities
    order = order[before < sampling.top_p]
    result = torch.zeros_like(scaled)
    result[order] = scaled[order].softmax(-1)
    return result
