"""The statistics of a run's metrics: from statistics.npz, or from the stored answers where that has none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from darumeru.metrics import metric as metric_named
from darumeru.metrics.statistic import Statistic
from darumeru.runs.join import joined_rows
from darumeru.runs.run import Run
from darumeru.runs.stored_plan import StoredTask, read_plan
from darumeru.runs.stored_statistics import StoredStatistics, open_statistics


class RunStatistics(Mapping[str, Mapping[str, Statistic]]):
    """Task -> metric of its score -> statistic, read when asked for and not kept."""

    def __init__(self, run: Run, stored: StoredStatistics | None, tasks: Mapping[str, StoredTask]) -> None:
        self._run = run
        self._stored = stored
        self._tasks = tasks

    def __getitem__(self, task: str) -> Mapping[str, Statistic]:
        return self.of(task, self._tasks[task].score)

    def names(self, task: str) -> tuple[str, ...]:
        """The metrics of the task's score."""
        return self._tasks[task].score

    def all_names(self, task: str) -> tuple[str, ...]:
        """All metrics of the task."""
        return self._tasks[task].metrics

    def of(self, task: str, names: tuple[str, ...]) -> Mapping[str, Statistic]:
        """The statistics of these metrics of a task."""
        found = self._stored.of(task, names) if self._stored else None
        if found is None:
            rows = joined_rows(self._run.path, self._tasks[task])
            found = tuple(metric_named(name).statistic(rows) for name in names)
        return dict(zip(names, found, strict=True))

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, task: object) -> bool:
        return task in self._tasks


def run_statistics(run: Run) -> RunStatistics:
    """The statistics of all tasks that have a score, and of none of another source (lm-eval), whose metrics are not
    Darumeru's.

    Each look-up reads the file again, so that a board holds one task at a time. Raises UserError for an edited
    statistics.npz.
    """
    scored = run.results.tasks
    tasks = {
        task.name: task
        for task in read_plan(run.path)
        if not task.source and task.name in scored and scored[task.name].score.value is not None
    }
    return RunStatistics(run, open_statistics(run.path, run.results.files), tasks)
