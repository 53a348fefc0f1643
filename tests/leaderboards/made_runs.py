"""Run folders made of given answers, written and scored by the project's own store and scorer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from darumeru.core.answer import Answer
from darumeru.core.files import content_hash, to_json
from darumeru.core.row import SampleRow, StoredAnswer
from darumeru.runs.manifest import MANIFEST
from darumeru.runs.score import score_run
from darumeru.runs.store import SampleStore
from darumeru.runs.stored_plan import StoredQuestion, StoredTask, write_questions, write_tasks


def chosen(task: str, id: str, target: str, said: str, prompt: str = "Вопрос?", **more: Any) -> SampleRow:
    """A sample of which `said` ("A" or "B") got the larger probability."""
    other = "B" if said == "A" else "A"
    answer = Answer(probabilities={said: 0.75, other: 0.125}, seconds=0.5)
    return SampleRow(task, id, id, f"f{id}", prompt, 9, target, answer, {}, {"acc": float(target == said)}, **more)


def copied(task: str, id: str, text: str, said: str, prompt: str = "Повтори.", **more: Any) -> SampleRow:
    """A copying sample; a text that ends in "…" counts as cut at the token budget."""
    finish = "length" if said.endswith("…") else "stop"
    answer = Answer(text=said, tokens=more.pop("tokens", (1,)), finish_reason=finish, seconds=0.25)
    count = more.pop("prompt_tokens", 5)
    metrics = {"exact_copy_rate": float(text == said)}
    return SampleRow(task, id, id, f"f{id}", prompt, count, text, answer, {}, metrics, **more)


def make_run(
    folder: Path,
    rows: Sequence[SampleRow],
    name: str = "model",
    absent: Sequence[str] = (),
    plan: Mapping[str, Any] | None = None,
    **manifest: Any,
) -> Path:
    """A scored run. absent: ids of the first task that were planned and never answered. plan: entries of every
    task's plan over; manifest: entries over."""
    tasks: dict[str, list[SampleRow]] = {}
    for row in rows:
        tasks.setdefault(row.task, []).append(row)
    folder.mkdir(parents=True, exist_ok=True)
    whole = _manifest(name) | manifest
    planned = []
    for task, of_task in tasks.items():
        lost = absent if not planned else ()
        questions = [StoredQuestion(row.id, row.key, row.cluster, row.target, row.meta) for row in of_task]
        questions += [StoredQuestion(one, "never", one, "", {}) for one in lost]
        write_questions(folder, task, questions)
        planned.append(_task(task, of_task, len(questions), plan or {}))
    write_tasks(folder, planned)
    with SampleStore(folder) as store:
        for row in rows:
            store.append(
                StoredAnswer(row.task, row.id, row.key, row.prompt, row.prompt_tokens, row.num_fewshot, row.answer)
            )
    (folder / MANIFEST).write_text(to_json(whole), encoding="utf-8")
    score_run(folder, whole)
    return folder


def rewrite(path: Path, change: Mapping[str, Any], checksum: bool = False) -> None:
    """Change a JSON file as a person with an editor would; checksum: and cover it up."""
    document = json.loads(path.read_text(encoding="utf-8")) | dict(change)
    if checksum:
        document.pop("checksum")
        document["checksum"] = content_hash(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def _manifest(name: str) -> dict[str, Any]:
    return {
        "schema": 2,
        "status": "finished",
        "model": {"name": name, "revision": None, "fingerprint": "1" * 64},
        "tokenizer": {"fingerprint": "2" * 64},
        "template": {"hash": "3" * 64, "chat": True, "system_prompt": None, "thinking": False, "date": None},
        "profile": "darumeru",
        "engine": {"name": "transformers", "dtype": "auto", "args": {}},
        "data": {"source": "bundled", "tasks": {}},
        "started": "2026-01-02T03:04:04Z",
        "spec": {"answers": {}, "scores": {}},
        "spec_hash": "0" * 64,
        "sessions": [],
        "seed": 0,
        "resamples": 50,
        "command": ["darumeru", "run"],
        "versions": {"python": "3.11"},
        "finished": "2026-01-02T03:04:05Z",
        "seconds": 1.5,
    }


def _task(task: str, rows: Sequence[SampleRow], asked: int, more: Mapping[str, Any]) -> StoredTask:
    metric = "acc" if rows[0].answer.probabilities is not None else "exact_copy_rate"
    values: dict[str, Any] = {"metrics": (metric,), "score": (metric,), **more}
    return StoredTask(
        name=task,
        group="DaruMERA",
        method="multiple_choice",
        metrics=tuple(values["metrics"]),
        score=tuple(values["score"]),
        annotators=(),
        language="ru",
        leaderboard=True,
        definition=content_hash([task, list(values["metrics"]), list(values["score"])]),
        asking={},
        num_fewshot=0,
        limited=False,
        asked=asked,
        targets="",
        too_long=(),
        data={},
        error=None,
    )
