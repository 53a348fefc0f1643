"""vLLM's arguments for one replica, and what keeps its start from disturbing the process it lives in."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError, near_names
from darumeru.engines.protocol import EngineOptions
from darumeru.engines.vllm_text_only import is_wrapper, text_only_arguments
from darumeru.models.files import read_json
from darumeru.models.weight_files import find_weights, read_header

# Of one position's distribution; the program of 2024 asked for 50.
MOST_TOP_K = 128
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
CPU_BLOCK = 32
_GIB = 1 << 30
# What vLLM leaves behind in the environment and what would reach the trainer's own child processes.
_DISTURBED = ("LD_PRELOAD", "LD_LIBRARY_PATH", "LOCAL_WORLD_SIZE", "OMP_NUM_THREADS", "KMP_DUPLICATE_LIB_OK")
_OWN_SIZES = ("kv_cache_memory_bytes", "gpu_memory_utilization", "num_gpu_blocks_override")


def set_environment() -> None:
    """Defaults that vLLM reads when it is imported; what the user has set stays."""
    # In this process: starts in a third of the time, no child to be orphaned, and live weights can be handed over.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_COMPUTE_NANS_IN_LOGITS", "1")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")


def engine_args(options: EngineOptions) -> Any:
    """vllm.EngineArgs of one replica. Settings for the CPU are made only where vLLM runs on one.

    Raises UserError for a name in options.extra that vLLM does not know.
    """
    from vllm.engine.arg_utils import EngineArgs
    from vllm.platforms import current_platform

    config = read_json(Path(options.model) / "config.json")
    arguments: dict[str, Any] = {
        "model": options.model,
        "tokenizer": options.tokenizer or options.model,
        "trust_remote_code": options.trust_remote_code,
        "dtype": _dtype(options, config),
        "max_model_len": options.max_model_len,
        "max_num_seqs": options.batch_size,
        "seed": options.seed,
        "tensor_parallel_size": options.tensor_parallel,
        "pipeline_parallel_size": options.pipeline_parallel,
        "max_logprobs": MOST_TOP_K,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
    }
    if arguments["dtype"] != "float32" and "quantization_config" not in config:
        # Logits in half precision tie; vLLM accumulates a float32 head without copying its weights.
        arguments["hf_overrides"] = {"head_dtype": "float32"}
    if is_wrapper(config):
        arguments |= text_only_arguments(options)
    if options.lora:
        # vLLM otherwise also wraps the head, and a wrapped head cannot score prompt tokens (on the CPU it fails).
        adapted = sorted(adapted_modules(Path(options.lora)))
        rank = _lora_rank(Path(options.lora))
        _check_adapter(options.lora, rank)
        arguments |= {"enable_lora": True, "max_lora_rank": rank, "lora_target_modules": adapted}
    if current_platform.is_cpu():
        arguments |= _cpu_arguments(options, config)
    known = {field.name for field in fields(EngineArgs)}
    for name, value in options.extra.items():
        if name not in known:
            raise UserError(f"vLLM has no argument `{name}`", "--engine-args", near=near_names(name, known))
        merged = isinstance(value, Mapping) and isinstance(arguments.get(name), Mapping)
        arguments[name] = {**arguments[name], **value} if merged else value
    return EngineArgs(**arguments)


def _cpu_arguments(options: EngineOptions, config: Mapping[str, Any]) -> dict[str, Any]:
    text = text_config(config)
    if "mamba" in str(text.get("model_type")) or any(str(key).startswith("mamba_") for key in text):
        # Found out by vLLM itself only when the first prompt comes.
        mend = "use a GPU" if text.get("num_attention_heads") is None else "use a GPU, or --engine transformers"
        raise UserError("this build of vLLM, for the CPU, has no kernels for Mamba layers", options.model, mend)
    dtype = options.dtype if options.dtype != "auto" else text.get("dtype") or config.get("dtype") or "bfloat16"
    if "linear_attention" in (text.get("layer_types") or ()) and dtype != "bfloat16":
        mend = "--dtype bfloat16, or --engine transformers"
        raise UserError(f"vLLM's linear attention on the CPU takes bfloat16 only, not {dtype}", options.model, mend)
    # vLLM takes blocks of 128 on a CPU; what is cached of a shared prefix is whole blocks: small ones spare more.
    arguments: dict[str, Any] = {"enforce_eager": True, "block_size": CPU_BLOCK}
    if "kv_lora_rank" in text:
        # vLLM's kernel for the CPU reads the rows of a three-dimensional query at the wrong distance, which only
        # latent attention (DeepSeek) hands to it: log-probabilities were wrong by 1 and more.
        arguments["compilation_config"] = {"custom_ops": ["all", "-rotary_embedding"]}
    if not os.environ.get("VLLM_CPU_KVCACHE_SPACE") and not set(_OWN_SIZES) & options.extra.keys():
        arguments["kv_cache_memory_bytes"] = _cpu_cache_bytes(options, config)
    return arguments


def _dtype(options: EngineOptions, config: Mapping[str, Any]) -> str:
    """vLLM would round float32 weights to half precision when left to itself. Where config.json names no dtype, that
    of the stored tensors counts, as in transformers."""
    if options.dtype != "auto":
        return options.dtype
    parts = (config, text_config(config))
    named = next((part[key] for part in parts for key in ("dtype", "torch_dtype") if part.get(key)), None)
    if named is None and "quantization_config" not in config:
        named = _stored_dtype(Path(options.model))
    return "float32" if named == "float32" else "auto"


def _stored_dtype(folder: Path) -> str | None:
    """float32 where the first floating tensor is that."""
    kinds = (entry.dtype for path in find_weights(folder) for entry in read_header(path).values())
    return "float32" if next((kind for kind in kinds if kind[0] in "FB" and kind != "BOOL"), None) == "F32" else None


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of config.json that describes the text model: of a wrapper, what it wraps."""
    nested = config.get("text_config")
    return nested if isinstance(nested, Mapping) else config


def adapted_modules(folder: Path) -> set[str]:
    """Last names of the modules that a PEFT adapter changes, for example q_proj."""
    names = (name for path in folder.glob("adapter_model*.safetensors") for name in read_header(path))
    return {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in names if ".lora_" in name}


def _check_adapter(folder: str, rank: int) -> None:
    """UserError for an adapter of a kind that vLLM would refuse only when the first prompt comes."""
    from vllm.config.lora import LoRAConfig
    from vllm.lora.peft_helper import PEFTHelper

    try:
        PEFTHelper.from_local_dir(folder, None).validate_legal(LoRAConfig(max_lora_rank=rank))
    except (ValueError, TypeError) as error:
        mend = "use --engine transformers, or merge the adapter into the model first"
        raise UserError(str(error).splitlines()[0], folder, mend) from error


def _lora_rank(folder: Path) -> int:
    config = read_json(folder / "adapter_config.json")
    wanted = max([int(config.get("r", 8)), *map(int, (config.get("rank_pattern") or {}).values())])
    fitting = [rank for rank in LORA_RANKS if rank >= wanted]
    if not fitting:
        raise UserError(f"rank {wanted}; vLLM takes adapters up to rank {LORA_RANKS[-1]}", str(folder))
    return fitting[0]


def _cpu_cache_bytes(options: EngineOptions, config: Mapping[str, Any]) -> int:
    """Room for options.cache_tokens, or for 128 full sequences (as many as vLLM runs at once on a CPU); at most half of
    what the weights leave."""
    from vllm.utils.cpu_resource_utils import get_allowed_cpu_list, get_memory_node_info

    text = {**config, **text_config(config)}
    heads = int(text.get("num_attention_heads") or 32)
    width = int(text.get("head_dim") or int(text.get("hidden_size") or 4096) // heads)
    layers = int(text.get("num_hidden_layers") or 32)
    length = options.max_model_len or int(text.get("max_position_embeddings") or 4096)
    size = 4 if _dtype(options, config) == "float32" else 2
    token = 2 * size * layers * int(text.get("num_key_value_heads") or heads) * width
    sequence = token * (length + 128)
    wanted = 128 * sequence if options.cache_tokens is None else max(token * options.cache_tokens, sequence)
    available = get_memory_node_info(get_allowed_cpu_list()[0].numa_node).available_memory
    weights = sum(path.stat().st_size for path in Path(options.model).glob("*.safetensors"))
    return int(min(max(wanted, _GIB // 16), max((available - 2 * weights) // 2, sequence)))


@contextmanager
def untouched_classes(eager: bool) -> Iterator[None]:
    """Keeps vLLM from rewriting transformers' own classes (__init__, __call__, bases), which it does for models that it
    runs through transformers: a model of that class that is being trained here would fail at its next step.

    Only where nothing is compiled, so that vLLM needs the rewriting for nothing.
    """
    from vllm.model_executor.models.transformers.base import Base

    decorate = Base._decorate_cls_for_torch_compile
    if eager:
        Base._decorate_cls_for_torch_compile = lambda *_, **__: None
    try:
        yield
    finally:
        Base._decorate_cls_for_torch_compile = decorate


@contextmanager
def undisturbed() -> Iterator[None]:
    """Restores what vLLM's start tramples on: random states, torch.set_num_threads, gc.freeze, the environment."""
    import numpy
    import torch

    python_state, numpy_state, torch_state = random.getstate(), numpy.random.get_state(), torch.get_rng_state()
    device_states = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    threads, set_threads = torch.get_num_threads(), torch.set_num_threads
    environment = {name: os.environ.get(name) for name in _DISTURBED}
    frozen = gc.get_freeze_count()
    try:
        yield
    finally:
        random.setstate(python_state)
        numpy.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
        for device, state in enumerate(device_states):
            torch.cuda.set_rng_state(state, device)
        torch.set_num_threads = set_threads
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if not frozen:
            gc.unfreeze()


class EngineLog:
    """Keeps what vLLM and its libraries say out of the terminal and in a file (None: nowhere)."""

    def __init__(self, path: str | None) -> None:
        self.path = path or os.devnull
        self._handler = logging.FileHandler(self.path, encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def attach(self) -> None:
        """Take over the vLLM logger, which otherwise writes to stdout."""
        logger = logging.getLogger("vllm")
        for handler in list(logger.handlers):
            if not isinstance(handler, logging.FileHandler):
                logger.removeHandler(handler)
        if self._handler not in logger.handlers:
            logger.addHandler(self._handler)
        logger.propagate = False
        # trl sets VLLM_LOGGING_LEVEL=ERROR for the terminal's sake; a log file is asked when something went wrong.
        logger.setLevel(min(logger.level or logging.INFO, logging.INFO))

    def close(self) -> None:
        """Stop writing; may be called twice."""
        logging.getLogger("vllm").removeHandler(self._handler)
        self._handler.close()

    @contextmanager
    def redirected(self) -> Iterator[None]:
        """Sends file descriptors 1 and 2, of C++ code and of child processes too, to the log. Python's own stderr
        keeps its terminal: the progress display goes on."""
        import warnings

        self.attach()
        sys.stdout.flush()
        kept_output, kept_errors = os.dup(1), os.dup(2)
        errors = sys.stderr
        log = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        if _descriptor(errors) == 2:
            sys.stderr = os.fdopen(os.dup(kept_errors), "w", buffering=1, encoding="utf-8")
        os.dup2(log, 1)
        os.dup2(log, 2)
        try:
            with warnings.catch_warnings(), self._quiet_notebook():
                warnings.simplefilter("ignore")
                # Importing vLLM gives its logger a handler of its own.
                importlib.import_module("vllm.logger")
                self.attach()
                yield
        finally:
            sys.stdout.flush()
            os.dup2(kept_output, 1)
            os.dup2(kept_errors, 2)
            if sys.stderr is not errors:
                sys.stderr.close()
                sys.stderr = errors
            for descriptor in (log, kept_output, kept_errors):
                os.close(descriptor)

    @contextmanager
    def _quiet_notebook(self) -> Iterator[None]:
        """A notebook's stdout and stderr are no descriptors: what is said there would be outputs of its cell, so it
        goes to the log. The log stays open, since handlers keep the stream that they were made with."""
        if not hasattr(sys.stdout, "pub_thread"):
            yield
            return
        kept = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = open(self.path, "a", buffering=1, encoding="utf-8")  # noqa: SIM115
        try:
            yield
        finally:
            sys.stdout, sys.stderr = kept


def _descriptor(stream: Any) -> int | None:
    try:
        return int(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return None
