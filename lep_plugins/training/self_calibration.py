"""Self-calibration: the adapted model learns the greedy answers of the original instruct model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from darumeru.adaptation.protocols import Candidate, StepContext
from darumeru.core.errors import UserError
from darumeru.models.model_folder import Dtype
from lep_plugins.training.calibration import Calibration, require_some
from lep_plugins.training.conversations import Conversation, read_prompts, write_conversations
from lep_plugins.training.filters import run_filters
from lep_plugins.training.lora_model import Layers, Saved
from lep_plugins.training.synthesis import Synthesis


@dataclass(frozen=True, kw_only=True)
class SelfCalibration(Calibration):
    """prompts: a JSONL file of questions ({"instruction": ...} or {"messages": [...]}). teacher: who answers them, the
    input "target" of the recipe by default. engine, max_new_tokens, teacher_dtype, engine_args: as for Synthesis. The
    rest as for Calibration; the defaults are the paper's (arXiv:2412.21140, section 2.4), which filters by a judge.
    """

    prompts: str
    teacher: str = ""
    engine: str = "vllm"
    max_new_tokens: int = 2048
    teacher_dtype: Dtype = "auto"
    engine_args: Mapping[str, Any] = field(default_factory=dict)
    filters: tuple[str, ...] = ("rules",)
    copies: int = 10_000
    copy_min_tokens: int = 64
    copy_max_tokens: int = 3800
    rank: int = 8
    alpha: float = 1.0
    layers: Layers = "first_last"
    saved: tuple[Saved, ...] = ("embedding", "head")
    learning_rate: float = 2.5e-5
    weight_decay: float = 0.1
    max_length: int = 8192
    batch_size: int = 64

    name: ClassVar[str] = "self_calibration"

    def check(self, context: StepContext, candidate: Candidate) -> None:
        read_prompts(Path(self.prompts))
        self._synthesis(context).check()
        super().check(context, candidate)

    def conversations(self, context: StepContext, data: Path) -> tuple[Sequence[Conversation], Mapping[str, Any]]:
        questions = read_prompts(Path(self.prompts))
        synthesis = self._synthesis(context)
        answered = synthesis.run(questions, data / "answers.jsonl", context.say)
        filtered = run_filters(self._filters(), answered.conversations, data, context.say)
        rejected = answered.rejected + filtered.rejected
        told = {
            "teacher": synthesis.teacher,
            "prompts": len(questions),
            "rejected": dict(rejected),
            "kept": len(filtered.kept),
        }
        require_some(filtered.kept, len(questions), rejected, self.prompts)
        write_conversations(data / "kept.jsonl", filtered.kept)
        return filtered.kept, told

    def _synthesis(self, context: StepContext) -> Synthesis:
        teacher = self.teacher or str(context.inputs.get("target", ""))
        if not teacher:
            mend = "add `target: MODEL` to the step's inputs, or set teacher"
            raise UserError("no model that answers the prompts", "self_calibration", mend)
        return Synthesis(
            teacher,
            self.engine,
            self.max_new_tokens,
            self.max_length,
            self.teacher_dtype,
            context.seed,
            self.engine_args,
        )
