"""DarumeruCallback: the benchmark inside any transformers or trl Trainer."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import Any

from transformers import EarlyStoppingCallback, TrainerCallback

from darumeru.core.errors import RunFailed, UserError
from darumeru.core.ranks import on_first, patience
from darumeru.leaderboard.curve import CURVE, MEAN, MICRO_AVG, Point, add_point, point_of, read_curve, write_curve
from darumeru.models.config_file import CONTEXT_KEYS
from darumeru.models.live_weights import checkpoint_weights, is_sharded, unwrapped
from darumeru.runs.progress import Silent
from darumeru.runs.score import BENCHMARK_TASKS
from darumeru.training import best_checkpoint
from darumeru.training.best_checkpoint import PREFIX
from darumeru.training.config import LiveConfig
from darumeru.training.live_engine import LiveEngine
from darumeru.training.live_evaluation import LiveEvaluation
from darumeru.training.schedule import Clock, Schedule

MOST_FAILURES = 3
log = logging.getLogger("darumeru")


class DarumeruCallback(LiveConfig, TrainerCallback):  # type: ignore[misc]
    """Scores the model while it is trained, on a fixed subset of the benchmark; takes the fields of LiveConfig.

    tasks, data, profile, system_prompt, thinking and so on: as in `darumeru run`. limit: records of each task, drawn
    once with `seed` and evenly over subjects and right answers. every_steps, at_saves, share, at_start, at_end: when
    (schedule.Schedule); at the start and at the end of training alone when nothing is said. output: where curve.jsonl,
    curve.png and a run folder for each point go; default <output_dir>/darumeru. live: the engine's options.
    early_stopping_patience: stop after that many evaluations in a row without a better metric_for_best_model.

    Scores go to the Trainer's log as eval_darumeru/<name>: micro_avg (all 17 tasks), mean (of the tasks asked), groups
    and tasks. `metric_for_best_model="darumeru/micro_avg"` works with and without an evaluation data set. What is wrong
    with the options is a UserError; an evaluation that fails later is logged and skipped, and after three in a row
    there are no more. Random states, gradients and training mode stay as they are.
    """

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __post_init__(self) -> None:
        super().__post_init__()
        self.schedule = Schedule(self.every_steps, self.at_saves, self.share, self.at_start, self.at_end)
        self.clock = Clock()
        self.points: list[Point] = []
        self._trainer: Any = None
        self._folder = Path(self.output) if self.output is not None else None
        self._evaluation: LiveEvaluation | None = None
        self._engine: LiveEngine | None = None
        self._latest: tuple[int, dict[str, float]] = (-1, {})
        self._failures = 0
        self._told = time.monotonic()

    # Events of the Trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Find everything that can be wrong; take up an earlier curve; evaluate the beginning."""
        self.attach(_calling_trainer(self) if self._trainer is None else self._trainer)
        model = unwrapped(self._trainer.model_wrapped)
        tokenizer = _tokenizer(
            kwargs.get("processing_class") or getattr(self._trainer, "processing_class", None), model
        )
        if self._folder is None:
            self._folder = Path(args.output_dir) / "darumeru"
        name = Path(str(getattr(model.config, "_name_or_path", "") or args.output_dir)).name
        on_first(lambda: self._prepare(name, model, tokenizer, state.global_step))
        self._check_best(args)
        if self.schedule.at_start and state.global_step == 0:
            self._evaluate(args, state, control)
        self._told = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        now = time.monotonic()
        self.clock.training += now - self._told
        last = state.global_step >= state.max_steps or control.should_training_stop
        due = self.schedule.due(state.global_step, saving=control.should_save, last=last, clock=self.clock)
        if on_first(lambda: due):
            self._evaluate(args, state, control)
        self._told = time.monotonic()

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any) -> None:
        """Add the scores to the Trainer's own evaluation, which chooses the best checkpoint by them."""
        if self._latest[0] != state.global_step and best_checkpoint.wanted_metric(args):
            self._evaluate(args, state, control)
        if self._latest[0] == state.global_step:
            metrics.update(self._latest[1])
        elif wanted := best_checkpoint.wanted_metric(args):
            # An evaluation that failed is no better than the best; without any number the Trainer would end.
            worst = float("inf") if args.greater_is_better is False else float("-inf")
            metrics.setdefault(wanted, worst if state.best_metric is None else state.best_metric)
        self._told = time.monotonic()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the engine."""
        if self._engine is not None:
            self._engine.close()

    def attach(self, trainer: Any) -> None:
        """Tell the callback its Trainer; done by itself when training begins. It goes before EarlyStoppingCallback,
        which would not see its scores otherwise."""
        self._trainer = trainer
        callbacks = trainer.callback_handler.callbacks
        stopping = [place for place, one in enumerate(callbacks) if isinstance(one, EarlyStoppingCallback)]
        if self in callbacks and stopping and stopping[0] < callbacks.index(self):
            callbacks.remove(self)
            callbacks.insert(stopping[0], self)

    # One evaluation

    def _prepare(self, name: str, model: Any, tokenizer: Any, step: int) -> None:
        context = next((getattr(model.config, key) for key in CONTEXT_KEYS if getattr(model.config, key, None)), None)
        self._evaluation = LiveEvaluation(self, name, tokenizer, context, self.live.engine)
        self._tokenizer = tokenizer
        folder = self._folder
        assert folder is not None
        folder.mkdir(parents=True, exist_ok=True)
        for task, reason in self._evaluation.incomplete.items():
            log.warning("darumeru: %s will have no complete score: %s", task, reason)
        length = self._evaluation.session.plan.max_length
        self._engine = LiveEngine(self.live, folder, length, say=log.warning)
        # What was seen after the checkpoint that training goes on from belongs to steps that are done again.
        self.points = [point for point in read_curve(folder / CURVE) if step and point.step <= step]
        write_curve(folder / CURVE, self.points)

    def _evaluate(self, args: Any, state: Any, control: Any) -> None:
        if self._failures >= MOST_FAILURES:
            return
        from darumeru.engines.vllm_setup import undisturbed

        started = time.monotonic()
        model = self._trainer.model_wrapped
        try:
            with undisturbed():
                scores = on_first(
                    lambda: self._ask(model, state, args), lambda: _gather(model) if is_sharded(model) else None
                )
        except Exception as error:  # whatever it is, training goes on
            self._failed(error, state.global_step)
            return
        self.clock.evaluated(time.monotonic() - started)
        self._failures = 0
        self._latest = (state.global_step, {PREFIX + name: value for name, value in scores.items()})
        should_log = control.should_log
        self._trainer.log(dict(self._latest[1]))
        control.should_log = should_log  # Trainer.log takes it for done, and this step's loss would be missing
        best_checkpoint.judge(self._latest[1], args, state, control, self.early_stopping_patience)

    def _ask(self, model: Any, state: Any, args: Any) -> dict[str, float]:
        assert self._engine is not None and self._evaluation is not None and self._folder is not None
        started = time.monotonic()
        engine = self._engine.push(model, self._tokenizer, self._evaluation.canary)
        pushed = time.monotonic()
        folder = self._folder
        run = Path("steps") / f"step-{state.global_step:08d}"
        wait = patience(getattr(args, "ddp_timeout", None))
        deadline = _Deadline(wait.total_seconds()) if wait else None
        results = self._evaluation.run(engine, folder / run, state.global_step, deadline)
        self._engine.rest()
        extra = {
            "epoch": state.epoch,
            "engine": engine.name,
            "seconds": round(time.monotonic() - started, 3),
            "push_seconds": round(pushed - started, 3),
        }
        point = point_of(results, state.global_step, run.as_posix(), extra)
        self.points = add_point(folder / CURVE, point)
        for task, reason in results.failed.items():
            if task not in self._evaluation.incomplete:
                log.warning("darumeru: step %d has no complete score of %s: %s", state.global_step, task, reason)
        return {name: float(score.value) for name, score in point.scores.items() if score.value is not None}

    def _failed(self, error: Exception, step: int) -> None:
        self._failures += 1
        reason = error.line() if isinstance(error, UserError) else f"{type(error).__name__}: {error}".splitlines()[0]
        log.warning("darumeru: the evaluation at step %d failed and is skipped: %s", step, reason)
        log.debug("the evaluation failed", exc_info=error)
        if self._failures >= MOST_FAILURES:
            log.warning("darumeru: %d evaluations in a row failed: no more in this training", MOST_FAILURES)
        if self._engine is not None:
            self._engine.close()

    def _check_best(self, args: Any) -> None:
        wanted = best_checkpoint.wanted_metric(args)
        tasks, incomplete = on_first(self._known)
        if wanted == PREFIX + MICRO_AVG and tasks != BENCHMARK_TASKS:
            mend = 'use tasks="darumeru", or "darumeru/mean"'
            raise UserError(f"Micro-Avg needs all {BENCHMARK_TASKS} tasks", "metric_for_best_model", mend)
        if wanted in (PREFIX + MICRO_AVG, PREFIX + MEAN) and incomplete:
            task, reason = next(iter(incomplete.items()))
            mend = "leave the task out, or choose the score of one task"
            raise UserError(f"there will be no mean: {task}: {reason}", "metric_for_best_model", mend)
        if self.early_stopping_patience is not None and wanted is None:
            mend = 'for example TrainingArguments(metric_for_best_model="darumeru/mean")'
            raise UserError("early stopping needs a score to follow", "metric_for_best_model", mend)

    def _known(self) -> tuple[int, dict[str, str]]:
        """Number of tasks, and those that are known to stay incomplete."""
        assert self._evaluation is not None
        return len(self._evaluation.session.plan.tasks), dict(self._evaluation.incomplete)


def _gather(model: Any) -> None:
    """Take part in the gathering of a sharded model."""
    for _ in checkpoint_weights(model, keep=False):
        pass


def _calling_trainer(callback: TrainerCallback) -> Any:
    """The Trainer whose event this is: callbacks are told everything but that, and `Trainer.log` is the way to
    TensorBoard, W&B and MLflow."""
    frame = sys._getframe(1)
    while frame is not None:
        found = frame.f_locals.get("self")
        handler = getattr(found, "callback_handler", None)
        if handler is not None and callback in handler.callbacks:
            return found
        frame = frame.f_back  # type: ignore[assignment]
    raise UserError("the Trainer was not found", "DarumeruCallback", "call callback.attach(trainer) before train()")


def _tokenizer(processing_class: Any, model: Any) -> Any:
    """The tokenizer that the Trainer holds, or the one that lies beside the model."""
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
