"""What a user says of a run: one config class a concern, put together for each surface.

Every option of the command line, of `--config` files, of `evaluate()`, of the callback, of `watch` and of recipes is a
field here, with what it changes (darumeru/core/options.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from darumeru.core.errors import near_names
from darumeru.core.options import Effect, Option, WrongValue, check, declared

ANSWERS, SCORES, NOTHING = Effect.ANSWERS, Effect.SCORES, Effect.NOTHING
PROMPTS, ENGINE = "Prompts", "Model and engine"
C = TypeVar("C")


@dataclass(frozen=True, kw_only=True)
class Config:
    """What every config class does: each option is of its type and in its range, or WrongValue names it."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class TaskConfig(Config):
    """Which questions, of which records, and how they are scored."""

    tasks: Annotated[
        str | Sequence[str],
        Option("Tasks, groups or globs, separated by commas; `darumeru tasks list` shows them.", SCORES),
    ] = field(default=("darumeru",), kw_only=False)
    data: Annotated[
        str,
        Option(
            '"hub", "bundled" (small, offline) or a folder in the layout that `darumeru fetch` writes.',
            SCORES,
            material=True,
        ),
    ] = "hub"
    include: Annotated[
        str | Sequence[str], Option("A YAML file or folder with more tasks; may be repeated.", SCORES, material=True)
    ] = ()
    profile: Annotated[str, Option("darumeru, paper, llmtf-2024 or llmtf-head.", ANSWERS, panel=PROMPTS)] = "darumeru"
    limit: Annotated[int | None, Option("Only this many records a task; results say so.", SCORES, least=1)] = None
    subset_seed: Annotated[
        int | None, Option("Draw those records at random with this seed instead of taking the first.", SCORES, least=0)
    ] = None
    seed: Annotated[int, Option("Of the bootstrap.", SCORES, least=0, most=2**32 - 1)] = 0
    resamples: Annotated[
        int, Option("Of the bootstrap behind the intervals; 0 for none.", SCORES, least=0, most=1_000_000)
    ] = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        tasks = (self.tasks,) if isinstance(self.tasks, str) else self.tasks
        parts = (part.strip() for text in tasks for part in text.split(","))
        object.__setattr__(self, "tasks", tuple(filter(None, parts)))
        if not self.tasks:
            raise WrongValue("tasks", "no task is named", "see `darumeru tasks list`")
        object.__setattr__(self, "include", (self.include,) if isinstance(self.include, str) else tuple(self.include))
        if "" in self.include:
            raise WrongValue("include", "must not be empty")

    @property
    def patterns(self) -> tuple[str, ...]:
        """`tasks` as a sequence."""
        return tuple(self.tasks)


@dataclass(frozen=True, kw_only=True)
class PromptConfig(Config):
    """How records become prompts."""

    num_fewshot: Annotated[
        int | Literal["auto"],
        Option("Examples before each question; auto = 5 without a chat template, 0 with one.", ANSWERS, least=0,
               panel=PROMPTS),
    ] = "auto"  # fmt: skip
    max_length: Annotated[int, Option("Tokens of prompt and answer together.", ANSWERS, least=16, panel=PROMPTS)] = 4096
    system_prompt: Annotated[
        str | None, Option("Put before every conversation. Default: none.", ANSWERS, panel=PROMPTS)
    ] = None
    thinking: Annotated[bool, Option("Let a thinking model think before it answers.", ANSWERS, panel=PROMPTS)] = False
    thinking_tokens: Annotated[int, Option("Token budget of its thoughts.", ANSWERS, least=1, panel=PROMPTS)] = 2048
    temperature: Annotated[
        float | None,
        Option("Draw generated answers at this temperature; 0 is greedy. Default: as the task says, else greedy.",
               ANSWERS, least=0, most=10, panel=PROMPTS),
    ] = None  # fmt: skip
    top_p: Annotated[
        float | None,
        Option("Draw among the tokens that make up this probability.", ANSWERS, least=0.001, most=1, panel=PROMPTS),
    ] = None
    num_samples: Annotated[
        int | None,
        Option("Drawn answers of each question: their mean, the best and the most frequent of them.", SCORES,
               least=1, most=1000, panel=PROMPTS),
    ] = None  # fmt: skip
    sampling_seed: Annotated[
        int, Option("Of the draws; each draw of a question has its own.", ANSWERS, least=0, most=2**31, panel=PROMPTS)
    ] = 0
    chat_template: Annotated[
        str | None,
        Option('A Jinja file instead of the model\'s own, or "none" for the plain format.', ANSWERS, material=True,
               panel=PROMPTS),
    ] = None  # fmt: skip
    date: Annotated[
        str | None,
        Option("Today, for chat templates that print it (YYYY-MM-DD). Default: the day the run was first started.",
               ANSWERS, panel=PROMPTS),
    ] = None  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.date is not None and not _is_day(self.date):
            raise WrongValue("date", f"must be a day as YYYY-MM-DD, not {self.date!r}")


@dataclass(frozen=True, kw_only=True)
class EngineConfig(Config):
    """What computes the answers."""

    engine: Annotated[
        str, Option("vllm, transformers or openai; servers take openai by themselves.", ANSWERS, panel=ENGINE)
    ] = "vllm"
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        Option("auto, float32, bfloat16 or float16.", ANSWERS, panel=ENGINE),
    ] = "auto"
    tensor_parallel: Annotated[int, Option("GPUs that share each layer.", NOTHING, least=1, panel=ENGINE)] = 1
    pipeline_parallel: Annotated[
        int, Option("GPUs (or nodes) that share the stack of layers.", NOTHING, least=1, panel=ENGINE)
    ] = 1
    data_parallel: Annotated[
        int | None,
        Option("Replicas of the model. Default: 1; on a cluster as many as it has room for.", NOTHING, least=1,
               panel=ENGINE),
    ] = None  # fmt: skip
    cluster: Annotated[
        str | None,
        Option('Place the replicas on a Ray cluster: its address (HOST:6379), or "auto" on one of its nodes.', NOTHING,
               panel=ENGINE),
    ] = None  # fmt: skip
    batch_size: Annotated[
        int | None, Option("Sequences at once; default: as the engine decides.", NOTHING, least=1, panel=ENGINE)
    ] = None
    engine_args: Annotated[
        Mapping[str, Any],
        Option("More arguments of the engine, as JSON: '{\"gpu_memory_utilization\": 0.8}'.", ANSWERS, panel=ENGINE),
    ] = field(default_factory=dict)
    trust_remote_code: Annotated[
        bool, Option("Run code that comes with the model. Off by default.", NOTHING, panel=ENGINE, switch=True)
    ] = False

    def __post_init__(self) -> None:
        from darumeru.engines import engine_registry

        super().__post_init__()
        known = engine_registry().names()
        if self.engine not in known:
            mend = f"known: {', '.join(known)}"
            raise WrongValue("engine", f"unknown engine `{self.engine}`", mend, near_names(self.engine, known))


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Config):
    """Which model."""

    model: Annotated[
        str,
        Option("Model folder, Hub id, or address of an OpenAI-compatible server (http://host:8000/v1).", ANSWERS,
               material=True),
    ] = field(kw_only=False)  # fmt: skip
    name: Annotated[str | None, Option("As tables call the model. Default: the folder's name or Hub id.", NOTHING)] = (
        None
    )
    revision: Annotated[str | None, Option("Hub revision of the model.", ANSWERS, material=True, panel=ENGINE)] = None
    tokenizer: Annotated[
        str | None, Option("Tokenizer folder or Hub id; default the model's.", ANSWERS, material=True, panel=ENGINE)
    ] = None
    lora: Annotated[str | None, Option("PEFT LoRA adapter folder.", ANSWERS, material=True, panel=ENGINE)] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.revision is not None:
            kind = "a server" if self.is_server else "a folder" if Path(self.model).expanduser().is_dir() else ""
            if kind:
                raise WrongValue("revision", f"is of models on the Hub, and this one is {kind}")

    @property
    def is_server(self) -> bool:
        """Whether `model` is an address and not a folder or Hub id."""
        return self.model.startswith(("http://", "https://"))


@dataclass(frozen=True, kw_only=True)
class AskConfig(PromptConfig, TaskConfig):
    """What is asked and how it is scored: the same on every surface."""


@dataclass(frozen=True, kw_only=True)
class CurveConfig(AskConfig):
    """What is asked again and again while a model is trained: where `limit` is given, the records are drawn at random,
    by `seed` where no `subset_seed` is given, and the same each time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.limit is not None and self.subset_seed is None:
            object.__setattr__(self, "subset_seed", self.seed)


@dataclass(frozen=True, kw_only=True)
class RunConfig(EngineConfig, AskConfig, ModelConfig):
    """`darumeru run` and `darumeru.evaluate()`."""

    output: Annotated[
        str | Path | None,
        Option("Run folder; the same command on it goes on where it stopped. Default: runs/<model>.", NOTHING),
    ] = None


def config_as(kind: type[C], config: Config, **more: Any) -> C:
    """The options that a config class shares with another config value, and `more`: a value of that class."""
    shared = {one.name for one in declared(kind)}
    values = {one.name: getattr(config, one.name) for one in declared(type(config)) if one.name in shared}
    return kind(**{**values, **more})


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
