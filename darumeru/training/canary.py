"""Whether an engine answers with the weights of the model in training, as far as rounding lets it be seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from darumeru.engines.protocol import Engine, EngineDied
from darumeru.engines.request import LogLikelihood, Request
from darumeru.engines.vllm_reload import ReloadFailed
from darumeru.models.live_weights import unwrapped
from darumeru.training.precision import computing_in

TOKENS = 64
# Mean difference of log-probabilities that other kernels explain in float32; accelerators may multiply it in TF32.
EXACT, TF32 = 0.005, 0.02
# An engine of lower precision may be this many times as far from exact answers as the model is, cast to that precision;
# 0.8 to 1.1 times are usual.
TIMES = 3.0
# Standard deviations of rounding that an engine may lean towards the weights of the push before.
LEANING = 5.0
# Where the model's kernels cannot compute exactly: differences that were seen between kernels of that type.
ROUGH = {"float32": EXACT, "bfloat16": 0.15, "float16": 0.05}


class Canary:
    """Compares log-probabilities of the tokens of one prompt: the engine's with those of the model's own weights in
    float32. How far rounding may move them is measured each time on the model itself, cast to the engine's type.

    Weights that stayed behind move answers towards those of the push before; rounding does not know that direction, so
    that a much smaller difference shows there. ids: of the prompt; at least two, or everything agrees.
    """

    def __init__(self, tokenizer: Any, max_model_len: int) -> None:
        self._tokenizer = tokenizer
        self._length = max_model_len
        self._before: np.ndarray[Any, Any] | None = None
        self._now: np.ndarray[Any, Any] | None = None

    def agrees(self, engine: Engine, model: Any, dtype: str, ids: Sequence[int]) -> bool:
        """Whether the engine, which computes in `dtype`, has the weights of the model."""
        ids = tuple(ids[: TOKENS + 1])
        if len(ids) < 2:
            return True
        request = Request(ids[:1], LogLikelihood(ids[1:]), "")
        live = _logprobs(engine, request)
        try:
            exact = self._computed(model, "float32", request)
            rounded = exact if dtype == "float32" else self._computed(model, dtype, request)
        except (EngineDied, ValueError):
            return bool(np.abs(live - _logprobs(self._own(model), request)).mean() < ROUGH[dtype])
        if self._now is None or len(self._now) != len(exact) or not np.array_equal(self._now, exact):
            self._before, self._now = self._now, exact
        floor = EXACT if unwrapped(model).device.type == "cpu" else TF32
        return _fits(live, exact, rounded, self._before, floor)

    def _computed(self, model: Any, dtype: str, request: Request) -> np.ndarray[Any, Any]:
        with computing_in(model, dtype):
            return _logprobs(self._own(model), request)

    def _own(self, model: Any) -> Engine:
        from darumeru.engines.transformers_engine import TransformersEngine

        return TransformersEngine.from_model(unwrapped(model), self._tokenizer, self._length)


def _fits(
    live: np.ndarray[Any, Any],
    exact: np.ndarray[Any, Any],
    rounded: np.ndarray[Any, Any],
    before: np.ndarray[Any, Any] | None,
    floor: float,
) -> bool:
    if not np.abs(live - exact).mean() <= floor + TIMES * np.abs(rounded - exact).mean():
        return False
    if before is None or len(before) != len(exact):
        return True
    way = before - exact
    length = float(np.linalg.norm(way))
    noise = floor + float(np.sqrt(np.square(rounded - exact).mean()))
    return length == 0 or float((live - exact) @ way) / length <= LEANING * noise


def _logprobs(engine: Engine, request: Request) -> np.ndarray[Any, Any]:
    ((_, answer),) = engine.answer([request])
    if answer.logprobs is None:
        raise ReloadFailed(answer.error or "vLLM gave no log-probabilities")
    return np.array(answer.logprobs)
