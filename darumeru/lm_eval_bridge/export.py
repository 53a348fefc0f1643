"""A run's results in the files that lm-eval writes, for viewers and leaderboards that read those."""

from __future__ import annotations

import calendar
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.core.row import SampleRow
from darumeru.lm_eval_bridge.loading import Asked, load, quiet
from darumeru.lm_eval_bridge.logged import Logged, logged_documents, logged_samples
from darumeru.lm_eval_bridge.naming import GROUPS, MICRO_AVG, lm_eval_name
from darumeru.lm_eval_bridge.scoring import WIDTH, outcomes_of
from darumeru.lm_eval_bridge.versions import require_lm_eval
from darumeru.metrics import metric as metric_named
from darumeru.runs.join import joined_rows, with_metrics
from darumeru.runs.results import Score, TaskScore
from darumeru.runs.run import Run
from darumeru.runs.stored_plan import StoredTask, read_plan
from darumeru.tasks.profiles import profile_named

FOLDER = "lm_eval"
OUTPUT_TYPES = {"multiple_choice": "multiple_choice", "generate": "generate_until", "loglikelihood": "loglikelihood"}


def export_results(run: Run) -> list[Path]:
    """Write RUN/lm_eval/<model>/results_<time>.json and one samples_<task>_<time>.jsonl a task, by lm-eval's own
    writer; returns their paths. UserError when the folder cannot be written."""
    require_lm_eval()
    from lm_eval.loggers import EvaluationTracker

    stored = read_plan(run.path)
    samples = _samples(run, stored)
    template = run.manifest["template"]
    with quiet():
        tracker = EvaluationTracker(output_path=str(run.path / FOLDER))
        tracker.general_config_tracker.log_experiment_args(
            model_source="darumeru",
            model_args={"pretrained": run.name},
            system_instruction=template.get("system_prompt"),
            chat_template=template["hash"] if template.get("chat") else None,
            fewshot_as_multiturn=True,
        )
        tracker.save_results_aggregated(_document(run, stored), samples)
        for task, lines in samples.items():
            tracker.save_results_samples(task, lines)
    # lm-eval's writer only logs what went wrong.
    folder = run.path / FOLDER / str(tracker.general_config_tracker.model_name_sanitized)
    written = sorted(folder.glob(f"*_{getattr(tracker, 'date_id', '')}.json*")) if folder.is_dir() else []
    if len(written) != 1 + len(samples):
        raise UserError("lm-eval's files cannot be written here", str(folder), "check the folder's rights and space")
    return written


def _samples(run: Run, stored: Sequence[StoredTask]) -> dict[str, list[Logged]]:
    """lm-eval's name of each task -> its logged samples; a task without any has no file."""
    rows = {task.name: [with_metrics(row, task) for row in joined_rows(run.path, task)] for task in stored}
    foreign = [task for task in stored if task.source]
    found: dict[str, list[Logged]] = {}
    outcomes = outcomes_of(foreign, rows, load(Asked.from_dict(foreign[0].settings))) if foreign else {}
    for task in stored:
        name = lm_eval_name(task.name)
        own = rows[task.name]
        lines = logged_documents(outcomes[name], own) if task.source else logged_samples(own, _ends(run, task))
        found[name] = list(lines)
    return {name: lines for name, lines in found.items() if lines}


def _ends(run: Run, task: StoredTask) -> Callable[[SampleRow], Sequence[str]]:
    """Texts at which a generated answer of the task ended."""
    manifest, asking = run.results.manifest, task.asking
    profile, chat = profile_named(manifest["profile"]), bool(manifest["template"]["chat"])
    copies = asking["format"] == "standard" and asking["options"].get("target") == "reference"
    return lambda row: profile.stops(asking["stop"], chat, row.target if copies else "")


def _document(run: Run, stored: Sequence[StoredTask]) -> dict[str, Any]:
    """lm-eval's results document: what lm-eval itself says of its tasks, and Darumeru's tasks in the same form."""
    made: dict[str, Any] = {name: {} for name in ("results", "configs", "versions", "n-shot", "higher_is_better")}
    made |= {"group_subtasks": {}, "n-samples": {}}
    for part in run.results.sources.values():
        for key, values in part.items():
            made.setdefault(key, {}).update(values)
    for task in stored:
        if not task.source:
            _add_task(made, task, run.results.tasks[task.name], run.manifest)
    groups = _groups(run, stored)
    if groups:
        made["results"] |= groups
        made["groups"] = made.get("groups", {}) | groups
        made["versions"] |= dict.fromkeys(groups, 1)
    return made | _circumstances(run)


def _add_task(made: dict[str, Any], task: StoredTask, scored: TaskScore, manifest: Mapping[str, Any]) -> None:
    name = lm_eval_name(task.name)
    values: dict[str, Any] = {"name": name, "alias": task.name, "sample_len": scored.n}
    for metric, one in {"score": scored.score, **scored.metrics}.items():
        values |= _pair(metric, one)
    made["results"][name] = values
    made["configs"][name] = {
        "task": name,
        "output_type": OUTPUT_TYPES[task.method],
        "num_fewshot": task.num_fewshot,
        "metadata": {"darumeru_task": task.name, "profile": manifest["profile"], "version": 1},
    }
    made["versions"][name] = 1
    made["n-shot"][name] = task.num_fewshot
    made["higher_is_better"][name] = _directions(scored)
    made["n-samples"][name] = {"original": scored.expected, "effective": scored.n}


def _directions(scored: TaskScore) -> dict[str, bool]:
    """Whether higher is better, by metric; of the score, as of its metrics."""
    found = {name: metric_named(name).measure.sign > 0 for name in scored.metrics}
    return {"score": all(found[name] for name in scored.score_metrics), **found}


def _pair(metric: str, score: Score) -> dict[str, Any]:
    """The value and its standard error, read off the width of the bootstrap's interval."""
    if score.value is None:
        return {}
    known = score.low is not None and score.high is not None
    error = ((score.high or 0.0) - (score.low or 0.0)) / (2 * WIDTH) if known else "N/A"
    return {f"{metric},none": score.value, f"{metric}_stderr,none": error}


def _groups(run: Run, stored: Sequence[StoredTask]) -> dict[str, dict[str, Any]]:
    found = {GROUPS[name]: (name, score) for name, score in run.results.groups.items() if name in GROUPS}
    found[MICRO_AVG] = ("Micro-Avg", run.results.micro_avg)
    return {
        name: {"name": name, "alias": alias, **_pair("score", score)}
        for name, (alias, score) in found.items()
        if score.value is not None
    }


def _circumstances(run: Run) -> dict[str, Any]:
    manifest = run.manifest
    started = time.strptime(str(manifest["started"]), "%Y-%m-%dT%H:%M:%SZ")
    return {
        "config": {
            "model": "darumeru",
            "model_args": {"pretrained": run.name, "engine": manifest["engine"]["name"]},
            "model_dtype": manifest["engine"]["dtype"],
            "model_revision": manifest["model"]["revision"],
            "batch_size": None,
            "batch_sizes": [],
            "device": None,
            "use_cache": None,
            "limit": manifest["limit"],
            "bootstrap_iters": manifest["resamples"],
            "gen_kwargs": None,
            "random_seed": manifest["seed"],
            "numpy_seed": manifest["seed"],
            "torch_seed": manifest["seed"],
            "fewshot_seed": manifest["seed"],
        },
        "git_hash": None,
        "date": float(calendar.timegm(started)),
        "pretty_env_info": ", ".join(f"{key} {value}" for key, value in manifest["hardware"].items()),
        "transformers_version": manifest["versions"].get("transformers"),
        "lm_eval_version": manifest["versions"].get("lm-eval"),
        "upper_git_hash": None,
        "max_length": manifest["max_length"],
    }
