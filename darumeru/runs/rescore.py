"""`darumeru score`: scores again from stored answers, by the tasks' definitions of today; no model, no data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from darumeru.core.files import content_hash, to_json, write_atomically
from darumeru.runs.manifest import MANIFEST, read_manifest
from darumeru.runs.results import Results
from darumeru.runs.score import score_run
from darumeru.runs.spec import RunSpec
from darumeru.runs.store import SampleStore
from darumeru.runs.stored_plan import StoredTask, definition_of, read_plan, write_tasks
from darumeru.tasks.registry import load_registry
from darumeru.tasks.spec import TaskSpec


def rescore(run: Path) -> tuple[Results, list[str]]:
    """Score a run's stored answers; returns the results and what is to be said of tasks whose definition of today could
    not be used: one that asks otherwise than the answers were asked for, or is gone, keeps its stored definition."""
    manifest = read_manifest(run)
    with SampleStore(run):
        tasks, notes = current_tasks(run, manifest)
        write_tasks(run, tasks)
        manifest = _respecified(manifest, tasks)
        write_atomically(run / MANIFEST, to_json(manifest))
        return score_run(run, manifest), notes


def current_tasks(run: Path, manifest: Mapping[str, Any]) -> tuple[list[StoredTask], list[str]]:
    """The tasks of a run by their definitions of today, and what is to be said of those that keep their stored one."""
    known, notes = _registry(manifest)
    tasks = []
    for task in read_plan(run):
        current, note = _refreshed(task, known)
        tasks.append(current)
        notes += [note] if note else []
    return tasks, notes


def _registry(manifest: Mapping[str, Any]) -> tuple[Mapping[str, TaskSpec], list[str]]:
    """Today's tasks by name, those of the run's --include files too where they are still there."""
    include = manifest["sessions"][-1].get("options", {}).get("include", ()) if manifest["sessions"] else ()
    there = [place for place in include if Path(place).expanduser().exists()]
    gone = [f"{place} is gone: its tasks are scored as they were" for place in include if place not in there]
    return load_registry(manifest["profile"], there).specs, gone


def _refreshed(task: StoredTask, known: Mapping[str, TaskSpec]) -> tuple[StoredTask, str]:
    spec = known.get(task.name)
    if task.source or spec is None:
        return task, ""
    fields = definition_of(spec)
    if content_hash(fields["asking"]) != content_hash(task.asking):
        return task, f"{task.name} asks otherwise now: scored as it was; `darumeru run` asks it again"
    return replace(task, **fields), ""


def _respecified(manifest: Mapping[str, Any], tasks: list[StoredTask]) -> dict[str, Any]:
    spec = RunSpec.from_dict(manifest["spec"])
    definitions = {task.name: task.definition for task in tasks}
    spec = replace(spec, scores={**spec.scores, "definitions": definitions})
    return {**manifest, "spec": spec.to_dict(), "spec_hash": spec.hash}
