"""A run as the model-index block of a Hub model card."""

from __future__ import annotations

from typing import Any

import yaml

from darumeru.core.errors import UserError
from darumeru.leaderboard.data_sets import HUB, of_task
from darumeru.leaderboard.measures import score_label, score_names, task_measure
from darumeru.runs.results import TaskScore
from darumeru.runs.run import Run

METRIC = "darumeru_score"
SOURCE = f"{HUB}/datasets/RefalMachine/darumeru"
"""Where the benchmark is described."""


def render(run: Run) -> str:
    """YAML that begins with "model-index:"; paste it into the front matter of the card.

    Complete tasks only, and Micro-Avg where the run has it. Raises UserError where there is no complete task.
    """
    from huggingface_hub.repocard_data import eval_results_to_model_index

    index: list[dict[str, Any]] = eval_results_to_model_index(run.name, card_results(run))
    text: str = yaml.safe_dump({"model-index": index}, sort_keys=False, allow_unicode=True, width=1000)
    return text


def card_results(run: Run) -> list[Any]:
    """The same as values of huggingface_hub (EvalResult)."""
    from huggingface_hub import EvalResult  # heavy and only needed here

    profile = run.manifest["profile"]
    results = [
        EvalResult(
            task_type="text-generation",
            task_name="Text generation",
            metric_type=names[0] if len(names := score_names(task)) == 1 else METRIC,
            metric_name=score_label(names),
            metric_value=task.score.value,
            metric_args={
                "interval_95": [task.score.low, task.score.high],
                "profile": profile,
                "higher_is_better": task_measure(run.results, name).sign > 0,
            },
            **_data_set(run, task),
        )
        for name, task in run.results.tasks.items()
        if task.complete and task.score.value is not None
    ]
    if not results:
        raise UserError("has no complete task to put on a model card", str(run.path))
    micro = run.results.micro_avg
    if micro.value is not None:
        others = {data.said for name in run.results.tasks if not (data := of_task(run, name)).on_hub}
        source = {} if others else {"source_name": "RefalMachine/darumeru on the Hub", "source_url": SOURCE}
        results.append(
            EvalResult(
                task_type="text-generation",
                task_name="Text generation",
                dataset_type="darumeru",
                dataset_name="Darumeru, 17 tasks" + (f" ({', '.join(sorted(others))})" if others else ""),
                metric_type="micro_avg",
                metric_name="Micro-Avg, unweighted mean of the 17 tasks",
                metric_value=micro.value,
                metric_args={"interval_95": [micro.low, micro.high], "profile": profile},
                **source,
            )
        )
    return results


def _data_set(run: Run, task: TaskScore) -> dict[str, Any]:
    """The data set of the Hub that was asked, with its configuration, split and revision; other data is called what it
    is, and stands under the task's name."""
    data = of_task(run, task.name)
    asked = f"{task.num_fewshot} shots, n {task.n}" + (", a subset" if task.limited else "")
    split = {"dataset_split": data.split}
    if data.on_hub:
        return split | {
            "dataset_type": data.repository,
            "dataset_revision": data.revision,
            "dataset_name": f"{task.name} ({asked})",
            "dataset_config": data.config,
            "source_name": f"{data.repository} on the Hub",
            "source_url": data.link,
        }
    return split | {"dataset_type": task.name, "dataset_name": f"{task.name} ({data.said}, {asked})"}
