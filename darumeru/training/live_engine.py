"""One inference engine that follows a model in training: current weights, no checkpoint, no restart."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darumeru.core.errors import UserError
from darumeru.core.ranks import several
from darumeru.engines.protocol import Engine, EngineDied, EngineOptions
from darumeru.engines.vllm_reload import ReloadFailed
from darumeru.models.config_file import has_experts
from darumeru.models.live_weights import checkpoint_weights, is_sharded, signature, unwrapped
from darumeru.models.model_folder import write_model
from darumeru.training.canary import Canary
from darumeru.training.config import LiveOptions
from darumeru.training.precision import computing_dtype

if TYPE_CHECKING:
    import torch

    Weights = Iterable[tuple[str, torch.Tensor]]


class LiveEngine:
    """Give it the model with `push` (all ranks of a sharded model together), then ask the engine that it returns.

    folder: its own, for the description of the model that vLLM reads (no weights) and for the engine's log. say: told
    one line when it has to do something else than it was asked. cache_tokens: as in EngineOptions. pushes: (seconds,
    bytes) of each push. starting: seconds of the last push that a new engine took. dtype: in which it computes.
    """

    def __init__(
        self,
        options: LiveOptions,
        folder: Path,
        max_model_len: int,
        say: Callable[[str], None] = print,
        cache_tokens: int | None = None,
    ) -> None:
        self.options = options
        self.folder = folder
        self.max_model_len = max_model_len
        self.say = say
        self.cache_tokens = cache_tokens
        self.pushes: list[tuple[float, int]] = []
        self.starting = 0.0
        self.engine: Any = None
        self.dtype = ""
        self._taken: Any = None
        self._canary: Canary | None = None
        self._fallback = options.engine == "transformers"

    def push(self, model: Any, tokenizer: Any, canary: Sequence[int] = ()) -> Engine:
        """The engine with the model's current weights. canary: token ids of some prompt; their log-probabilities are
        compared with those of the model itself, and an engine that differs is started anew from a saved checkpoint."""
        self.starting = 0.0
        if self._fallback:
            return self._transformers(model, tokenizer)
        try:
            if is_sharded(model):
                canary = ()
            self._push(model, tokenizer)
            if canary and not self._agrees(model, tokenizer, canary):
                self.say("the running engine differs from the model in training: starting it anew from saved weights")
                self._push(model, tokenizer, restart=True)
                if not self._agrees(model, tokenizer, canary):
                    raise ReloadFailed("vLLM computes other log-probabilities than the model in training")
        except (UserError, ReloadFailed, EngineDied) as error:
            self.close()
            if is_sharded(model):
                raise
            reason = error.line() if isinstance(error, UserError) else str(error)
            self.say(f"vLLM cannot be used here ({reason}): evaluating with the transformers engine, which is slower")
            self._fallback = True
            return self._transformers(model, tokenizer)
        engine: Engine = self.engine
        return engine

    def rest(self) -> None:
        """Give memory back until the next push, as the options say."""
        if self.engine is None or self._fallback:
            return
        between = self.options.between or ("sleep" if _on_gpu() else "keep")
        if between == "close":
            self.close()
        elif between == "sleep" and _on_gpu() and self.engine.llm_engine is not None:
            self.engine.llm_engine.sleep(2)

    def close(self) -> None:
        """End the engine; may be called twice, and `push` starts a new one."""
        if self.engine is not None:
            self.engine.close()
        self.engine = self._taken = None

    # The way of the weights

    def _push(self, model: Any, tokenizer: Any, restart: bool = False) -> None:
        """Weights into the running engine, or into a new one. All of them are always read: other ranks may gather."""
        weights = _Counted(checkpoint_weights(model))
        saved = restart or _reloads_wrongly(model)
        started = time.perf_counter()
        try:
            if saved or self.engine is None or signature(model) != self._taken:
                self._start(model, tokenizer, weights if saved else None)
            elif _on_gpu() and self.engine.llm_engine is not None and self.engine.llm_engine.is_sleeping():
                self.engine.llm_engine.wake_up()
            if not saved:
                started = time.perf_counter()
                self.engine.reload(weights)
        finally:
            weights.drain()
        self.pushes.append((time.perf_counter() - started, weights.bytes))

    def _start(self, model: Any, tokenizer: Any, weights: Weights | None) -> None:
        """A new engine on saved weights, or on none: those come by `reload`."""
        from darumeru.engines import load_engine
        from darumeru.engines.vllm_transfer import suitable_backend

        self.close()
        started = time.perf_counter()
        self.dtype = computing_dtype(model) if self.options.dtype == "auto" else self.options.dtype
        shell = self.folder / "model"
        write_model(model, tokenizer, shell, weights)
        extra = dict(self.options.engine_args)
        if weights is None:
            extra["load_format"] = "dummy"
        if _on_gpu():
            extra.setdefault("enable_sleep_mode", True)
            extra.setdefault("gpu_memory_utilization", 0.3)
        own_process = self.options.own_process
        if own_process is None:
            own_process = several() or self.options.devices is not None
        options = EngineOptions(
            model=str(shell),
            dtype=self.dtype,
            max_model_len=self.max_model_len,
            data_parallel=self.options.data_parallel,
            own_process=own_process,
            devices=self.options.devices,
            extra=extra,
            log_file=str(self.folder / "engine.log"),
            cache_tokens=self.cache_tokens,
        )
        if (own_process or self.options.data_parallel > 1) and (backend := suitable_backend(options)):
            options = replace(options, extra={"weight_transfer_config": {"backend": backend}, **extra})
        self.engine = load_engine("vllm", options)
        self._taken = signature(model)
        self.starting += time.perf_counter() - started

    def _agrees(self, model: Any, tokenizer: Any, canary: Sequence[int]) -> bool:
        """Whether engine and model give the same log-probabilities to the tokens of `canary`."""
        if self._canary is None:
            self._canary = Canary(tokenizer, self.max_model_len)
        return self._canary.agrees(self.engine, model, self.dtype, canary)

    def _transformers(self, model: Any, tokenizer: Any) -> Engine:
        from darumeru.engines.transformers_engine import TransformersEngine

        if is_sharded(model):
            raise UserError("a sharded model cannot answer by itself", "engine", "evaluate with the vLLM engine")
        self.dtype = computing_dtype(model)
        return TransformersEngine.from_model(unwrapped(model), tokenizer, self.max_model_len)


class _Counted:
    """Passes weights on, counts their bytes, and can be read to its end when its reader stops early: the other ranks
    gather as long as there is something to gather."""

    def __init__(self, named: Any) -> None:
        self.named = iter(named)
        self.bytes = 0

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> tuple[str, Any]:
        name, tensor = next(self.named)
        self.bytes += tensor.nbytes
        return name, tensor

    def drain(self) -> None:
        for _ in self.named:
            pass


def _reloads_wrongly(model: Any) -> bool:
    """Mixtures of experts on a CPU answer wrongly after a reload: they get a new engine each time."""
    config = unwrapped(model).config
    return has_experts(config.to_dict()) and not _on_gpu()


def _on_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())
