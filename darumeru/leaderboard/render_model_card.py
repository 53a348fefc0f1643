"""A run as the model-index block of a Hub model card."""

from __future__ import annotations

from typing import Any

import yaml

from darumeru.core.errors import UserError
from darumeru.runs.run import Run

METRIC = "darumeru_score"


def render(run: Run) -> str:
    """YAML that begins with "model-index:"; paste it into the front matter of the card.

    Complete tasks only, and Micro-Avg where the run has it. Raises UserError where there is no complete task.
    """
    # Heavy and only needed here.
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    manifest = run.manifest
    results = [
        EvalResult(
            task_type="text-generation",
            task_name="Text generation",
            dataset_type=name,
            dataset_name=f"{name} ({task.num_fewshot} shots, n {task.n})",
            dataset_split="test",
            dataset_revision=_revision(manifest, name),
            metric_type=next(iter(task.metrics)) if len(task.metrics) == 1 else METRIC,
            metric_name=", ".join(task.metrics),
            metric_value=task.score.value,
            metric_args={"interval_95": [task.score.low, task.score.high], "profile": manifest["profile"]},
        )
        for name, task in run.results.tasks.items()
        if task.complete and task.score.value is not None
    ]
    if not results:
        raise UserError("has no complete task to put on a model card", str(run.path))
    micro = run.results.micro_avg
    if micro.value is not None:
        results.append(
            EvalResult(
                task_type="text-generation",
                task_name="Text generation",
                dataset_type="darumeru",
                dataset_name="Darumeru, 17 tasks",
                metric_type="micro_avg",
                metric_name="Micro-Avg, unweighted mean of the 17 tasks",
                metric_value=micro.value,
                metric_args={"interval_95": [micro.low, micro.high], "profile": manifest["profile"]},
            )
        )
    index: list[dict[str, Any]] = eval_results_to_model_index(run.name, results)
    text: str = yaml.safe_dump({"model-index": index}, sort_keys=False, allow_unicode=True, width=1000)
    return text


def _revision(manifest: Any, task: str) -> str | None:
    revision = ((manifest.get("data") or {}).get("tasks") or {}).get(task, {}).get("revision")
    return None if revision is None else str(revision)
