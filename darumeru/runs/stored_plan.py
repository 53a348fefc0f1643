"""plan.json: what a run was going to ask, so that it can be scored and resumed without model or data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.core.files import write_atomically
from darumeru.runs.plan import Plan

PLAN = "plan.json"


@dataclass(frozen=True)
class StoredTask:
    """One task of plan.json. samples: id -> fingerprint, in order. source, settings: as in PlannedTask."""

    name: str
    group: str
    method: str
    metrics: tuple[str, ...]
    score: tuple[str, ...]
    language: str
    leaderboard: bool
    num_fewshot: int
    limited: bool
    samples: Mapping[str, str]
    too_long: tuple[str, ...]
    data: Mapping[str, Any]
    error: str | None
    source: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


def write_plan(run: Path, plan: Plan) -> None:
    """Write RUN/plan.json."""
    tasks = [
        {
            "name": task.spec.name,
            "group": task.spec.group,
            "method": task.spec.method,
            "metrics": list(task.spec.metrics),
            "score": list(task.spec.score),
            "language": task.spec.language,
            "leaderboard": task.spec.leaderboard,
            "num_fewshot": task.num_fewshot,
            "limited": task.limited,
            "samples": {one.sample.id: one.request.fingerprint for one in task.samples},
            "too_long": list(task.too_long),
            "data": dict(task.data),
            "error": task.error,
            "source": task.source,
            "settings": dict(task.settings),
        }
        for task in plan.tasks
    ]
    document = {"schema": 1, "max_length": plan.max_length, "tasks": tasks}
    write_atomically(run / PLAN, json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n")


def read_plan(run: Path) -> list[StoredTask]:
    """The tasks of RUN/plan.json; UserError when it is missing or broken."""
    path = run / PLAN
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return [
            StoredTask(
                **{
                    **task,
                    "metrics": tuple(task["metrics"]),
                    "score": tuple(task["score"]),
                    "too_long": tuple(task["too_long"]),
                }
            )
            for task in document["tasks"]
        ]
    except FileNotFoundError as error:
        raise UserError("is not the folder of a run: plan.json is missing", str(run)) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"is broken: {error}", str(path), "run the same `darumeru run` command again") from error
