"""Forward passes of a transformers model: next-token scores, greedy generation, scores of continuations."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from darumeru.engines.answers import GeneratedText
from darumeru.engines.drawing import Drawer, penalize
from darumeru.engines.request import Generate

# Most float32 logits of continuations held at once (1 GiB).
LOGITS_AT_ONCE = 1 << 28


class ForwardPasses:
    """Computes on whatever the model's weights are at the moment. batch_size: most rows of continuations at once."""

    def __init__(self, model: Any, text: GeneratedText, max_model_len: int, batch_size: int) -> None:
        self.model = model
        self.text = text
        self.max_model_len = max_model_len
        self.batch_size = batch_size
        self._takes = inspect.signature(inner_model(model).forward).parameters

    def next_token(self, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Log-probabilities of the token after each prompt, [prompts, vocabulary] in float32."""
        return self._forward(*self._left_padded(prompts))[0][:, -1].log_softmax(-1)

    @property
    def device(self) -> torch.device:
        """Where the input embeddings are."""
        device: torch.device = next(iter(self.model.parameters())).device
        return device

    def _forward(
        self, ids: torch.Tensor, mask: torch.Tensor, cache: Any = None, keep: int = 1, use_cache: bool = False
    ) -> tuple[torch.Tensor, Any]:
        """Float32 logits of the last `keep` positions, [rows, keep, vocabulary], and the cache.

        ids: [rows, new]; mask: [rows, cached + new].
        """
        positions = (mask.long().cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        known = {"position_ids": positions, "logits_to_keep": keep}
        inputs = {name: value for name, value in known.items() if name in self._takes}
        output = self.model(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=use_cache or cache is not None,
            **inputs,
        )
        return output.logits[:, -keep:].float(), getattr(output, "past_key_values", None)

    def generate(self, prompts: Sequence[Sequence[int]], kinds: Sequence[Generate]) -> list[list[int] | None]:
        """Ids of each row, its end token included, greedy or drawn by the row's own generator; a row ends at an end
        token, a stop string or its budget. None for a row whose logits were NaN."""
        ids, mask = self._left_padded(prompts)
        rooms = [
            min(kind.max_new_tokens, self.max_model_len - len(prompt))
            for prompt, kind in zip(prompts, kinds, strict=True)
        ]
        made: list[list[int]] = [[] for _ in prompts]
        drawers = {row: Drawer(kind.sampling) for row, kind in enumerate(kinds) if kind.sampling}
        said = {row: set(prompts[row]) for row, kind in enumerate(kinds) if kind.repetition_penalty != 1}
        broken: set[int] = set()
        going = set(range(len(prompts)))
        cache = None
        while going:
            rows, cache = self._forward(ids, mask, cache, use_cache=True)
            logits = rows[:, -1]
            broken |= going & set(logits.isnan().any(-1).nonzero()[:, 0].tolist())
            going -= broken
            for row in going & said.keys():
                penalize(logits[row], said[row], kinds[row].repetition_penalty)
            chosen = logits.argmax(-1)
            for row in going & drawers.keys():
                chosen[row] = drawers[row].draw(logits[row])
            for row in sorted(going):
                made[row].append(int(chosen[row]))
                said.get(row, set()).add(made[row][-1])
                if len(made[row]) >= rooms[row] or self._ended(made[row], kinds[row]):
                    going.discard(row)
            ids = chosen[:, None]
            # A finished row adds nothing, so that its positions do not run past the model's last one.
            grown = torch.tensor([[int(row in going)] for row in range(len(prompts))], device=mask.device)
            mask = torch.cat([mask, grown], dim=1)
        return [None if row in broken else ids for row, ids in enumerate(made)]

    def _ended(self, ids: Sequence[int], kind: Generate) -> bool:
        if ids[-1] in self.text.end_ids:
            return True
        return bool(kind.stop) and self.text.stop_position(ids, self.text.decode(ids), kind.stop) is not None

    def continuations(
        self, prompt: Sequence[int], continuations: Sequence[Sequence[int]]
    ) -> list[tuple[list[float], bool]]:
        """Log-probabilities of the tokens of each continuation, and whether greedy decoding would say it.

        The prompt is computed once where its cache can be copied to several rows, otherwise with each continuation.
        """
        ids = torch.tensor([prompt], device=self.device)
        logits, cache = self._forward(ids, torch.ones_like(ids), use_cache=True)
        first = logits[0, -1].log_softmax(-1)
        best = int(first.argmax())
        scores = {each: [float(first[token]) for token in each[:1]] for each in map(tuple, continuations)}
        greedy = {each: each[:1] in ((), (best,)) for each in scores}
        longer = sorted((each for each in scores if len(each) > 1), key=len, reverse=True)
        while longer:
            fitting = max(1, LOGITS_AT_ONCE // (len(first) * len(longer[0])))
            rows = longer[: min(fitting, self.batch_size)]
            for row, (rest, is_best) in zip(rows, self._rest(prompt, cache, rows), strict=True):
                scores[row] += rest
                greedy[row] &= is_best
            longer = longer[len(rows) :]
        return [(scores[tuple(each)], greedy[tuple(each)]) for each in continuations]

    def _rest(
        self, prompt: Sequence[int], cache: Any, rows: Sequence[tuple[int, ...]]
    ) -> list[tuple[list[float], bool]]:
        """Log-probabilities of the second and later tokens, and whether each is the most probable of its place.
        rows: distinct continuations, longest first."""
        width = len(rows[0]) - 1
        padded = torch.tensor([[*row, *[0] * (width + 1 - len(row))] for row in rows], device=self.device)
        real = [[1] * (len(prompt) + len(row) - 1) + [0] * (width + 1 - len(row)) for row in rows]
        ids, grown = padded[:, :-1], None
        if _copyable(cache):
            grown = copy.deepcopy(cache)
            grown.batch_repeat_interleave(len(rows))
        else:
            whole = torch.tensor([list(prompt)], device=self.device).expand(len(rows), -1)
            ids = torch.cat([whole, ids], dim=1)
        logits, _ = self._forward(ids, torch.tensor(real, device=self.device), grown, keep=width)
        scores = logits.gather(-1, padded[:, 1:, None])[..., 0] - logits.logsumexp(-1)
        best = (logits.argmax(-1) == padded[:, 1:]).tolist()
        lines = zip(scores.tolist(), best, (len(row) - 1 for row in rows), strict=True)
        return [(line[:size], all(hits[:size])) for line, hits, size in lines]

    def _left_padded(self, prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(len(prompt) for prompt in prompts)
        ids = [[0] * (width - len(prompt)) + list(prompt) for prompt in prompts]
        mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        return torch.tensor(ids, device=self.device), torch.tensor(mask, device=self.device)


def _copyable(cache: Any) -> bool:
    """Whether all of a cache can be repeated for several rows: the states of linear attention (Qwen3-Next, Falcon-H1)
    cannot, even where the cache has the method."""
    from transformers.cache_utils import DynamicLayer, LinearAttentionCacheLayerMixin

    layers = getattr(cache, "layers", ())
    plain = (isinstance(each, DynamicLayer) and not isinstance(each, LinearAttentionCacheLayerMixin) for each in layers)
    return bool(layers) and all(plain)


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Evaluation mode without gradients; each module's mode is restored."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def inner_model(model: Any) -> Any:
    """The transformers model inside PEFT and parallel wrappers, whose own signatures say nothing."""
    model = getattr(model, "module", model)
    return model.get_base_model() if hasattr(model, "get_base_model") else model
