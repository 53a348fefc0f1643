"""A run in the schema of Every Eval Ever (evalevalai, version 0.3.0): one aggregate JSON and one JSONL of samples.

Their fields are those of eval.schema.json and instance_level_eval.schema.json of the package every-eval-ever, whose
`validate` reads what is written here; the package itself is not needed.
"""

from __future__ import annotations

import calendar
import hashlib
import json
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from darumeru.core.files import content_hash, file_hash, json_line, to_json, write_atomically
from darumeru.core.row import SampleRow
from darumeru.core.secrets import redacted
from darumeru.leaderboard.data_sets import of_task
from darumeru.leaderboard.manifests import temperature
from darumeru.leaderboard.measures import metric_measure, score_label, score_names, task_measure
from darumeru.leaderboard.report_samples import is_private, sample_score
from darumeru.metrics.choice import chosen
from darumeru.metrics.measure import Measure
from darumeru.runs.results import Score, TaskScore
from darumeru.runs.run import Run
from darumeru.runs.stored_plan import StoredTask, read_plan

SCHEMA = "0.3.0"
COLLECTION = "darumeru"
NO_OWNER = "unknown"
"""Developer of a model whose name has no owner before a "/"."""
_NOT_PORTABLE = re.compile(r'[<>:"\\|?*\x00-\x1f/]')


def export(run: Run, folder: Path) -> list[Path]:
    """Write data/darumeru/DEVELOPER/MODEL/UUID.json and UUID_samples.jsonl below `folder`, samples of private tasks
    aside; returns their paths."""
    developer, model = _owner(run.name)
    name = str(uuid.UUID(bytes=bytes.fromhex(content_hash(run.results.to_dict())[:32]), version=4))
    place = Path("data") / COLLECTION / developer / model
    (folder / place).mkdir(parents=True, exist_ok=True)
    samples, whole = place / f"{name}_samples.jsonl", place / f"{name}.json"
    identity = f"{COLLECTION}/{_id(run)}/{_epoch(run)}"
    lines = [json_line(redacted(line)) for line in _samples(run, identity)]
    details = None
    if lines:
        write_atomically(folder / samples, "".join(lines))
        details = {"format": "jsonl", "file_path": samples.as_posix(), "hash_algorithm": "sha256",
                   "checksum": file_hash(folder / samples), "total_rows": len(lines)}  # fmt: skip
    document = _document(run, identity) | ({"detailed_evaluation_results": details} if details else {})
    write_atomically(folder / whole, to_json(redacted(document)))
    return [folder / whole, *([folder / samples] if lines else [])]


def _owner(name: str) -> tuple[str, str]:
    owner, _, rest = name.partition("/") if "/" in name else (NO_OWNER, "", name)
    clean = [_NOT_PORTABLE.sub("_", one).strip(". ") or "_" for one in (owner, rest)]
    return clean[0], clean[1]


def _id(run: Run) -> str:
    return run.name if "/" in run.name else f"{NO_OWNER}/{run.name}"


def _epoch(run: Run) -> str:
    finished = str(run.manifest.get("finished") or run.manifest["started"])
    return str(calendar.timegm(time.strptime(finished, "%Y-%m-%dT%H:%M:%SZ")))


def _document(run: Run, identity: str) -> dict[str, Any]:
    manifest = run.manifest
    versions = manifest.get("versions") or {}
    engine = str(manifest["engine"]["name"])
    return {
        "schema_version": SCHEMA,
        "evaluation_id": identity,
        "evaluation_timestamp": str(manifest["started"]),
        "retrieved_timestamp": _epoch(run),
        "source_metadata": {
            "source_name": "Darumeru",
            "source_type": "evaluation_run",
            "source_organization_name": "not stated",
            "evaluator_relationship": "other",
        },
        "eval_library": {
            "name": "darumeru",
            "version": str(versions.get("darumeru", "unknown")),
            "additional_details": {"profile": str(manifest["profile"]), "spec_hash": str(manifest.get("spec_hash"))},
        },
        "model_info": {
            "name": run.name,
            "id": _id(run),
            "developer": _id(run).partition("/")[0],
            "inference_engine": {"name": engine, "version": str(versions.get(engine, "unknown"))},
            "additional_details": {"deployment_type": "unknown", "model_availability": "unknown"},
        },
        "evaluation_results": [line for task in run.results.tasks.values() for line in _results(run, task)],
    }


def _results(run: Run, task: TaskScore) -> Iterator[dict[str, Any]]:
    """The task's score under the name of its metric, then its other metrics."""
    names = score_names(task)
    given = {"score": (task.score, score_label(names), task_measure(run.results, task.name))}
    others = {name: one for name, one in task.metrics.items() if (name,) != tuple(names)}
    given |= {name: (one, name, metric_measure(run.results, task.name, name)) for name, one in others.items()}
    for key, (score, label, measure) in given.items():
        if score.value is not None:
            yield {
                "evaluation_result_id": f"{task.name}/{key}",
                "evaluation_name": task.name,
                "source_data": _source(run, task),
                "metric_config": _metric(key, label, measure),
                "score_details": _score(run, task, score),
                "generation_config": {
                    "generation_args": {"temperature": temperature(run.results.manifest, task.name)},
                    "additional_details": {"num_fewshot": str(task.num_fewshot), "limited": str(task.limited)},
                },
            }


def _source(run: Run, task: TaskScore) -> dict[str, Any]:
    data = of_task(run, task.name)
    if data.on_hub:
        details = {"config": data.config, "revision": data.revision}
        return {
            "dataset_name": task.name,
            "source_type": "hf_dataset",
            "hf_repo": data.repository,
            "hf_split": data.split,
            "samples_number": task.expected,
            "additional_details": {key: str(value) for key, value in details.items() if value},
        }
    return {"dataset_name": task.name, "source_type": "other", "additional_details": {"data": data.said}}


def _metric(key: str, label: str, measure: Measure) -> dict[str, Any]:
    return {
        "metric_id": f"{COLLECTION}.{label}" if key == "score" else f"{COLLECTION}.{key}",
        "metric_name": label,
        "lower_is_better": measure.sign < 0,
        "score_type": "continuous",
        "min_score": "-Infinity" if measure.low is None else measure.low,
        "max_score": "Infinity" if measure.high is None else measure.high,
    }


def _score(run: Run, task: TaskScore, score: Score) -> dict[str, Any]:
    uncertainty: dict[str, Any] = {"num_samples": task.n}
    if score.low is not None and score.high is not None:
        uncertainty |= {
            "confidence_interval": {"lower": score.low, "upper": score.high, "confidence_level": 0.95,
                                    "method": "bootstrap"},
            "num_bootstrap_samples": int(run.manifest["resamples"]),
        }  # fmt: skip
    return {"score": score.value, "uncertainty": uncertainty}


def _samples(run: Run, identity: str) -> Iterator[dict[str, Any]]:
    """One line a sample that has a score of its own."""
    for task in read_plan(run.path):
        if is_private(task):
            continue
        for row in run.rows(task.name):
            value = sample_score(task, row)
            if value is not None:
                yield _sample(run, task, row, value, identity)


def _sample(run: Run, task: StoredTask, row: SampleRow, value: float, identity: str) -> dict[str, Any]:
    choices = row.answer.probabilities
    said = chosen(row) if choices is not None else row.answer.text or ""
    gold = row.target if isinstance(row.target, str) else json.dumps(row.target, ensure_ascii=False)
    asked = row.prompt_tokens, len(row.answer.tokens or ())
    hashed = hashlib.sha256((row.prompt + gold).encode("utf-8", "surrogatepass")).hexdigest()
    return {
        "schema_version": SCHEMA,
        "evaluation_id": identity,
        "model_id": _id(run),
        "evaluation_name": task.name,
        "evaluation_result_id": f"{task.name}/score",
        "sample_id": row.id,
        "sample_hash": hashed,
        "interaction_type": "single_turn",
        "input": {"raw": row.prompt, "formatted": row.prompt, "reference": [gold]}
        | ({"choices": list(choices)} if choices is not None else {}),
        "output": {"raw": [(row.raw.text or "") if choices is None else said]},
        "answer_attribution": [
            {"turn_idx": 0, "source": "output.raw", "extracted_value": said, "is_terminal": True,
             "extraction_method": "custom" if choices is None else "next-token probabilities"}
        ],
        "evaluation": {"score": value, "is_correct": value >= 1},
        "token_usage": {"input_tokens": asked[0], "output_tokens": asked[1], "total_tokens": sum(asked)},
        "performance": {"latency_ms": 1000 * row.answer.seconds},
        "metadata": {"num_fewshot": str(row.num_fewshot), "cluster": row.cluster},
    }  # fmt: skip
