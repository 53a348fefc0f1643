"""A run as logs of Inspect (inspect_ai): one .eval file a task, which `inspect view` and `read_eval_log` read.

The format is that of inspect_ai 0.3 (log schema 2): a zip with the evaluation's header, one JSON a sample, and their
summaries. inspect_ai itself is not needed.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from darumeru.core.files import content_hash, write_atomically
from darumeru.core.row import SampleRow
from darumeru.core.secrets import redacted
from darumeru.leaderboard.data_sets import of_task
from darumeru.leaderboard.manifests import temperature
from darumeru.leaderboard.measures import score_label, score_names
from darumeru.leaderboard.report_samples import is_private, sample_score
from darumeru.metrics.choice import chosen
from darumeru.runs.results import Score, TaskScore
from darumeru.runs.run import Run
from darumeru.runs.store import task_file
from darumeru.runs.stored_plan import StoredTask, read_plan

SCHEMA = 2
STOPS = {"stop": "stop", "length": "max_tokens"}
# A date of the zip's members: the same run gives the same bytes.
DATE = (1980, 1, 1, 0, 0, 0)


def export(run: Run, folder: Path) -> list[Path]:
    """Write one log a task with answers, those of private tasks aside; returns their paths."""
    written = []
    for task in read_plan(run.path):
        rows = [] if is_private(task) else list(run.rows(task.name))
        if rows:
            path = folder / task_file(task.name).replace(".jsonl", ".eval")
            write_atomically(path, _log(run, task, rows))
            written.append(path)
    return written


def _log(run: Run, task: StoredTask, rows: Sequence[SampleRow]) -> bytes:
    scored = run.results.tasks[task.name]
    spec, plan = _spec(run, task, scored, rows), {"name": "plan", "steps": [], "config": {}}
    samples = [_sample(run, task, row, place) for place, row in enumerate(rows, 1)]
    members: dict[str, Any] = {"_journal/start.json": {"version": SCHEMA, "eval": spec, "plan": plan}}
    members |= {f"samples/{one['id']}_epoch_1.json": one for one in samples}
    members["summaries.json"] = [_summary(one) for one in samples]
    members["header.json"] = {
        "version": SCHEMA,
        "status": "success" if scored.error is None else "error",
        "eval": spec,
        "plan": plan,
        "results": _results(scored, len(rows)),
        "stats": {"started_at": run.manifest["started"], "completed_at": _finished(run), "model_usage": {}},
    } | ({"error": _error(scored.error)} if scored.error else {})
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in members.items():
            text = json.dumps(redacted(value), ensure_ascii=True, allow_nan=False)
            archive.writestr(zipfile.ZipInfo(name, DATE), text, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def _error(said: str) -> dict[str, str]:
    return {"message": said, "traceback": "", "traceback_ansi": ""}


def _finished(run: Run) -> str:
    return str(run.manifest.get("finished") or run.manifest["started"])


def _spec(run: Run, task: StoredTask, scored: TaskScore, rows: Sequence[SampleRow]) -> dict[str, Any]:
    manifest = run.manifest
    name = content_hash([manifest.get("spec_hash"), task.name, task.definition])
    data = of_task(run, task.name)
    dataset = {"name": data.repository or f"{task.name} ({data.said})", "location": data.config,
               "samples": scored.expected, "sample_ids": [_id(place) for place in range(1, len(rows) + 1)],
               "shuffled": False}  # fmt: skip
    versions = manifest.get("versions") or {}
    return {
        "eval_id": name[:22],
        "run_id": content_hash(manifest.get("spec_hash"))[:22],
        "task_id": content_hash(task.name)[:22],
        "created": manifest["started"],
        "task": task.name,
        "task_version": task.definition,
        "dataset": dataset,
        "model": f"darumeru/{run.name}",
        "model_args": {"engine": manifest["engine"]["name"], "dtype": manifest["engine"].get("dtype")},
        "model_generate_config": {"temperature": temperature(manifest, task.name)},
        "config": {"limit": manifest.get("limit"), "epochs": 1},
        "packages": {"darumeru": str(versions.get("darumeru", ""))},
        "metadata": {
            "profile": manifest["profile"],
            "num_fewshot": task.num_fewshot,
            "score": score_label(score_names(scored)),
            "data": asdict(data),
        },
    }


def _id(place: int) -> str:
    """Inspect makes file names of ids; a task's own may be anything, and stand in the sample's metadata."""
    return f"{place:06}"


def _sample(run: Run, task: StoredTask, row: SampleRow, place: int) -> dict[str, Any]:
    said = _said(row)
    answer = {"role": "assistant", "content": said, "source": "generate"}
    asked = {"role": "user", "content": row.prompt, "source": "input"}
    used = {"input_tokens": row.prompt_tokens, "output_tokens": len(row.answer.tokens or ())}
    stop = STOPS.get(str(row.answer.finish_reason), "unknown" if row.answer.finish_reason else "stop")
    model = f"darumeru/{run.name}"
    usage = used | {"total_tokens": sum(used.values())}
    probabilities = row.answer.probabilities
    metadata: dict[str, Any] = {"id": row.id, "cluster": row.cluster, "num_fewshot": row.num_fewshot,
                                "record": dict(row.meta)}  # fmt: skip
    metadata |= {"probabilities": dict(probabilities)} if probabilities is not None else {}
    metadata |= {"logprobs": list(row.answer.logprobs)} if row.answer.logprobs is not None else {}
    return {
        "id": _id(place),
        "epoch": 1,
        "input": row.prompt,
        "target": _text(row.target),
        "messages": [asked, answer],
        "output": {"model": model, "choices": [{"message": answer, "stop_reason": stop}], "completion": said,
                   "usage": usage, "time": row.answer.seconds},
        "scores": _scores(task, row, said),
        "metadata": metadata,
        "model_usage": {model: usage},
        "total_time": row.answer.seconds,
    } | ({"choices": list(probabilities)} if probabilities is not None else {})  # fmt: skip


def _scores(task: StoredTask, row: SampleRow, said: str) -> dict[str, Any]:
    """Each metric's value on this sample; "score": the part of the task's score that is this sample's alone."""
    whole = sample_score(task, row)
    values = dict(row.metrics) | ({} if whole is None else {"score": whole})
    return {name: {"value": float(value), "answer": said} for name, value in values.items()}


def _said(row: SampleRow) -> str:
    if row.answer.probabilities is not None:
        return chosen(row)
    return row.answer.text or ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


SUMMARY = ("id", "epoch", "input", "choices", "target", "scores", "model_usage", "total_time")


def _summary(sample: Mapping[str, Any]) -> dict[str, Any]:
    return {name: sample[name] for name in SUMMARY if name in sample} | {"completed": True}


def _results(scored: TaskScore, count: int) -> dict[str, Any]:
    """The task's numbers as Darumeru computed them: Inspect's own means of the samples would be others for metrics of
    a whole corpus."""
    given = {"score": scored.score, **scored.metrics}
    scores = [
        {"name": name, "scorer": name, "scored_samples": scored.n, "params": {}, "metrics": _metrics(score)}
        for name, score in given.items()
        if score.value is not None
    ]
    return {"total_samples": scored.expected, "completed_samples": count, "scores": scores}


def _metrics(score: Score) -> dict[str, Any]:
    given = {"value": score.value, "low_95": score.low, "high_95": score.high}
    return {name: {"name": name, "value": value, "params": {}} for name, value in given.items() if value is not None}
