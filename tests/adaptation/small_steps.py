"""A plugin distribution with small steps and an engine that can be held up, for tests in this and in child processes.

plugin(folder) writes its metadata; a process with `folder` on its path finds the steps as anyone else's.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from darumeru.adaptation.protocols import Candidate, StepContext
from darumeru.core.answer import Answer
from darumeru.core.errors import UserError
from darumeru.engines.request import Request
from darumeru.engines.transformers_engine import TransformersEngine

HOLD = "DARUMERU_TEST_HOLD"
"""Names a folder: while it holds a file `hold`, steps and the engine write `waiting-<where>` into it and wait."""

COUNTER = "DARUMERU_TEST_COUNTER"
"""Names a file that gets a line, the parent's label, each time that `noise` runs."""


def plugin(folder: Path) -> Path:
    info = folder / "darumeru_small_steps-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: darumeru-small-steps\nVersion: 1.0\n")
    here = "tests.adaptation.small_steps"
    names = {"noise": "Noise", "seed_model": "SeedModel", "parts": "Parts", "kept_parts": "KeptParts", "fails": "Fails"}
    names["together"] = "Together"
    lines = ["[darumeru.steps]", *(f"{name} = {here}:{kind}" for name, kind in names.items())]
    (info / "entry_points.txt").write_text("\n".join([*lines, "[darumeru.engines]", f"held = {here}:HeldEngine", ""]))
    return folder


def wait(where: str) -> None:
    """Wait here while the test says so."""
    folder = os.environ.get(HOLD)
    if not folder:
        return
    if (Path(folder) / f"hold-{where}").exists():
        (Path(folder) / f"waiting-{where}").touch()
    while (Path(folder) / f"hold-{where}").exists():
        time.sleep(0.01)


@dataclass(frozen=True)
class Noise:
    """Yields `count` copies of the model with more and more noise on the head. broken: candidates, from 1, whose
    config is spoilt."""

    count: int = 1
    scale: float = 0.05
    broken: tuple[int, ...] = ()

    name: ClassVar[str] = "noise"

    def run(self, context: StepContext, candidate: Candidate) -> Iterator[Candidate]:
        import torch
        from safetensors.torch import load_file, save_file

        if COUNTER in os.environ:
            with open(os.environ[COUNTER], "a", encoding="utf-8") as file:
                file.write(f"{candidate.label}\n")
        for number in range(1, self.count + 1):
            folder = context.output / f"step-{number}"
            shutil.copytree(candidate.path, folder)
            weights = load_file(folder / "model.safetensors")
            generator = torch.Generator().manual_seed(1000 * context.seed + number)
            head = weights["lm_head.weight"]
            weights["lm_head.weight"] = head + self.scale * number * torch.randn(head.shape, generator=generator)
            save_file(weights, folder / "model.safetensors", {"format": "pt"})
            if number in self.broken:
                (folder / "config.json").write_text("{}")
            training_step = number if self.count > 1 else None
            yield Candidate(folder, self.name, {"count": self.count}, training_step=training_step)


@dataclass(frozen=True)
class SeedModel:
    """Makes a tiny model from nothing."""

    name: ClassVar[str] = "seed_model"
    from_nothing: ClassVar[bool] = True

    def run(self, context: StepContext, candidate: Candidate) -> Iterator[Candidate]:
        from tests.tiny_models import make_model

        yield Candidate(make_model(context.output / "model", seed=context.seed), self.name)


@dataclass(frozen=True)
class Parts:
    """Copies the model and notes what it found of an earlier start; waits after the first part."""

    name: ClassVar[str] = "parts"

    def run(self, context: StepContext, candidate: Candidate) -> Iterator[Candidate]:
        found = sorted(path.name for path in context.output.iterdir())
        (context.output / "part-1").write_text("written")
        wait(self.name)
        model = context.output / "model"
        shutil.copytree(candidate.path, model)
        (model / "found.txt").write_text(" ".join(found))
        yield Candidate(model, self.name)


@dataclass(frozen=True)
class KeptParts(Parts):
    name: ClassVar[str] = "kept_parts"
    resumable: ClassVar[bool] = True


@dataclass(frozen=True)
class Fails:
    """A step that refuses, at once or when it runs."""

    at_once: bool = False

    name: ClassVar[str] = "fails"

    def __post_init__(self) -> None:
        if self.at_once:
            raise UserError("this parameter is never good", "at_once")

    def run(self, context: StepContext, candidate: Candidate) -> Iterator[Candidate]:
        raise UserError("the model does not please", str(candidate.path))
        yield candidate


class HeldEngine(TransformersEngine):
    """Real answers; waits after the third, and notes each request that it answered."""

    name = "held"

    def __init__(self, options: Any) -> None:
        super().__init__(options)

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        for number, (place, answer) in enumerate(super().answer(requests), 1):
            with (Path(os.environ[HOLD]) / "answered.txt").open("a", encoding="utf-8") as file:
                file.write(f"{self.model.name_or_path} {requests[place].key}\n")
            yield place, answer
            if number == 3:
                wait("engine")


@dataclass(frozen=True)
class Together:
    """Every process adds its rank; the first one writes the model with their sum in it."""

    name: ClassVar[str] = "together"
    on_all_ranks: ClassVar[bool] = True

    def run(self, context: StepContext, candidate: Candidate) -> Iterator[Candidate]:
        import torch
        from accelerate import PartialState

        state = PartialState()
        total = torch.tensor([state.process_index + 1])
        torch.distributed.all_reduce(total)
        model = context.output / "model"
        if state.is_main_process:
            shutil.copytree(candidate.path, model)
            (model / "sum.txt").write_text(str(int(total)))
        state.wait_for_everyone()
        yield Candidate(model, self.name)
