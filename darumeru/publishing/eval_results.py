"""`.eval_results/*.yaml`: scores in a model's repository that the Hub shows beside the model and the data set.

One file a data set of the Hub. Only whole tasks on the Hub's own records are in it: a bundled sample, a local folder or
a subset (--limit) are other questions than the data set's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from darumeru.core.numbers import with_interval
from darumeru.leaderboard.data_sets import of_task
from darumeru.leaderboard.measures import score_label, score_names, task_measure
from darumeru.runs.results import TaskScore
from darumeru.runs.run import Run

FOLDER = ".eval_results"


@dataclass(frozen=True)
class EvalResults:
    """files: path in the repository -> YAML. left_out: task -> why it is in none."""

    files: dict[str, str]
    left_out: dict[str, str]


def eval_results(run: Run, source: str) -> EvalResults:
    """The files of a run. source: address of where the numbers come from."""
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    found: dict[str, list[Any]] = {}
    left_out: dict[str, str] = {}
    for name, task in run.results.tasks.items():
        data = of_task(run, name)
        reason = _unfit(task) or data.said
        if reason:
            left_out[name] = reason
            continue
        entry = EvalResultEntry(
            dataset_id=str(data.repository),
            task_id=data.config or "default",
            value=task.score.value,
            dataset_revision=data.commit,
            date=run.manifest.get("finished"),
            source_url=source,
            source_name="Darumeru",
            notes=_notes(run, task),
        )
        found.setdefault(str(data.repository), []).append(entry)
    files = {
        f"{FOLDER}/darumeru-{repository.replace('/', '--')}.yaml": _yaml(eval_result_entries_to_yaml(entries))
        for repository, entries in found.items()
    }
    return EvalResults(files, left_out)


def _unfit(task: TaskScore) -> str:
    if task.score.value is None or not task.complete:
        return "it is not complete"
    return "only a subset was asked (--limit)" if task.limited else ""


def _notes(run: Run, task: TaskScore) -> str:
    """What the number is, since the format has no field for it."""
    digits = task_measure(run.results, task.name).digits
    said = with_interval(task.score.value, task.score.low, task.score.high, digits)
    version = (run.manifest.get("versions") or {}).get("darumeru", "")
    return (
        f"{score_label(score_names(task))} {said} (95 % interval); task {task.name}, {task.num_fewshot} shots, "
        f"n {task.n}, profile {run.manifest['profile']}, darumeru {version}".rstrip()
    )


def _yaml(value: Any) -> str:
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1000))
