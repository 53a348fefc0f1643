"""What a user says of a judge: for `darumeru judge` and `darumeru arena`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from darumeru.core.options import Effect, Option, WrongValue
from darumeru.runs.config import EngineConfig, RunConfig, config_as

ANSWERS, SCORES, NOTHING = Effect.ANSWERS, Effect.SCORES, Effect.NOTHING
JUDGE = "Judge"


@dataclass(frozen=True, kw_only=True)
class JudgeModelConfig(EngineConfig):
    """Which model judges, and how it is asked."""

    judge: Annotated[
        str,
        Option("Model folder, Hub id, or address of an OpenAI-compatible server.", ANSWERS, material=True, panel=JUDGE),
    ]
    name: Annotated[
        str | None, Option("As the judge is called. Default: the folder's name or Hub id.", NOTHING, panel=JUDGE)
    ] = None
    rubric: Annotated[
        str | None,
        Option(
            "A rubric by its name, or a YAML file, in place of the task's own.", ANSWERS, material=True, panel=JUDGE
        ),
    ] = None
    verdict: Annotated[
        Literal["auto", "text"],
        Option("auto: by exact probability where the engine gives it; text: by what the judge writes.", ANSWERS,
               panel=JUDGE),
    ] = "auto"  # fmt: skip
    tokenizer: Annotated[
        str | None, Option("Tokenizer folder or Hub id; default the judge's.", ANSWERS, material=True, panel=JUDGE)
    ] = None
    revision: Annotated[str | None, Option("Hub revision of the judge.", ANSWERS, material=True, panel=JUDGE)] = None
    lora: Annotated[str | None, Option("PEFT LoRA adapter folder.", ANSWERS, material=True, panel=JUDGE)] = None
    chat_template: Annotated[
        str | None,
        Option('A Jinja file instead of the judge\'s own, or "none" for the plain format.', ANSWERS, material=True,
               panel=JUDGE),
    ] = None  # fmt: skip
    thinking: Annotated[
        bool, Option("Let a thinking judge think; its verdicts are then read from its text.", ANSWERS, panel=JUDGE)
    ] = False
    thinking_tokens: Annotated[int, Option("Token budget of its thoughts.", ANSWERS, least=1, panel=JUDGE)] = 2048
    date: Annotated[
        str | None,
        Option("Today, for chat templates that print it (YYYY-MM-DD). Default: the day of the first start.", ANSWERS,
               panel=JUDGE),
    ] = None  # fmt: skip
    seed: Annotated[int, Option("Of the bootstrap.", SCORES, least=0, most=2**32 - 1)] = 0
    resamples: Annotated[int, Option("Of the bootstrap; 0 for none.", SCORES, least=0, most=1_000_000)] = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        self.asked(("judge:any",), "darumeru")

    def asked(self, tasks: tuple[str, ...], profile: str) -> RunConfig:
        """The judge as the model of a run of its own."""
        try:
            return config_as(RunConfig, self, model=self.judge, tasks=tasks, profile=profile)
        except WrongValue as error:
            raise WrongValue("judge" if error.name == "model" else error.name, error.what, error.mend) from error


@dataclass(frozen=True, kw_only=True)
class JudgeConfig(JudgeModelConfig):
    """`darumeru judge`."""

    run: Annotated[str | Path, Option("Run folder whose answers are judged.", NOTHING, material=True, by_position=True)]
    tasks: Annotated[
        str, Option("Only these judged tasks, names or globs separated by commas. Default: all.", SCORES)
    ] = "*"
    second: Annotated[
        bool,
        Option("Leave the scores to the first judge and report how far this one agrees with it.", NOTHING, switch=True),
    ] = False
