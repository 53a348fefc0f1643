"""What a user says of a training that is scored while it runs: by `darumeru watch`, or by the callback inside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from darumeru.core.errors import near_names
from darumeru.core.options import Effect, Option, WrongValue
from darumeru.runs.config import CurveConfig, EngineConfig
from darumeru.training.precision import DTYPES

NOTHING = Effect.NOTHING
ENGINES, BETWEEN = ("vllm", "transformers"), (None, "keep", "sleep", "close")
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
    server: Annotated[
        str | None,
        Option(
            "Address of a vLLM server that holds the base of the adapters: it is given each of them, and answers.",
            NOTHING,
            material=True,
        ),
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
    and taken again) or "close"; None: sleep on a GPU, keep on a CPU. dtype: vLLM computes in "float32", "bfloat16" or
    "float16"; "auto": as training does, under autocast in autocast's type. engine_args: vLLM's own.

    Example::

        darumeru.DarumeruCallback(tasks="DaruMERA", live=darumeru.LiveOptions(engine="transformers"))
    """

    engine: str = "vllm"
    own_process: bool | None = None
    devices: str | None = None
    data_parallel: int = 1
    between: str | None = None
    dtype: str = "auto"
    engine_args: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, known in (("engine", ENGINES), ("between", BETWEEN), ("dtype", ("auto", *DTYPES))):
            value = getattr(self, name)
            if value not in known:
                words = [str(one) for one in known if one is not None]
                raise WrongValue(
                    name, f"unknown {value!r}", f"known: {', '.join(words)}", near_names(str(value), words)
                )


@dataclass(frozen=True, kw_only=True)
class LoopConfig(CurveConfig):
    """`LiveEvaluation`, in a training loop that says itself when."""

    ABSENT: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("model", "name", "revision", "tokenizer", "lora", "trust_remote_code"), IN_TRAINING),
        **dict.fromkeys(
            (
                "engine",
                "dtype",
                "tensor_parallel",
                "pipeline_parallel",
                "data_parallel",
                "cluster",
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
    output: Annotated[
        str | Path | None,
        Option("Curve, picture and a run a point. Default: darumeru in a trainer's output folder.", NOTHING),
    ] = None
    log_samples: Annotated[
        int, Option("Generated answers of each task that TensorBoard and W&B get as a table.", NOTHING, least=0)
    ] = 0
    live: LiveOptions = field(default_factory=LiveOptions)


@dataclass(frozen=True, kw_only=True)
class LiveConfig(LoopConfig):
    """The callbacks of trainers. When nothing is said of it, a model is scored before and after its training alone."""

    every_steps: Annotated[int | None, Option("At each multiple of it.", NOTHING, least=1, panel=WHEN)] = None
    at_saves: Annotated[bool, Option("When a checkpoint is about to be written.", NOTHING, panel=WHEN)] = False
    share: Annotated[
        float | None,
        Option(
            "Whenever all evaluations together, the one at the end too, stay below this share of the wall time.",
            NOTHING,
            least=0,
            most=1,
            panel=WHEN,
        ),
    ] = None
    at_start: Annotated[bool, Option("Before the first step.", NOTHING, panel=WHEN)] = True
    at_end: Annotated[bool, Option("After the last step.", NOTHING, panel=WHEN)] = True
    early_stopping_patience: Annotated[
        int | None,
        Option("Stop after so many evaluations in a row without a better metric_for_best_model.", NOTHING, least=1),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.share in (0, 1):
            raise WrongValue("share", f"must be between 0 and 1, not {self.share}")
