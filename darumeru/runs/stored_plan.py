"""The plan of a run on disk: plan.json and questions/<task>.jsonl, so that a run is scored without model or data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.core.files import content_hash, json_line, parse_json, write_atomically
from darumeru.core.shapes import check_shape
from darumeru.runs.annotate import annotators_of
from darumeru.runs.planned import Plan, PlannedTask
from darumeru.runs.store import task_file
from darumeru.tasks.spec import TaskSpec

PLAN = "plan.json"
QUESTIONS = "questions"
SCHEMA = 2
_QUESTION = {"id": str, "key": str, "cluster": str, "meta": dict}
_TASK = {
    "name": str,
    "group": str,
    "method": str,
    "metrics": list,
    "score": list,
    "annotators": list,
    "language": str,
    "leaderboard": bool,
    "definition": str,
    "asking": dict,
    "num_fewshot": int,
    "limited": bool,
    "asked": int,
    "targets": str,
    "too_long": list,
    "data": dict,
    "source": str,
    "settings": dict,
}
MEND = "run the same `darumeru run` command again"


@dataclass(frozen=True)
class StoredQuestion:
    """One line of questions/<task>.jsonl: what a stored answer is joined with. key: of the answer that counts."""

    id: str
    key: str
    cluster: str
    target: Any
    meta: Mapping[str, Any]


@dataclass(frozen=True)
class StoredTask:
    """One task of plan.json. asked: number of its questions; targets: hash over them. asking: what of the task's
    definition makes its prompts, for finding the task again. The rest as in TaskSpec and PlannedTask."""

    name: str
    group: str
    method: str
    metrics: tuple[str, ...]
    score: tuple[str, ...]
    annotators: tuple[str, ...]
    language: str
    leaderboard: bool
    definition: str
    asking: Mapping[str, Any]
    num_fewshot: int
    limited: bool
    asked: int
    targets: str
    too_long: tuple[str, ...]
    data: Mapping[str, Any]
    error: str | None
    source: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    judge: str | None = None

    @property
    def expected(self) -> int:
        """Samples that a complete answer to this task has."""
        return self.asked + len(self.too_long)

    @property
    def row_metrics(self) -> tuple[str, ...]:
        """Metrics that have values on single samples; another source's are its own."""
        return () if self.source else self.metrics


def definition_of(spec: TaskSpec) -> dict[str, Any]:
    """The fields of StoredTask that a task's definition gives."""
    return {
        "group": spec.group,
        "method": spec.method,
        "metrics": spec.metrics,
        "score": spec.score,
        "annotators": annotators_of(spec.method, spec.annotators),
        "language": spec.language,
        "leaderboard": spec.leaderboard,
        "definition": content_hash([spec.asking(), spec.scoring()]),
        "asking": spec.asking(),
        "judge": spec.judge,
    }


def stored_task(task: PlannedTask, questions: Sequence[StoredQuestion]) -> StoredTask:
    """A planned task as plan.json has it."""
    return StoredTask(
        name=task.spec.name,
        **definition_of(task.spec),
        num_fewshot=task.num_fewshot,
        limited=task.limited,
        asked=len(task.samples),
        targets=targets_hash(questions),
        too_long=task.too_long,
        data=task.data,
        error=task.error,
        source=task.source,
        settings=task.settings,
    )


def questions_of(task: PlannedTask) -> list[StoredQuestion]:
    """The questions of a planned task in its order."""
    return [
        StoredQuestion(one.sample.id, one.key, one.sample.cluster, one.sample.target, dict(one.meta))
        for one in task.samples
    ]


@dataclass(frozen=True)
class StoredPlan:
    """The tasks of a plan as they are stored, each with its questions."""

    tasks: tuple[StoredTask, ...]
    questions: tuple[Sequence[StoredQuestion], ...]

    @staticmethod
    def of(plan: Plan) -> StoredPlan:
        """A plan as it is stored."""
        questions = tuple(questions_of(task) for task in plan.tasks)
        return StoredPlan(tuple(map(stored_task, plan.tasks, questions)), questions)

    def write(self, run: Path) -> None:
        """Write RUN/plan.json and RUN/questions/."""
        for task, questions in zip(self.tasks, self.questions, strict=True):
            write_questions(run, task.name, questions)
        write_tasks(run, self.tasks)


def write_questions(run: Path, task: str, questions: Sequence[StoredQuestion]) -> None:
    """Write RUN/questions/<task>.jsonl."""
    (run / QUESTIONS).mkdir(exist_ok=True)
    lines = "".join(json_line(asdict(one)) for one in questions)
    write_atomically(run / QUESTIONS / task_file(task), lines)


def write_tasks(run: Path, tasks: Sequence[StoredTask]) -> None:
    """Write RUN/plan.json alone."""
    document = {"schema": SCHEMA, "tasks": [asdict(task) for task in tasks]}
    write_atomically(run / PLAN, json_line(document))


def read_plan(run: Path) -> list[StoredTask]:
    """The tasks of RUN/plan.json; UserError when it is missing or broken."""
    path = run / PLAN
    try:
        document = parse_json(path.read_text(encoding="utf-8"))
        return [_task(task) for task in document["tasks"]]
    except FileNotFoundError as error:
        raise UserError("is not the folder of a run: plan.json is missing", str(run)) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"is broken: {error}", str(path), MEND) from error


def _task(values: Mapping[str, Any]) -> StoredTask:
    check_shape(values, _TASK)
    lists = {name: tuple(map(str, values[name])) for name in ("metrics", "score", "annotators", "too_long")}
    return StoredTask(**{**values, **lists})


def read_questions(run: Path, task: StoredTask) -> list[StoredQuestion]:
    """The questions of a task in the order of the plan; UserError names a line that is none, or a file that is not the
    one of the plan."""
    path = run / QUESTIONS / task_file(task.name)
    try:
        with path.open("rb") as file:
            questions = [_question(line, f"{path}:{number}") for number, line in enumerate(file, 1)]
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", str(path), MEND) from error
    if targets_hash(questions) != task.targets:
        raise UserError("was edited by hand: it differs from what plan.json was made with", str(path), MEND)
    return questions


def _question(line: bytes, where: str) -> StoredQuestion:
    try:
        values = parse_json(line)
        check_shape(values, _QUESTION)
        return StoredQuestion(**values)
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"is not a question: {error}", where, MEND) from error


def targets_hash(questions: Sequence[StoredQuestion]) -> str:
    """Hash over what answers are scored by; "" when a value is none that JSON can hold."""
    try:
        return content_hash([[one.id, one.cluster, one.target, one.meta] for one in questions])
    except ValueError:
        return ""
