"""What the numbers of a run are: which metrics make up a task's score, and how those are read and written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from darumeru.core.errors import UserError
from darumeru.metrics import metric as metric_named
from darumeru.metrics.measure import SCORE, Measure, combined
from darumeru.runs.results import Results, TaskScore


def score_names(task: TaskScore) -> tuple[str, ...]:
    """The metrics whose mean is the task's score. Old runs do not say: then the metric that has the score's value,
    nothing where there is none."""
    if task.score_metrics:
        return task.score_metrics
    same = [name for name, one in task.metrics.items() if one == task.score]
    return tuple(same[:1])


def score_label(names: Sequence[str]) -> str:
    """ "acc", "mean of acc and f1_macro"; "score" where nothing is known."""
    if len(names) < 2:
        return names[0] if names else "score"
    return f"mean of {', '.join(names[:-1])} and {names[-1]}"


def metric_measure(results: Results, task: str, name: str) -> Measure:
    """The measure of one metric of a task: what another source of tasks (lm-eval) says of its own, else what the
    metric declares; that of a score where neither is here."""
    known, plain = task.rpartition(":")[2], name.partition("/")[0]
    for source in results.sources.values():
        higher = (source.get("higher_is_better") or {}).get(known)
        if isinstance(higher, Mapping):
            return Measure() if higher.get(plain, True) is not False else Measure(plain, "lower")
    try:
        return metric_named(name).measure
    except UserError:
        return Measure()


def task_measure(results: Results, task: str) -> Measure:
    """The measure of a task's score."""
    return combined([metric_measure(results, task, name) for name in score_names(results.tasks[task])] or [SCORE])


def task_measures(results: Results) -> dict[str, Measure]:
    """Task -> measure, for all tasks of a run."""
    return {task: task_measure(results, task) for task in results.tasks}


def main_family(measures: Mapping[str, Measure]) -> list[str]:
    """The names of which one mean can be taken: all scores where there is one, else those like the first."""
    families = [one.family for one in measures.values()]
    wanted = "score" if "score" in families else next(iter(families), "")
    return [name for name, one in measures.items() if one.family == wanted]


def otherwise(a: TaskScore, b: TaskScore) -> str | None:
    """How two runs score one task differently; None where they do not (or old runs do not say)."""
    names = score_names(a), score_names(b)
    if all(names) and set(names[0]) != set(names[1]):
        return f"scored by {score_label(names[0])} and by {score_label(names[1])}"
    if a.judge != b.judge:
        return f"judged by {a.judge or 'nobody'} and by {b.judge or 'nobody'}"
    if a.definition and b.definition and a.definition != b.definition:
        return "its definition is not the same"
    return None
