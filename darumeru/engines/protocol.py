"""The contract between the harness and whatever computes answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from darumeru.core.answer import Answer
from darumeru.engines.request import Request


@dataclass(frozen=True)
class EngineOptions:
    """What the user may say of an engine; each engine takes what it knows and refuses the rest by name.

    model: a folder (already resolved from the Hub cache) or a server's address. tokenizer: a folder, default
    the model's. dtype: "auto", "float32", "bfloat16", "float16". max_model_len: total tokens of prompt and
    answer. lora: a PEFT adapter folder. extra: --engine-args, passed to the engine as they are.
    log_file: where the engine's own logs go. own_process: run in a child process even without data parallelism.
    devices: accelerators of the child processes, as CUDA_VISIBLE_DEVICES takes them. cluster: "auto" or the address of
    a Ray cluster on whose nodes the replicas are placed; data_parallel=0 is as many as it has room for. say: told what
    the user should see now, a line each. cache_tokens: of prompts and answers that are worth holding at once; vLLM on a
    CPU takes memory for them, and for 128 full ones when it is None.
    """

    model: str
    tokenizer: str | None = None
    dtype: str = "auto"
    max_model_len: int | None = None
    seed: int = 0
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    data_parallel: int = 1
    lora: str | None = None
    trust_remote_code: bool = False
    batch_size: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    log_file: str | None = None
    own_process: bool = False
    devices: str | None = None
    cluster: str | None = None
    say: Callable[[str], None] | None = field(default=None, compare=False)
    cache_tokens: int | None = None


@runtime_checkable
class Engine(Protocol):
    """One loaded model. Constructed as EngineClass(options: EngineOptions), which loads the model.

    An engine that cannot do a kind of request says so in `capabilities` ("multiple_choice", "generate",
    "loglikelihood"), which is read before any request is sent.

    free_arguments: names in EngineOptions.extra that change no answer (memory, patience, keys, logging): free to change
    in the middle of a run. Read from the class, before anything heavy is imported. A class without it has none, so that
    every argument counts as changing answers. Not free is also what only changes rounding (kernels, dtypes, caching).

    package: import name of the package that it stands on, if it is an optional one (checked before anything is loaded).

    A class may have `check(options)`, called before the model is loaded: it raises UserError for a model that it
    cannot answer for.

    A class whose engines can be replicas on a cluster has three methods more. `placed(options, spread)`, static: the
    options of one replica, in an actor that holds its accelerators or (spread) whose placement group has one in each
    bundle. `divide(requests, options, max_model_len)`, static: groups of (index, request) that one replica must answer
    together, in the order in which they are best asked, and (index, answer) of those that cannot be asked.
    `answer_groups(groups)`: yields (index, answer) for an iterator of groups that is read only as fast as there is
    room; an empty group says: none now, ask again later.
    """

    name: str
    free_arguments: frozenset[str]
    capabilities: frozenset[str]
    max_model_len: int

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """Yield (index into requests, answer) as each answer is finished, in any order.

        All requests are in flight together as far as the engine can hold them. An engine that dies raises
        EngineDied; answers already yielded stay valid. The iterator may be closed early (Ctrl-C): the
        engine then drops what is in flight and stays usable.
        """
        ...

    def close(self) -> None:
        """Give memory and child processes back; may be called twice."""
        ...


class EngineDied(Exception):
    """The engine stopped in the middle of its work; the message says why in one line."""
