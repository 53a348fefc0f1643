"""What a user says of a run: one config class a concern, put together for each surface.

Every option of the command line, of `--config` files, of `evaluate()`, of the callback, of `watch` and of recipes is a
field here, with what it changes (darumeru/core/options.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from darumeru.core.errors import UserError
from darumeru.core.options import Effect, Option, check

ANSWERS, SCORES, NOTHING = Effect.ANSWERS, Effect.SCORES, Effect.NOTHING
PROMPTS, ENGINE = "Prompts", "Model and engine"


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """Which questions, of which records, and how they are scored."""

    tasks: Annotated[
        str | Sequence[str],
        Option("Tasks, groups or globs, separated by commas; `darumeru tasks list` shows them.", SCORES),
    ] = ("darumeru",)
    data: Annotated[
        str,
        Option(
            '"hub", "bundled" (small, offline) or a folder in the layout that `darumeru fetch` writes.',
            SCORES,
            material=True,
        ),
    ] = "hub"
    include: Annotated[
        Sequence[str], Option("A YAML file or folder with more tasks; may be repeated.", SCORES, material=True)
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
        tasks = self.tasks.split(",") if isinstance(self.tasks, str) else self.tasks
        if isinstance(tasks, Sequence) and all(isinstance(task, str) for task in tasks):
            object.__setattr__(self, "tasks", tuple(task.strip() for task in tasks if task.strip()))
            if not self.tasks:
                raise UserError("no task is named", "tasks", "see `darumeru tasks list`")
        if isinstance(self.include, str):
            object.__setattr__(self, "include", (self.include,))
        elif isinstance(self.include, Sequence):
            object.__setattr__(self, "include", tuple(self.include))
        check(self)

    @property
    def patterns(self) -> tuple[str, ...]:
        """`tasks` as a sequence."""
        return tuple(self.tasks)


@dataclass(frozen=True, kw_only=True)
class PromptConfig:
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
    thinking: Annotated[bool, Option("Let a thinking model think in generation tasks.", ANSWERS, panel=PROMPTS)] = False
    thinking_tokens: Annotated[int, Option("Token budget of its thoughts.", ANSWERS, least=1, panel=PROMPTS)] = 2048
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


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
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
    data_parallel: Annotated[int, Option("Replicas of the model.", NOTHING, least=1, panel=ENGINE)] = 1
    batch_size: Annotated[
        int | None, Option("Sequences at once; default: as the engine decides.", NOTHING, least=1, panel=ENGINE)
    ] = None
    engine_args: Annotated[
        Mapping[str, Any],
        Option("More arguments of the engine, as JSON: '{\"gpu_memory_utilization\": 0.8}'.", ANSWERS, panel=ENGINE),
    ] = field(default_factory=dict)
    trust_remote_code: Annotated[
        bool, Option("Run code that comes with the model. Off by default.", NOTHING, panel=ENGINE)
    ] = False


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which model."""

    model: Annotated[
        str,
        Option("Model folder, Hub id, or address of an OpenAI-compatible server (http://host:8000/v1).", ANSWERS,
               material=True),
    ]  # fmt: skip
    name: Annotated[str | None, Option("As tables call the model. Default: the folder's name or Hub id.", NOTHING)] = (
        None
    )
    revision: Annotated[str | None, Option("Hub revision of the model.", ANSWERS, material=True, panel=ENGINE)] = None
    tokenizer: Annotated[
        str | None, Option("Tokenizer folder or Hub id; default the model's.", ANSWERS, material=True, panel=ENGINE)
    ] = None
    lora: Annotated[str | None, Option("PEFT LoRA adapter folder.", ANSWERS, material=True, panel=ENGINE)] = None


@dataclass(frozen=True, kw_only=True)
class AskConfig(PromptConfig, TaskConfig):
    """What is asked and how it is scored: the same on every surface."""


@dataclass(frozen=True, kw_only=True)
class RunConfig(EngineConfig, AskConfig, ModelConfig):
    """`darumeru run` and `darumeru.evaluate()`."""

    output: Annotated[
        str | None,
        Option("Run folder; the same command on it goes on where it stopped. Default: runs/<model>.", NOTHING),
    ] = None
