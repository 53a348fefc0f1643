"""Instruction calibration: the adapted model learns an instruction set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from darumeru.adaptation.protocols import Candidate, StepContext
from lep_plugins.training.calibration import Calibration, require_some
from lep_plugins.training.conversations import Conversation, read_conversations
from lep_plugins.training.filters import run_filters
from lep_plugins.training.lora_model import Layers, Saved
from lep_plugins.training.planned_work import tokens_in


@dataclass(frozen=True, kw_only=True)
class InstructionCalibration(Calibration):
    """data: a JSONL file of conversations ({"messages": [...]} or {"instruction": ..., "output": ...}). The rest as for
    Calibration; the defaults are the paper's (arXiv:2412.21140, section 2.4), which trains on saiga_scored with 2,000
    long copy tasks and no filter of its own."""

    data: str
    copies: int = 2_000
    copy_min_tokens: int = 1_000
    copy_max_tokens: int = 1_900
    rank: int = 32
    alpha: float = 16.0
    layers: Layers = "all"
    saved: tuple[Saved, ...] = ("head",)
    learning_rate: float = 5e-5
    weight_decay: float = 0.05
    max_length: int = 4096
    batch_size: int = 128

    name: ClassVar[str] = "instruction_calibration"

    def planned_work(self, parameters: int) -> float | None:
        """4 operations a parameter and token, 6 with gradient checkpointing, since the layers' weights stay: each copy
        twice its mean length."""
        said = tokens_in([self.data])
        if said is None:
            return None
        copied = self.copies * (self.copy_min_tokens + self.copy_max_tokens)
        return (6.0 if self.gradient_checkpointing else 4.0) * parameters * self.epochs * (copied + said)

    def check(self, context: StepContext, candidate: Candidate) -> None:
        read_conversations(Path(self.data))
        super().check(context, candidate)

    def conversations(self, context: StepContext, data: Path) -> tuple[Sequence[Conversation], Mapping[str, Any]]:
        given = read_conversations(Path(self.data))
        filtered = run_filters(self._filters(), given, data, context.say)
        told = {"data": self.data, "given": len(given), "rejected": dict(filtered.rejected), "kept": len(filtered.kept)}
        require_some(filtered.kept, len(given), filtered.rejected, self.data)
        return filtered.kept, told
