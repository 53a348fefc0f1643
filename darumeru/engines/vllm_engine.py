"""The vLLM engine: one model in this process (its shards in child processes), or several replicas in children."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darumeru.core.answer import Answer
from darumeru.engines.answers import GeneratedText, misfit
from darumeru.engines.order import Divided, Numbered, grouped, sorted_out
from darumeru.engines.protocol import EngineOptions
from darumeru.engines.request import MultipleChoice, Request
from darumeru.engines.support import check_causal, check_plain_adapter
from darumeru.engines.vllm_arguments import FREE_ARGUMENTS
from darumeru.engines.vllm_failure import load_failure
from darumeru.engines.vllm_head import pack_heads
from darumeru.engines.vllm_queries import query
from darumeru.engines.vllm_reload import reload_weights, transfer_weights
from darumeru.engines.vllm_setup import (
    MOST_TOP_K,
    EngineLog,
    adapted_modules,
    engine_args,
    set_environment,
    undisturbed,
    untouched_classes,
)
from darumeru.models.config_file import has_experts
from darumeru.models.files import read_json

if TYPE_CHECKING:
    import torch


class VllmEngine:
    """`llm_engine` is vLLM's own LLMEngine, driven step by step; nobody else may have requests in it.

    It can live inside a training process: its start leaves random states, threads, gc and environment as they were.
    With data_parallel > 1 or own_process there is no `llm_engine`: each replica is a VllmEngine in a child process.
    """

    name = "vllm"
    capabilities = frozenset({"multiple_choice", "generate", "loglikelihood"})
    limits: tuple[str, ...] = ()
    free_arguments = FREE_ARGUMENTS
    package = "vllm"

    @classmethod
    def check(cls, options: EngineOptions) -> None:
        """UserError for a model or an adapter that vLLM gives no numbers of; loads nothing."""
        check_causal(Path(options.model))
        if options.lora:
            check_plain_adapter(Path(options.lora), Path(options.model))

    def __init__(self, options: EngineOptions) -> None:
        self.options = options
        if options.lora and "lm_head" in adapted_modules(Path(options.lora)):
            self.capabilities -= {"loglikelihood"}
            self.limits = ("vLLM cannot score continuations through an adapted lm_head: no extractive summarization",)
        self.llm_engine: Any = None
        self._replicas: Any = None
        if options.data_parallel > 1 or options.own_process or _cannot_share(options):
            from darumeru.engines.vllm_replicas import Replicas

            self._replicas = Replicas(options, type(self))
            self.max_model_len = self._replicas.max_model_len
            return
        set_environment()
        self.log = EngineLog(options.log_file)
        with self.log.redirected(), undisturbed():
            _GROUPS.join()
            try:
                self.llm_engine = _load(options)
            except BaseException:
                _GROUPS.engines -= 1
                self.log.close()
                raise
        self.log.attach()
        self._begin()

    def _begin(self) -> None:
        model = self.llm_engine.vllm_config.model_config
        self.max_model_len = int(model.max_model_len)
        self._lora = _lora_request(self.options.lora)
        self._nans = _watched_nans(self.llm_engine)
        tokenizer = self.llm_engine.get_tokenizer()
        self.text = GeneratedText(tokenizer, _end_ids(self.llm_engine))

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """Yield (index, answer) as each is finished; see Engine.answer."""
        groups, refused = self.divide(requests, self.options, self.max_model_len)
        yield from refused
        if self._replicas is not None:
            yield from self._replicas.answer(groups)
        else:
            yield from self.answer_groups(iter(groups))

    @staticmethod
    def divide(requests: Sequence[Request], options: EngineOptions, max_model_len: int) -> Divided:
        """See Engine.divide: continuations of one context stay together."""
        able, refused = sorted_out(requests, lambda one: misfit(one, max_model_len) or _too_many(one))
        return grouped(able), refused

    @staticmethod
    def placed(options: EngineOptions, spread: bool) -> EngineOptions:
        """See Engine.placed. Left to itself vLLM would look for a placement group of single GPUs on one node too."""
        if options.tensor_parallel * options.pipeline_parallel == 1:
            return options
        backend = {"distributed_executor_backend": "ray" if spread else "mp"}
        return replace(options, extra={**backend, **options.extra})

    def answer_groups(self, groups: Iterator[Sequence[Numbered]]) -> Iterator[tuple[int, Answer]]:
        """See Engine.answer_groups."""
        from darumeru.engines.vllm_stream import Stream

        source = (query(group, self.text, self.max_model_len) if group else None for group in groups)
        stepping = _eager if self.llm_engine.vllm_config.model_config.enforce_eager else None
        return Stream(self.llm_engine, source, self._nans, self._lora, stepping).answers()

    def reload(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Answer with these weights from now on: names and shapes of a checkpoint of the model that was loaded.

        ReloadFailed when they are refused; the engine is of no use then.
        """
        if self._replicas is not None:
            self._replicas.reload(weights)
        else:
            with self.log.redirected():
                reload_weights(self.llm_engine, weights)

    def transfer(self, method: str, argument: Any = None) -> None:
        """One step of taking weights from another process by vLLM's own weight transfer; ReloadFailed as `reload`."""
        with self.log.redirected():
            transfer_weights(self.llm_engine, method, argument)

    def adapt(self, folder: str) -> None:
        """Answer with this adapter from now on: of the rank and for the modules of the one that was loaded."""
        self._lora = _lora_request(folder, self._lora.lora_int_id + 1)

    def close(self) -> None:
        """Give memory and child processes back; may be called twice."""
        if self._replicas is not None:
            self._replicas.close()
        if self.llm_engine is None:
            return
        _GROUPS.leave(self.llm_engine)
        self.llm_engine = None
        gc.collect()
        self.log.close()


def _load(options: EngineOptions) -> Any:
    """vLLM's LLMEngine. What vLLM refuses becomes one line; its traceback goes to the log."""
    from vllm.platforms import current_platform
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.llm_engine import LLMEngine

    arguments = engine_args(options)
    try:
        with untouched_classes(bool(arguments.enforce_eager)):
            engine = LLMEngine.from_engine_args(arguments, usage_context=UsageContext.LLM_CLASS)
            if current_platform.is_cpu():
                engine.apply_model(pack_heads)
            return engine
    except Exception as error:  # models, kernels and packages raise whatever they like here
        raise load_failure(error, options) from error


def _cannot_share(options: EngineOptions) -> bool:
    """Whether another engine lives in this process whose groups this model cannot use: vLLM makes those of experts with
    the first engine alone."""
    return _GROUPS.engines > 0 and has_experts(read_json(Path(options.model) / "config.json"))


def _eager() -> AbstractContextManager[Any]:
    """Without compilation of the two helpers that vLLM compiles even when told to run eagerly (2 to 10 seconds)."""
    import torch

    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


def _too_many(request: Request) -> str | None:
    top_k = request.kind.top_k if isinstance(request.kind, MultipleChoice) else None
    return f"top_k {top_k} is more than {MOST_TOP_K}" if top_k is not None and top_k > MOST_TOP_K else None


def _lora_request(folder: str | None, number: int = 1) -> Any:
    if folder is None:
        return None
    from vllm.lora.request import LoRARequest

    return LoRARequest(f"adapter-{number}", number, folder)


def _end_ids(llm_engine: Any) -> set[int]:
    listed = llm_engine.input_processor.generation_config_fields.get("eos_token_id")
    ids = listed if isinstance(listed, list | tuple) else [listed]
    return {int(token) for token in (*ids, llm_engine.renderer.get_eos_token_id()) if token is not None}


def _watched_nans(llm_engine: Any) -> set[str]:
    """A set that collects the internal ids of requests whose logits were NaN: a generation shows no other sign."""
    found: set[str] = set()
    process = llm_engine.output_processor.process_outputs

    def watching(outputs: Any, *arguments: Any, **named: Any) -> Any:
        found.update(output.request_id for output in outputs if output.num_nans_in_logits)
        return process(outputs, *arguments, **named)

    llm_engine.output_processor.process_outputs = watching
    return found


class _ProcessGroups:
    """torch.distributed and vLLM's groups on it, which all engines of this process share.

    vLLM tears both down whenever one engine ends: under the other engines, and under a trainer that made the process
    group. Here the last engine does it, and only to what vLLM made.
    """

    def __init__(self) -> None:
        self.engines = 0
        self.ours = False

    def join(self) -> None:
        import torch

        if not self.engines:
            self.ours = not torch.distributed.is_initialized()
        self.engines += 1

    def leave(self, llm_engine: Any) -> None:
        """Shut one engine down."""
        from vllm.distributed import parallel_state
        from vllm.v1.engine import core

        clean_up = core.cleanup_dist_env_and_memory
        core.cleanup_dist_env_and_memory = lambda *_, **__: None
        try:
            llm_engine.engine_core.shutdown()
        finally:
            core.cleanup_dist_env_and_memory = clean_up
        self.engines -= 1
        if not self.engines and self.ours:
            clean_up()
        elif not self.engines:
            parallel_state.destroy_model_parallel()


_GROUPS = _ProcessGroups()
