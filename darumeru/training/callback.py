"""DarumeruCallback: the benchmark inside any transformers or trl Trainer."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import Any

from transformers import EarlyStoppingCallback, Trainer, TrainerCallback

from darumeru.core.errors import UserError
from darumeru.core.ranks import on_first, patience
from darumeru.leaderboard.curve import MEAN, MICRO_AVG, Point
from darumeru.models.live_weights import unwrapped
from darumeru.runs.config import config_as
from darumeru.runs.score import BENCHMARK_TASKS
from darumeru.training import best_checkpoint
from darumeru.training.best_checkpoint import PREFIX
from darumeru.training.config import LiveConfig
from darumeru.training.live_evaluation import LiveEvaluation, find_tokenizer
from darumeru.training.sample_table import log_table
from darumeru.training.schedule import Clock, Schedule

MOST_FAILURES = 3
log = logging.getLogger("darumeru")


class DarumeruCallback(LiveConfig, TrainerCallback):  # type: ignore[misc]
    """Scores the model while it is trained, on a fixed subset of the benchmark; takes the fields of LiveConfig.

    tasks, data, profile, system_prompt, thinking and so on: as in `darumeru run`. limit: records of each task, drawn
    once with `seed` and evenly over subjects and right answers. every_steps, at_saves, share, at_start, at_end: when
    (schedule.Schedule); at the start and at the end of training alone when nothing is said. output: where curve.jsonl,
    curve.png and a run folder for each point go; default <output_dir>/darumeru. live: the engine's options.
    log_samples: so many generated answers of each task go to TensorBoard and W&B as a table.
    early_stopping_patience: stop after that many evaluations in a row without a better metric_for_best_model.

    Scores go to the Trainer's log as eval_darumeru/<name>: micro_avg (all 17 tasks), mean (of the tasks asked), groups
    and tasks. `metric_for_best_model="darumeru/micro_avg"` works with and without an evaluation data set. What is wrong
    with the options is a UserError; an evaluation that fails later is logged and skipped, and after three in a row
    there are no more. Random states, gradients and training mode stay as they are.

    Example::

        Trainer(..., callbacks=[darumeru.DarumeruCallback(tasks="darumeru", every_steps=500, limit=64)])
    """

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __post_init__(self) -> None:
        super().__post_init__()
        self.schedule = Schedule(self.every_steps, self.at_saves, self.share, self.at_start, self.at_end)
        self.clock = Clock()
        self.evaluation: LiveEvaluation | None = None
        self._trainer: Any = None
        self._latest: tuple[int, dict[str, float]] = (-1, {})
        self._failures = 0
        self._told = time.monotonic()

    @property
    def points(self) -> list[Point]:
        """The curve so far."""
        return self.evaluation.points if self.evaluation else []

    # Events of the Trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Find everything that can be wrong; take up an earlier curve; evaluate the beginning."""
        self.attach(_calling_trainer(self) if self._trainer is None else self._trainer)
        model = self._trainer.model_wrapped
        processing = kwargs.get("processing_class") or getattr(self._trainer, "processing_class", None)
        self._tokenizer = find_tokenizer(processing, unwrapped(model))
        output = self.output or Path(args.output_dir) / "darumeru"
        self.evaluation = config_as(LiveEvaluation, self, live=self.live, output=output)
        self.evaluation.prepare(model, self._tokenizer, state.global_step)
        self._check_best(args)
        if getattr(self._trainer, "use_vllm", False):
            log.warning(
                "darumeru: this trainer's own vLLM is left to it, and a second engine starts: the other one is made "
                "for sampling, with logits in half precision, in which choices tie, and at most 20 log-probabilities. "
                "LiveOptions(engine_args={'gpu_memory_utilization': 0.2}) says how much memory this one may take"
            )
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
        if last:
            best_checkpoint.save_something(args, state, control)
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
        if (worse := best_checkpoint.worse_than_before(args, state)) and state.is_world_process_zero:
            log.warning("darumeru: %s", worse)
        if self.evaluation is not None:
            self.evaluation.close()

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

    def _evaluate(self, args: Any, state: Any, control: Any) -> None:
        if self._failures >= MOST_FAILURES:
            return
        assert self.evaluation is not None
        started = time.monotonic()
        limit = patience(getattr(args, "ddp_timeout", None))
        wait = limit.total_seconds() if limit else None
        about = {"epoch": state.epoch, **self._tokens(args, state)}
        try:
            model = self._trainer.model_wrapped
            scores = self.evaluation.score(model, self._tokenizer, state.global_step, about, wait)
        except Exception as error:  # whatever it is, training goes on
            self._failed(error, state.global_step)
            return
        engine = self.evaluation.engine
        starting = engine.starting if engine is not None and self.live.between != "close" else 0.0
        self.clock.evaluated(time.monotonic() - started, starting)
        self._failures = 0
        self._latest = (state.global_step, {PREFIX + name: value for name, value in scores.items()})
        should_log = control.should_log
        # trl's trainers add what they have gathered since their last log, and forget it: it belongs to theirs.
        Trainer.log(self._trainer, dict(self._latest[1]))
        control.should_log = should_log  # Trainer.log takes it for done, and this step's loss would be missing
        log_table(self.evaluation.answers, state.global_step, self._trainer.callback_handler.callbacks)
        best_checkpoint.judge(self._latest[1], args, state, control, self.early_stopping_patience)

    def _tokens(self, args: Any, state: Any) -> dict[str, int]:
        """Tokens seen, where the trainer counts them (include_num_input_tokens_seen, or trl's own count)."""
        counted = getattr(args, "include_num_input_tokens_seen", "no") not in ("no", False)
        seen = state.num_input_tokens_seen if counted else getattr(self._trainer, "_total_train_tokens", None)
        return {} if seen is None else {"tokens": int(seen)}

    def _failed(self, error: Exception, step: int) -> None:
        self._failures += 1
        reason = error.line() if isinstance(error, UserError) else f"{type(error).__name__}: {error}".splitlines()[0]
        log.warning("darumeru: the evaluation at step %d failed and is skipped: %s", step, reason)
        log.debug("the evaluation failed", exc_info=error)
        if self._failures >= MOST_FAILURES:
            log.warning("darumeru: %d evaluations in a row failed: no more in this training", MOST_FAILURES)
        if self.evaluation is not None:
            self.evaluation.close()

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
        assert self.evaluation is not None and self.evaluation.plan is not None
        return len(self.evaluation.plan.session.plan.tasks), dict(self.evaluation.plan.incomplete)


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
