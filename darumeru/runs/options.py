"""What the user asks of one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from darumeru.core.errors import UserError
from darumeru.engines.protocol import EngineOptions
from darumeru.prompts.builder import PromptOptions


@dataclass(frozen=True)
class RunOptions:
    """model: folder, Hub id or server address (http...). name: as tables call it, None = the folder's name or the id.
    tasks: patterns. data: "hub", "bundled" or a folder.
    num_fewshot None = auto: 5 for a model without a chat template, 0 with one, as in the paper.
    limit: records a task; subset_seed: draw them at random instead of taking the first. max_length: total tokens of
    prompt and answer. resamples: of the bootstrap. include: more task files or folders. thinking_tokens: added to the
    budget of generation tasks when a model thinks. command: as typed, for the manifest."""

    model: str
    output: str
    tasks: tuple[str, ...] = ("darumeru",)
    data: str = "hub"
    profile: str = "darumeru"
    engine: str = "vllm"
    num_fewshot: int | None = None
    limit: int | None = None
    subset_seed: int | None = None
    max_length: int = 4096
    seed: int = 0
    resamples: int = 1000
    revision: str | None = None
    include: tuple[str, ...] = ()
    prompts: PromptOptions = field(default_factory=PromptOptions)
    thinking_tokens: int = 2048
    engine_options: EngineOptions = field(default_factory=lambda: EngineOptions(model=""))
    command: tuple[str, ...] = ()
    name: str | None = None


def task_patterns(tasks: str | Sequence[str]) -> tuple[str, ...]:
    """Names, groups and globs of tasks, as a sequence or between commas."""
    parts = tasks.split(",") if isinstance(tasks, str) else tasks
    found = tuple(part.strip() for part in parts if part.strip())
    if not found:
        raise UserError("no task is named", "--tasks", "see `darumeru tasks list`")
    return found
