"""Steps and candidates: what an adaptation plugin takes and yields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class Candidate:
    """A model directory and how it was made.

    path: a folder that transformers and vLLM load. step: the name of the step that made it. parameters: that
    step's parameters as plain JSON values. parents: the paths or names of the models it was made from.
    training_step: optimizer steps behind it, when a training step made it. label: a short name for tables.
    """

    path: Path
    step: str = "given"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    training_step: int | None = None
    label: str = ""


@dataclass(frozen=True)
class StepContext:
    """Where a step works and whom it tells.

    output: a folder of the step's own, empty but for a resumable step; a candidate's folder lies inside it. inputs:
    named models that the recipe hands over besides the candidate (for example {"target": Path, "donor": Path}). seed:
    for every random choice. say: prints one progress line.
    """

    output: Path
    inputs: Mapping[str, Path] = field(default_factory=dict)
    seed: int = 0
    say: Any = print


@runtime_checkable
class Step(Protocol):
    """An adaptation step. A plugin registers a class under the entry-point group "darumeru.steps"; the class is a
    frozen dataclass whose fields are the step's parameters with defaults (they are its schema in a recipe).

    Class attributes that a pipeline looks at, where they are there: `resumable = True`: a step that was cut short gets
    its folder back as it left it, and need not yield again what it has yielded (otherwise it starts in an empty
    folder). `from_nothing = True`: the step needs no `from`. `version = 2`: what was made by another version is made
    again. `makes_text = True`: what it yields is a file of text, which other steps name in their parameters as
    `step.NAME`, and no model. `on_all_ranks = True`: under accelerate every process runs the step, otherwise only the
    first one.

    `planned_work(parameters) -> float`, a method, where it is there: floating-point operations on a model of so many
    parameters, for the times of a plan. Static methods, where they are there: `predictors(model) -> Mapping[str,
    float]`: cheap numbers about a model that the step made, of which less is better, logged beside its score.
    `doubt(model) -> str`: why a race need not ask it, "" for nothing."""

    name: str

    def run(self, context: StepContext, candidate: Candidate) -> Iterator[Candidate]:
        """Make candidates from `candidate`, the best or last first use of which the recipe decides."""
        ...
