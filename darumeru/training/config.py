"""What a user says of a training that is scored while it runs: by `darumeru watch`, or by the callback inside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from darumeru.core.options import Effect, Option, WrongValue
from darumeru.runs.config import CurveConfig, EngineConfig

NOTHING = Effect.NOTHING
WHEN = "When"
OF_CHECKPOINT = "the checkpoint that is scored decides it"
IN_TRAINING = "the model is the one in training"
LIVE = "the engine is fed from the training; LiveOptions holds what there is to say of it"


@dataclass(frozen=True, kw_only=True)
class WatchConfig(EngineConfig, CurveConfig):
    """`darumeru watch`."""

    ABSENT: ClassVar[dict[str, str]] = dict.fromkeys(("model", "name", "revision", "tokenizer", "lora"), OF_CHECKPOINT)
    """Options of `darumeru run` that are none here -> why."""

    folder: Annotated[
        str | Path,
        Option(
            "The trainer's output folder, with checkpoint-500 and so on in it.",
            NOTHING,
            material=True,
            by_position=True,
        ),
    ]
    output: Annotated[
        str | Path | None, Option("Curve, picture and a run a checkpoint. Default: runs/watch-<folder>.", NOTHING)
    ] = None
    poll: Annotated[float, Option("Seconds between looks.", NOTHING, least=0.1, most=86_400, panel=WHEN)] = 10.0
    once: Annotated[bool, Option("Score what is there, then end.", NOTHING, panel=WHEN, switch=True)] = False
    until_step: Annotated[
        int | None, Option("End after the checkpoint of this step.", NOTHING, least=0, panel=WHEN)
    ] = None
    idle: Annotated[
        float | None, Option("End after so many seconds without a checkpoint.", NOTHING, least=0, panel=WHEN)
    ] = None

    @property
    def place(self) -> Path:
        """Where everything is written."""
        return Path(self.output or f"runs/watch-{Path(self.folder).resolve().name}").expanduser()


@dataclass(frozen=True)
class LiveOptions:
    """engine: "vllm" or "transformers" (the training model itself answers). own_process: keep vLLM in a child process;
    None: only where there are several ranks, where vLLM cannot live in a trainer. devices: of the child, for example
    "1". between: what happens to the engine's memory between evaluations: "keep", "sleep" (GPU memory is given back
    and taken again) or "close"; None: sleep on a GPU, keep on a CPU. engine_args: vLLM's own."""

    engine: str = "vllm"
    own_process: bool | None = None
    devices: str | None = None
    data_parallel: int = 1
    between: str | None = None
    engine_args: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LiveConfig(CurveConfig):
    """`DarumeruCallback`. When nothing is said of it, a model is scored before and after its training alone."""

    ABSENT: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("model", "name", "revision", "tokenizer", "lora", "trust_remote_code"), IN_TRAINING),
        **dict.fromkeys(
            (
                "engine",
                "dtype",
                "tensor_parallel",
                "pipeline_parallel",
                "data_parallel",
                "batch_size",
                "engine_args",
            ),
            LIVE,
        ),
    }
    """Options of `darumeru run` that are none here -> why."""

    limit: Annotated[
        int | None, Option("Only this many records a task, the same each time.", Effect.SCORES, least=1)
    ] = 64
    every_steps: Annotated[int | None, Option("At each multiple of it.", NOTHING, least=1, panel=WHEN)] = None
    at_saves: Annotated[bool, Option("When a checkpoint is about to be written.", NOTHING, panel=WHEN)] = False
    share: Annotated[
        float | None,
        Option(
            "Whenever all evaluations together have taken less than this share of the wall time.",
            NOTHING,
            least=0,
            most=1,
            panel=WHEN,
        ),
    ] = None
    at_start: Annotated[bool, Option("Before the first step.", NOTHING, panel=WHEN)] = True
    at_end: Annotated[bool, Option("After the last step.", NOTHING, panel=WHEN)] = True
    output: Annotated[
        str | Path | None,
        Option("Curve, picture and a run a point. Default: darumeru in the Trainer's output folder.", NOTHING),
    ] = None
    live: LiveOptions = field(default_factory=LiveOptions)
    early_stopping_patience: Annotated[
        int | None,
        Option("Stop after so many evaluations in a row without a better metric_for_best_model.", NOTHING, least=1),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.share in (0, 1):
            raise WrongValue("share", f"must be between 0 and 1, not {self.share}")
