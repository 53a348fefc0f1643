"""From a rubric and what it is to judge to a task that a judge is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from darumeru.core.files import content_hash
from darumeru.core.row import SampleRow
from darumeru.runs.plan import Planner
from darumeru.runs.planned import PlannedTask
from darumeru.runs.stored_plan import StoredTask
from darumeru.runs.subject import Subject
from darumeru.runs.verdicts import PREFIX, about
from darumeru.tasks.rubrics import Rubric
from darumeru.tasks.sample import Sample
from darumeru.tasks.spec import RecordSource, TaskSpec

GROUP = "judge"


def by_probability(rubric: Rubric, subject: Subject, verdict: str, thinking: bool) -> bool:
    """Whether verdicts are read from the probabilities of the labels: where the rubric and the user want it, the judge
    does not think first, and its engine gives them."""
    if rubric.by == "text" or verdict == "text" or thinking:
        return False
    served: Any = subject.identity["model"]
    abilities = served.get("abilities", {}) if isinstance(served, Mapping) else {"top": 1}
    return bool(abilities.get("top") or abilities.get("named"))


def judge_spec(name: str, rubric: Rubric, probability: bool, metrics: Sequence[str]) -> TaskSpec:
    """The task of a judge; the rubric is part of its definition."""
    return TaskSpec(
        name=name,
        group=GROUP,
        description=rubric.description,
        method="multiple_choice" if probability else "generate",
        format=GROUP,
        source=RecordSource(f"{GROUP}/answers", shots=None),
        metrics=tuple(metrics),
        score=tuple(metrics[:1]),
        choices=tuple(rubric.labels) if probability else (),
        max_new_tokens=rubric.max_new_tokens,
        few_shot=False,
        leaderboard=False,
        prompt_limit=rubric.prompt_limit,
        options={"rubric": rubric.to_dict()},
    )


def judge_sample(
    task: str, rubric: Rubric, name: str, cluster: str, values: Mapping[str, str], meta: Mapping[str, Any]
) -> Sample:
    """One question to the judge. values: what the rubric's instruction names. meta: what its verdict is joined by."""
    messages = rubric.conversation(values)
    reading = {"labels": dict(rubric.labels), "reading": rubric.reading}
    return Sample(task, name, cluster, lambda shots: messages, 0, None, {**meta, **reading})


def origin(hashes: Sequence[str]) -> dict[str, Any]:
    """Where the questions come from, for a plan: stored answers, by content."""
    return {"origin": "stored answers", "revision": None, "sha256": {"answers": content_hash(list(hashes))}}


class AnswerSource:
    """Questions about the answers of tasks: one an answer (a darumeru.runs.plan.TaskSource). rows: the answered samples
    of each task."""

    def __init__(
        self,
        tasks: Sequence[StoredTask],
        rows: Mapping[str, Sequence[SampleRow]],
        rubrics: Mapping[str, Rubric],
        probability: Mapping[str, bool],
    ) -> None:
        self.tasks = tasks
        self.rows = rows
        self.rubrics = rubrics
        self.probability = probability

    def plan(self, planner: Planner) -> list[PlannedTask]:
        """The judge's tasks with all their requests."""
        return [self._task(planner, task) for task in self.tasks]

    def _task(self, planner: Planner, task: StoredTask) -> PlannedTask:
        rubric = self.rubrics[task.name]
        spec = judge_spec(
            PREFIX + task.name, rubric, self.probability[task.name], ("judge_verdict", "label_probability")
        )
        rows = self.rows[task.name]
        hashes = [about(row) for row in rows]
        samples = [
            judge_sample(spec.name, rubric, row.id, row.cluster, _values(row), {"about": one})
            for row, one in zip(rows, hashes, strict=True)
        ]
        return planner.task(spec, samples, origin(hashes), task.limited)


def _values(row: SampleRow) -> dict[str, str]:
    targets = row.target if isinstance(row.target, list) else [] if row.target is None else [row.target]
    references = "\n".join(f"{number}) {target}" for number, target in enumerate(targets, 1))
    return {
        "question": str(row.meta.get("question") or row.prompt),
        "answer": row.answer.text or "",
        "references": references,
    }
