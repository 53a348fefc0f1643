"""The reference engine: plain transformers forward passes, on a folder or on the live model of a training run."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darumeru.core.answer import Answer
from darumeru.core.errors import UserError
from darumeru.engines.answers import GeneratedText, candidate_ids, choice_answer, continue_answer, misfit, nan_answer
from darumeru.engines.order import Divided, Numbered, sorted_out
from darumeru.engines.protocol import EngineDied, EngineOptions
from darumeru.engines.request import Generate, LogLikelihood, MultipleChoice, Request
from darumeru.engines.support import check_causal
from darumeru.engines.transformers_loading import load_model, refuse_without_cache
from darumeru.models.config_file import CONTEXT_KEYS

if TYPE_CHECKING:
    import torch

BATCH_SIZE = 16
# Where the weights lie and how they come there. Not free: attn_implementation, experts_implementation and the like,
# which round in other places, and everything that transformers takes for the model's configuration.
FREE_ARGUMENTS = frozenset({
    "device", "device_map", "max_memory", "offload_buffers", "offload_folder", "low_cpu_mem_usage", "use_safetensors",
    "cache_dir", "local_files_only", "proxies", "token", "weights_only",
})  # fmt: skip
# Rows times padded length of one batch; a longer prompt gets a batch of its own.
BATCH_TOKENS = 16384


class TransformersEngine:
    """Answers in batches of requests of like length, padded on the left; batch_size=1 pads nothing.

    extra options go to `from_pretrained` as they are ("attn_implementation", "device_map"); "device" chooses where
    the model lives (default: an accelerator if there is one). A model in half precision gets a float32 head, as in
    the vLLM engine, because half-precision logits tie.
    """

    name = "transformers"
    capabilities = frozenset({"multiple_choice", "generate", "loglikelihood"})
    free_arguments = FREE_ARGUMENTS
    package = "torch"

    @classmethod
    def check(cls, options: EngineOptions) -> None:
        """UserError for a model that is no causal language model; loads nothing."""
        check_causal(Path(options.model))

    def __init__(self, options: EngineOptions) -> None:
        for field in ("tensor_parallel", "pipeline_parallel", "data_parallel"):
            if getattr(options, field) != 1:
                mend = "use --engine vllm for that" + (", or --cluster" if field == "data_parallel" else "")
                raise UserError(
                    "the transformers engine runs one copy of the model", f"--{field.replace('_', '-')}", mend
                )
        model, tokenizer = load_model(options)
        own = _context_length(model.config)
        self._begin(model, tokenizer, min(options.max_model_len or own, own), options.batch_size or BATCH_SIZE)

    @classmethod
    def from_model(
        cls, model: Any, tokenizer: Any, max_model_len: int, batch_size: int = BATCH_SIZE
    ) -> TransformersEngine:
        """An engine on a model that someone else holds and may be training.

        Its weights are used as they are at each call; training mode and gradients are left as they were found.
        """
        engine = cls.__new__(cls)
        engine._begin(model, tokenizer, max_model_len, batch_size)
        return engine

    def _begin(self, model: Any, tokenizer: Any, max_model_len: int, batch_size: int) -> None:
        from darumeru.engines.transformers_forward import ForwardPasses, inner_model

        refuse_without_cache(type(inner_model(model)), type(inner_model(model)).__name__)
        self.model = model
        self.max_model_len = max_model_len
        self.batch_size = batch_size
        self.text = GeneratedText(tokenizer, _end_ids(model, tokenizer))
        self._passes: Any = ForwardPasses(model, self.text, max_model_len, batch_size)

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """Yield (index, answer); see Engine.answer. Requests of one kind and like length share a batch."""
        able, refused = sorted_out(requests, lambda one: misfit(one, self.max_model_len))
        yield from refused
        yield from self.answer_groups(_batches(able, self.batch_size))

    @staticmethod
    def divide(requests: Sequence[Request], options: EngineOptions, max_model_len: int) -> Divided:
        """See Engine.divide: a group is a batch, so that each is rounded as on one machine."""
        able, refused = sorted_out(requests, lambda one: misfit(one, max_model_len))
        return list(_batches(able, options.batch_size or BATCH_SIZE)), refused

    @staticmethod
    def placed(options: EngineOptions, spread: bool) -> EngineOptions:
        """See Engine.placed."""
        return options

    def answer_groups(self, groups: Iterator[Sequence[Numbered]]) -> Iterator[tuple[int, Answer]]:
        """See Engine.answer_groups."""
        from darumeru.engines.transformers_forward import evaluating

        for batch in filter(None, groups):
            try:
                with evaluating(self.model):
                    answers = self._answer_batch([request for _, request in batch])
            except RuntimeError as error:  # torch raises this for lack of memory and for failures of the device
                raise EngineDied(f"{type(error).__name__}: {str(error).splitlines()[0]}") from error
            yield from zip((number for number, _ in batch), answers, strict=True)

    def close(self) -> None:
        """Drop the model."""
        self.model = self._passes = None

    def _answer_batch(self, requests: Sequence[Request]) -> list[Answer]:
        started = time.perf_counter()
        kinds = [request.kind for request in requests]
        prompts = [request.prompt for request in requests]
        if isinstance(kinds[0], LogLikelihood):
            rows = self._passes.continuations(
                prompts[0], [kind.continuation for kind in kinds if isinstance(kind, LogLikelihood)]
            )
            return [continue_answer(row, time.perf_counter() - started, greedy) for row, greedy in rows]
        if isinstance(kinds[0], MultipleChoice):
            scores = self._passes.next_token(prompts)
            best = scores.argmax(-1).tolist()
            taken = [
                _chosen(kind, row) for kind, row in zip(kinds, scores, strict=True) if isinstance(kind, MultipleChoice)
            ]
            seconds = time.perf_counter() - started
            return [choice_answer(*one, seconds, token) for one, token in zip(taken, best, strict=True)]
        wanted = [kind for kind in kinds if isinstance(kind, Generate)]
        texts = self._passes.generate(prompts, wanted)
        seconds = time.perf_counter() - started
        return [
            nan_answer(seconds) if ids is None else self.text.answer(ids, kind, seconds)
            for ids, kind in zip(texts, wanted, strict=True)
        ]


def _batches(able: Sequence[Numbered], size: int) -> Iterator[list[Numbered]]:
    """Batches: LogLikelihood by context, the others by length, longest first (memory fails early)."""
    contexts: dict[tuple[int, ...], list[Numbered]] = {}
    for numbered in able:
        if isinstance(numbered[1].kind, LogLikelihood):
            contexts.setdefault(numbered[1].prompt, []).append(numbered)
    yield from contexts.values()
    for kind in (MultipleChoice, Generate):
        batch: list[Numbered] = []
        mine = [numbered for numbered in able if isinstance(numbered[1].kind, kind)]
        for numbered in sorted(mine, key=lambda one: -len(one[1].prompt)):
            longest = len(batch[0][1].prompt) if batch else 0
            if batch and (len(batch) == size or (len(batch) + 1) * longest > BATCH_TOKENS):
                yield batch
                batch = []
            batch.append(numbered)
        if batch:
            yield batch


def _chosen(kind: MultipleChoice, scores: torch.Tensor) -> tuple[MultipleChoice, dict[int, float]]:
    """The candidates' log-probabilities out of those of the whole vocabulary; with top_k only ids of that rank."""
    values = {token: float(scores[token]) for token in candidate_ids(kind)}
    if kind.top_k is None:
        return kind, values
    return kind, {token: value for token, value in values.items() if not int((scores > value).sum()) >= kind.top_k}


def _end_ids(model: Any, tokenizer: Any) -> set[int]:
    from darumeru.engines.transformers_forward import inner_model

    found = getattr(getattr(inner_model(model), "generation_config", None), "eos_token_id", None)
    listed = found if isinstance(found, list | tuple) else [found]
    return {int(token) for token in (*listed, tokenizer.eos_token_id) if token is not None}


def _context_length(config: Any) -> int:
    parts = (config, getattr(config, "text_config", None))
    return next(
        (int(getattr(part, key)) for part in parts for key in CONTEXT_KEYS if getattr(part, key, None)), 1 << 20
    )
