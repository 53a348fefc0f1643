"""LiveEvaluation: the benchmark inside any training loop, from current weights in a running engine."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from darumeru.core.errors import RunFailed, UserError
from darumeru.core.ranks import on_first
from darumeru.leaderboard.curve import CURVE, Point, add_point, point_of, read_curve, write_curve
from darumeru.models.config_file import CONTEXT_KEYS
from darumeru.models.live_weights import checkpoint_weights, is_sharded, unwrapped
from darumeru.runs.progress import Silent
from darumeru.training.config import LoopConfig
from darumeru.training.live_engine import LiveEngine
from darumeru.training.live_plan import LivePlan
from darumeru.training.sample_table import ShownAnswer, shown_answers

log = logging.getLogger("darumeru")


class LiveEvaluation(LoopConfig):
    """Scores a model on a fixed subset of the benchmark, at any moment of any training loop; takes the fields of
    LoopConfig.

    Example::

        evaluation = LiveEvaluation("darumeru", limit=64, output="runs/training")
        scores = evaluation.score(model, tokenizer, step)       # in the loop, as often as you like
        evaluation.close()

    model: a transformers or PEFT model, or what accelerate, DDP, FSDP, DeepSpeed or torch.compile made of it. With
    several ranks all of them call; the first one evaluates, all get the scores. output: where curve.jsonl, curve.png
    and a run folder for each point go; default runs/live-<model>. Random states, gradients and training mode stay as
    they are. The engine computes as the model does where `score` is called: inside the loop's autocast, if it has one.

    points: the curve. answers: of the last point, `log_samples` of each task that generates.
    """

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __post_init__(self) -> None:
        super().__post_init__()
        self.points: list[Point] = []
        self.answers: list[ShownAnswer] = []
        self.plan: LivePlan | None = None
        self.engine: LiveEngine | None = None
        self.folder: Path | None = None
        self._tokenizer: Any = None
        self._began = time.monotonic()

    def prepare(self, model: Any, tokenizer: Any, step: int = 0) -> None:
        """Find what is wrong with the options, before the first step; `score` does it otherwise. step: that training
        goes on from: what the curve holds beyond it is dropped."""
        on_first(lambda: self._prepare(unwrapped(model), tokenizer, step))
        self._tokenizer = tokenizer

    def score(
        self,
        model: Any,
        tokenizer: Any,
        step: int,
        about: Mapping[str, Any] | None = None,
        patience: float | None = None,
    ) -> dict[str, float]:
        """Scores by name at training step `step`: micro_avg (all 17 tasks), mean (of the tasks asked), groups, tasks.

        about: more to keep with the point: "epoch", "tokens" seen so far. patience: seconds after which the evaluation
        ends itself. UserError for what is wrong with the options; RunFailed when the engine dies or time runs out.
        """
        from darumeru.engines.vllm_setup import undisturbed

        if self._tokenizer is None:
            self.prepare(model, tokenizer, step)
        with undisturbed():
            scores: dict[str, float] = on_first(
                lambda: self._score(model, step, about or {}, patience),
                lambda: _gather(model) if is_sharded(model) else None,
            )
        return scores

    def close(self) -> None:
        """End the engine; may be called twice, and `score` starts a new one."""
        if self.engine is not None:
            self.engine.close()

    def _prepare(self, model: Any, tokenizer: Any, step: int) -> None:
        name = Path(str(getattr(model.config, "_name_or_path", "") or "model")).name
        context = next((getattr(model.config, key) for key in CONTEXT_KEYS if getattr(model.config, key, None)), None)
        self.plan = LivePlan(self, name, tokenizer, context, self.live.engine)
        self.folder = folder = Path(self.output or f"runs/live-{name}").expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        for task, reason in self.plan.incomplete.items():
            log.warning("darumeru: %s will have no complete score: %s", task, reason)
        length = self.plan.session.plan.max_length
        self.engine = LiveEngine(self.live, folder, length, log.warning, self.plan.tokens)
        # What was seen after the checkpoint that training goes on from belongs to steps that are done again.
        self.points = [point for point in read_curve(folder / CURVE) if step and point.step <= step]
        self._began = time.monotonic() - max([point.extra.get("wall_seconds", 0) for point in self.points], default=0)
        write_curve(folder / CURVE, self.points)

    def _score(self, model: Any, step: int, about: Mapping[str, Any], patience: float | None) -> dict[str, float]:
        assert self.engine is not None and self.plan is not None and self.folder is not None
        started = time.monotonic()
        engine = self.engine.push(model, self._tokenizer, self.plan.canary)
        pushed = time.monotonic()
        run = Path("steps") / f"step-{step:08d}"
        results = self.plan.run(engine, self.folder / run, step, _Deadline(patience) if patience else None)
        self.engine.rest()
        now = time.monotonic()
        extra = {
            **about,
            "engine": engine.name,
            "dtype": self.engine.dtype,
            "seconds": round(now - started, 3),
            "push_seconds": round(pushed - started, 3),
            "wall_seconds": round(now - self._began, 3),
        }
        point = point_of(results, step, run.as_posix(), extra)
        self.points = add_point(self.folder / CURVE, point)
        self.answers = shown_answers(self.folder / run, list(results.tasks), self.log_samples)
        for task, reason in results.failed.items():
            if task not in self.plan.incomplete:
                log.warning("darumeru: step %d has no complete score of %s: %s", step, task, reason)
        return {name: float(score.value) for name, score in point.scores.items() if score.value is not None}


def _gather(model: Any) -> None:
    """Take part in the gathering of a sharded model."""
    for _ in checkpoint_weights(model, keep=False):
        pass


def find_tokenizer(processing_class: Any, model: Any) -> Any:
    """The tokenizer that a trainer holds, or the one that lies beside the model."""
    found = getattr(processing_class, "tokenizer", processing_class)
    if found is not None and hasattr(found, "save_pretrained"):
        return found
    from darumeru.prompts.builder import load_tokenizer

    folder = str(getattr(model.config, "_name_or_path", ""))
    if not folder or not Path(folder).is_dir():
        raise UserError("the tokenizer is not known", "DarumeruCallback", "pass Trainer(processing_class=tokenizer)")
    return load_tokenizer(folder)


class _Deadline(Silent):
    """Ends an evaluation before the other ranks lose patience."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.end = time.monotonic() + seconds

    def advance(self, task: str) -> None:
        if time.monotonic() > self.end:
            raise RunFailed(f"it took more than {self.seconds:.0f} s, and other ranks wait (ddp_timeout)")
