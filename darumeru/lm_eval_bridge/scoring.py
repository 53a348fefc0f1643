"""Scores of lm-eval's tasks from stored answers: its filters, metrics, aggregation, standard errors and groups."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from darumeru.core.row import SampleRow
from darumeru.lm_eval_bridge.instances import by_document, plain
from darumeru.lm_eval_bridge.loading import Asked, Loaded, build_requests, load, quiet
from darumeru.lm_eval_bridge.questions import Likelihood, added, likelihoods, response
from darumeru.runs.annotate import STILL_THINKING
from darumeru.runs.results import Score, TaskScore
from darumeru.runs.score import incomplete
from darumeru.runs.sources import SourceScores
from darumeru.runs.stored_plan import StoredTask, read_questions

# Half the width of a 95 % interval in standard errors.
WIDTH = 1.959964


@dataclass
class Outcome:
    """One task's metric values. raw: (metric, filter) -> value of each document; error: why there are none or not all.
    documents, instances: the documents that are answered completely, their Instances filled with responses."""

    task: Any
    raw: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    documents: dict[int, list[Any]] = field(default_factory=dict)
    values: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    error: str | None = None


def score(
    run: Path,
    tasks: Sequence[StoredTask],
    rows: Mapping[str, Sequence[SampleRow]],
    failures: Mapping[str, str],
    resamples: int,
) -> SourceScores:
    """The scores of all lm-eval tasks of a run. resamples: of those standard errors that lm-eval bootstraps.

    Needs lm-eval and the tasks' data, no model; UserError when they cannot be loaded. A task whose own code fails has
    an error, the others have scores.
    """
    loaded = load(Asked.from_dict(tasks[0].settings))
    outcomes = outcomes_of(tasks, rows, loaded)
    document = summary(outcomes, loaded, resamples)
    scored = {
        task.name: _task_score(
            run,
            task,
            rows[task.name],
            outcomes[_bare(task)],
            document["results"].get(_bare(task), {}),
            failures.get(task.name),
        )
        for task in tasks
    }
    groups = {f"lm_eval:{name}": _group_score(name, loaded, scored, document["results"]) for name in loaded.groups}
    return SourceScores(scored, {name: one for name, one in groups.items() if one is not None}, document)


def _bare(task: StoredTask) -> str:
    return task.name.partition(":")[2]


def outcomes_of(
    tasks: Sequence[StoredTask], rows: Mapping[str, Sequence[SampleRow]], loaded: Loaded
) -> dict[str, Outcome]:
    """What lm-eval makes of the stored answers, by its own name of each task."""
    found = {}
    with quiet():
        for stored in tasks:
            task = loaded.tasks[_bare(stored)]
            if getattr(task, "_instances", None) is None:
                build_requests(_bare(stored), task, Asked.from_dict(stored.settings))
            found[_bare(stored)] = _outcome(task, rows[stored.name])
    return found


def _outcome(task: Any, rows: Sequence[SampleRow]) -> Outcome:
    responses = _responses(rows)
    everything = by_document(task.instances)
    outcome = Outcome(task)
    for number, instances in everything.items():
        own = responses.get(number, {})
        if all(place in own for place in range(len(instances))):
            outcome.documents[number] = instances
            for place, instance in enumerate(instances):
                instance.resps = [own[place]] * (instance.repeats or 1)
                instance.filtered_resps = {}
    if outcome.documents:
        outcome.error = _processed(outcome)
    return outcome


def _processed(outcome: Outcome) -> str | None:
    """Fill raw and values; why this failed, None when it did not."""
    task = outcome.task
    whole, doing = task.instances, "its filters"
    raw: dict[tuple[str, str], list[Any]] = defaultdict(list)
    try:
        task._instances = [instance for instances in outcome.documents.values() for instance in instances]
        task.apply_filters()
        for name in task.instances[0].filtered_resps:
            for number, instances in outcome.documents.items():
                doing = f"process_results of document {number}"
                values = task.process_results(
                    instances[0].doc, [instance.filtered_resps[name] for instance in instances]
                )
                outcome.values.append((number, name, values))
                for metric, value in values.items():
                    raw[metric, name].append(value)
    except Exception as error:  # a task is a stranger's code, which may raise anything
        return f"{doing} raised {type(error).__name__}: {str(error).strip() or 'no message'}"
    finally:
        task._instances = whole
    outcome.raw = dict(raw)
    return None


def _responses(rows: Sequence[SampleRow]) -> dict[int, dict[int, Any]]:
    """document -> place of the Instance in it -> lm-eval's response."""
    found: dict[int, dict[int, Any]] = defaultdict(dict)
    parts: dict[tuple[int, int], dict[int, Likelihood]] = defaultdict(dict)
    for row in rows:
        document = int(row.meta["document"])
        own = found[document]
        places = row.meta["instances"]
        if row.answer.text is not None:
            own[places[0]] = response(row.answer, row.meta["until"])
            continue
        for place, one in zip(places, likelihoods(row.answer, row.meta.get("tokens", ()), len(places)), strict=True):
            read = parts[document, place]
            read[row.meta["part"]] = one
            if len(read) == row.meta["parts"]:
                value, greedy = added(list(read.values()))
                own[place] = value if row.meta.get("rolling") else (value, bool(greedy))
    return found


def summary(outcomes: Mapping[str, Outcome], loaded: Loaded, resamples: int) -> dict[str, Any]:
    """lm-eval's own results document (without samples) of the tasks that could be scored, as plain JSON. A task whose
    aggregation fails gets an error; a group with a task that has none is left out."""
    from lm_eval.evaluator_utils import EvalAcc, _collect_results, aggregate_groups

    everything = EvalAcc()
    with quiet():
        for name, outcome in outcomes.items():
            if outcome.error or not outcome.raw:
                continue
            entry = {name: {"task": outcome.task, "raw_metrics": outcome.raw, "logged_samples": []}}
            try:
                part = _collect_results(entry, {}, resamples)
            except Exception as error:  # a task is a stranger's code, which may raise anything
                outcome.error = f"its aggregation raised {type(error).__name__}: {error}"
                continue
            for kept in ("metrics", "configs", "versions", "num_fewshot", "higher_is_better", "n_samples"):
                getattr(everything, kept).update(getattr(part, kept))
        done = everything.metrics.keys()
        everything.groups = {
            name: group
            for name, group in loaded.groups.items()
            if {task.task_name for task in group.get_all_tasks()} <= done
        }
        document = plain(dict(aggregate_groups(everything)._to_eval_results()))
    document["configs"] = {name: _portable(config) for name, config in document["configs"].items()}
    return dict(document)


def _portable(config: Mapping[str, Any]) -> dict[str, Any]:
    """The task's settings without the documents that some tasks carry in them."""
    return {key: value for key, value in config.items() if key != "fewshot_config"}


def _task_score(
    run: Path,
    task: StoredTask,
    rows: Sequence[SampleRow],
    outcome: Outcome,
    results: Mapping[str, Any],
    failure: str | None,
) -> TaskScore:
    """n and expected count documents; rates of empty and truncated answers are of answers."""
    fitting = {one.cluster for one in read_questions(run, task)}
    too_long = {name.partition("-")[0] for name in task.too_long}
    expected = len(fitting) + len(too_long)
    error = failure or task.error or outcome.error or _unknown_greedy(outcome.task, rows) or incomplete(task, len(rows))
    metrics = _scores(results)
    nothing = Score(None, reason=error or "no document was answered")
    return TaskScore(
        name=task.name,
        group=task.group,
        score=next(iter(metrics.values()), nothing),
        metrics=metrics,
        n=len(outcome.documents),
        expected=expected,
        rates={
            "unparsed": 0.0,
            "empty": sum(row.answer.text is not None and not row.answer.text.strip() for row in rows)
            / max(len(rows), 1),
            "still_thinking": sum(STILL_THINKING in row.notes for row in rows) / max(len(rows), 1),
            "thoughts_cut": 0.0,
            "truncated": sum(row.answer.finish_reason == "length" for row in rows) / max(len(rows), 1),
            "too_long": len(too_long) / max(expected, 1),
        },
        num_fewshot=task.num_fewshot,
        shots_used=float(task.num_fewshot),
        error=error,
        limited=task.limited,
        leaderboard=False,
        definition=task.definition,
        score_metrics=task.score,
    )


def _scores(results: Mapping[str, Any]) -> dict[str, Score]:
    """lm-eval's "metric,filter" values as scores named metric or metric/filter, with intervals from standard errors."""
    found = {}
    for key, value in results.items():
        metric, comma, filtered = key.partition(",")
        if not comma or metric.endswith("_stderr"):
            continue
        name = metric if filtered == "none" else f"{metric}/{filtered}"
        error = results.get(f"{metric}_stderr,{filtered}")
        if not isinstance(value, int | float):
            found[name] = Score(None, reason="the score is not a number")
        elif isinstance(error, int | float) and math.isfinite(error):
            found[name] = Score(float(value), float(value - WIDTH * error), float(value + WIDTH * error))
        else:
            found[name] = Score(float(value))
    return found


def _group_score(
    name: str, loaded: Loaded, scored: Mapping[str, TaskScore], results: Mapping[str, Any]
) -> Score | None:
    """The group's first metric; None for a group that aggregates nothing."""
    group = loaded.groups[name]
    if not group.has_aggregation:
        return None
    members = [f"lm_eval:{task.task_name}" for task in group.get_all_tasks()]
    lost = [member for member in members if member not in scored or not scored[member].complete]
    if lost:
        return Score(None, reason=f"{', '.join(lost)} {'is' if len(lost) == 1 else 'are'} incomplete")
    return next(iter(_scores(results.get(name, {})).values()), Score(None, reason="no task has the group's metrics"))


def _unknown_greedy(task: Any, rows: Sequence[SampleRow]) -> str | None:
    """Why accuracy of exact continuations has no meaning with this engine; None when it is known or not asked for."""
    metrics = set(task.aggregation())
    needed = (task.OUTPUT_TYPE == "loglikelihood" and "acc" in metrics) or "exact_match" in metrics
    if not needed:
        return None
    scored = (
        one
        for row in rows
        if row.answer.text is None
        for one in likelihoods(row.answer, row.meta.get("tokens", ()), len(row.meta["instances"]))
    )
    lost = sum(greedy is None for _, greedy in scored)
    return (
        f"the engine does not say of {lost} answers whether they are greedy, which the task's metrics need"
        if lost
        else None
    )
