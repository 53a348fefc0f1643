"""The statistics of a run's scores: from statistics.npz, or from the stored answers of an older run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from darumeru.metrics import metric as metric_named
from darumeru.metrics.statistic import Statistic
from darumeru.runs.join import joined_rows
from darumeru.runs.run import Run
from darumeru.runs.stored_plan import StoredTask, read_plan
from darumeru.runs.stored_statistics import StoredStatistics, open_statistics


class RunStatistics(Mapping[str, tuple[Statistic, ...]]):
    """Task -> statistics of the metrics of its score, read when asked for and not kept."""

    def __init__(self, run: Run, stored: StoredStatistics | None, tasks: Mapping[str, StoredTask]) -> None:
        self._run = run
        self._stored = stored
        self._tasks = tasks

    def __getitem__(self, task: str) -> tuple[Statistic, ...]:
        planned = self._tasks[task]
        found = self._stored.of(task, planned.score) if self._stored else None
        if found is not None:
            return found
        rows = joined_rows(self._run.path, planned)
        return tuple(metric_named(name).statistic(rows) for name in planned.score)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, task: object) -> bool:
        return task in self._tasks


def run_statistics(run: Run) -> Mapping[str, tuple[Statistic, ...]]:
    """Task -> statistics of its score metrics, whose unweighted mean is the score.

    Only tasks that have a score, and none of another source (lm-eval), whose metrics are not Darumeru's. Each look-up
    reads the file again, so that a board holds one task at a time. Raises UserError for an edited statistics.npz.
    """
    scored = run.results.tasks
    tasks = {
        task.name: task
        for task in read_plan(run.path)
        if not task.source and task.name in scored and scored[task.name].score.value is not None
    }
    return RunStatistics(run, open_statistics(run.path, run.results.files), tasks)
