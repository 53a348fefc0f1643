"""What a user says of an arena."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from darumeru.core.options import Effect, Option, WrongValue
from darumeru.judging.config import JudgeModelConfig

ANSWERS, SCORES, NOTHING = Effect.ANSWERS, Effect.SCORES, Effect.NOTHING
BATTLES, RATING = "Battles", "Rating"


@dataclass(frozen=True, kw_only=True)
class ArenaConfig(JudgeModelConfig):
    """`darumeru arena`."""

    runs: Annotated[
        str | Sequence[str],
        Option("Run folders, folders of runs, JSON files of answers of other models.", SCORES, material=True,
               by_position=True),
    ] = ()  # fmt: skip
    questions: Annotated[str, Option("The task of the runs whose answers are compared.", SCORES, panel=BATTLES)] = (
        "field/arena_ru"
    )
    pairs: Annotated[
        Literal["all", "anchor"], Option("Everyone against everyone, or against the anchor alone.", SCORES,
                                         panel=BATTLES)
    ] = "all"  # fmt: skip
    active: Annotated[
        bool, Option("Ask the battles that tell most, until the ranks are settled.", SCORES, panel=BATTLES)
    ] = False
    precision: Annotated[
        float,
        Option("With --active: points to which a difference of neighbours is to be known, unless they are told apart.",
               SCORES, least=1, most=10_000, panel=BATTLES),
    ] = 50.0  # fmt: skip
    anchor: Annotated[
        str | None, Option("The model that has 1000 points. Default: the first one.", SCORES, panel=RATING)
    ] = None
    ties: Annotated[
        Literal["independent", "rao-kupper"],
        Option("independent: ties carry no strength; rao-kupper: they are likelier between equals.", SCORES,
               panel=RATING),
    ] = "independent"  # fmt: skip
    style: Annotated[
        Literal["own", "published", "none"],
        Option("Control of style: own, as published (against the other answer's length), or none.", SCORES,
               panel=RATING),
    ] = "own"  # fmt: skip
    profile: Annotated[str, Option("Of the rubric and of how labels are read.", ANSWERS, panel=BATTLES)] = "darumeru"
    output: Annotated[
        str | Path | None,
        Option("Folder of the arena; the same command on it goes on where it stopped. Default: arenas/<questions>.",
               NOTHING),
    ] = None  # fmt: skip
    board: Annotated[
        str | Path | None,
        Option("Also write the board into this file: .html, .md, .csv, .tex or .json.", NOTHING),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "runs", (self.runs,) if isinstance(self.runs, str) else tuple(self.runs))
        if not self.runs:
            raise WrongValue("runs", "is needed", "name the runs that are compared")

    @property
    def folder(self) -> Path:
        """Where the arena is stored; not beside runs, since `darumeru leaderboard runs/*` takes runs alone."""
        from darumeru.runs.evaluate import folder_name

        return Path(self.output or f"arenas/{folder_name(self.questions)}").expanduser()
