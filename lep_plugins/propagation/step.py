"""Propagation as a step of a recipe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from darumeru.adaptation.protocols import Candidate, StepContext
from darumeru.core.errors import UserError
from lep_plugins.propagation.methods import find_method
from lep_plugins.propagation.pipeline import propagate


@dataclass(frozen=True)
class PropagationStep:
    """Makes a target with the vocabulary of the candidate, which is the donor; the recipe names inputs "base" and
    "target". method, force, device: as for `propagate`."""

    name: ClassVar[str] = "lep"
    method: str = "conversion"
    force: bool = False
    device: str | None = None

    def __post_init__(self) -> None:
        find_method(self.method)

    def run(self, context: StepContext, candidate: Candidate) -> Iterator[Candidate]:
        """Yield the one result. UserError: an input is missing, or anything `propagate` refuses."""
        for needed in ("base", "target"):
            if needed not in context.inputs:
                raise UserError(f"step lep needs an input {needed}", "inputs", f"add `{needed}: MODEL` to the step")
        base, target = context.inputs["base"], context.inputs["target"]
        output = context.output / "model"
        report = propagate(
            base, target, candidate.path, output, self.method, self.force, device=self.device, say=context.say
        )
        for warning in report.warnings:
            context.say(f"warning: {warning}")
        parameters = {"method": self.method, "force": self.force}
        parents = (str(candidate.path), str(base), str(target))
        yield Candidate(output, self.name, parameters, parents, label=f"lep-{self.method}")
