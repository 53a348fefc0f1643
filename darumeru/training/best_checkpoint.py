"""Which checkpoint is the best, and when to stop, by the benchmark's scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PREFIX = "eval_darumeru/"


def wanted_metric(args: Any) -> str | None:
    """The score that metric_for_best_model names, as the Trainer's log calls it; None when it is not one of ours."""
    name = getattr(args, "metric_for_best_model", None) or ""
    full = name if name.startswith("eval_") else f"eval_{name}"
    return full if full.startswith(PREFIX) else None


def judge(scores: Mapping[str, float], args: Any, state: Any, control: Any, patience: int | None) -> None:
    """Choose the best checkpoint where the Trainer evaluates nothing itself; stop after `patience` evaluations in a row
    that were no better. scores: by name in the log. The model before its first step is no checkpoint: it takes part in
    stopping, not in the choice."""
    wanted = wanted_metric(args)
    value = scores.get(wanted) if wanted else None
    if value is None:
        return
    sign = _sign(args)
    better = state.best_metric is None or sign * value > sign * state.best_metric
    if state.global_step and not control.should_evaluate and better:
        state.best_metric, state.best_global_step = value, state.global_step
        control.should_save = True
    if patience is not None:
        # From the log, which a resumed training brings with it.
        logged = [entry[wanted] for entry in state.log_history if wanted in entry]
        best = max(range(len(logged)), key=lambda place: (sign * logged[place], -place))
        if len(logged) - 1 - best >= patience:
            control.should_training_stop = True


def save_something(args: Any, state: Any, control: Any) -> None:
    """After the last step: save_strategy="best" without any score to choose by saves the last checkpoint."""
    if args.save_strategy == "best" and wanted_metric(args) and not state.best_global_step:
        control.should_save = True


def worse_than_before(args: Any, state: Any) -> str | None:
    """What to say where no checkpoint is as good as the model before training; None where one is."""
    wanted = wanted_metric(args)
    logged = {entry["step"]: entry[wanted] for entry in state.log_history if wanted in entry}
    if 0 not in logged or state.best_metric is None or _sign(args) * (state.best_metric - logged[0]) >= 0:
        return None
    return (
        f"no checkpoint is as good as the model before training: {wanted} was {logged[0]:.4g} at step 0, "
        f"and is {state.best_metric:.4g} at step {state.best_global_step}, the best of those saved"
    )


def _sign(args: Any) -> int:
    return -1 if args.greater_is_better is False else 1
