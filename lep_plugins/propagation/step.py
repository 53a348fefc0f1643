"""Propagation as a step of a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from darumeru.adaptation.protocols import Candidate, StepContext
from darumeru.core.errors import UserError
from lep_plugins.propagation.methods import find_method
from lep_plugins.propagation.pipeline import propagate
from lep_plugins.propagation.report import CONDITION_LIMIT

ROUNDING = {"BF16": 0.0017, "F16": 0.0002}
"""Root mean square of the relative rounding error of a number with 8 or 11 significant bits."""
ROUNDING_LIMIT = 0.5


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

    @staticmethod
    def predictors(model: Path) -> Mapping[str, float]:
        """Residual and condition number of the fit, the larger one of both matrices."""
        found: dict[str, float] = {}
        for name in ("residual", "condition"):
            known = [one[name] for one in _matrices(model) if one[name] is not None]
            found |= {name: float(max(known))} if known else {}
        return found

    @staticmethod
    def doubt(model: Path) -> str:
        """A fit with directions that are guesswork, or a change most of which is rounding."""
        for one in _matrices(model):
            if one["condition"] is None:
                continue
            if one["condition"] > CONDITION_LIMIT:
                return f"{one['matrix']}: condition number {one['condition']:.1e}, above {CONDITION_LIMIT:.0e}"
            share = ROUNDING.get(_dtype(model, one["tensor"]), 0.0) / one["change"] if one["change"] else 0.0
            if share > ROUNDING_LIMIT:
                return f"{one['matrix']}: {min(share, 1):.0%} of the change is rounding"
        return ""


def _matrices(model: Path) -> list[dict[str, Any]]:
    import json

    file = model / "lep" / "report.json"
    return list(json.loads(file.read_text(encoding="utf-8"))["matrices"]) if file.is_file() else []


def _dtype(model: Path, tensor: str) -> str:
    from darumeru.models.weight_files import read_shards

    return next((entry.dtype for shard in read_shards(model) for entry in shard.tensors if entry.name == tensor), "")
