"""From stored answers to scores: no model, no data, the same numbers every time."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from darumeru.core.files import content_hash, file_hash, to_json, write_atomically
from darumeru.core.row import SampleRow
from darumeru.metrics import metric as metric_named
from darumeru.metrics.repeated import repeated_names
from darumeru.metrics.statistic import FloatArray, Statistic, bootstrap
from darumeru.metrics.verdicts import VERDICT
from darumeru.runs.annotate import STILL_THINKING, THOUGHTS_CUT
from darumeru.runs.join import joined_rows
from darumeru.runs.results import Results, Score, TaskScore
from darumeru.runs.sources import SourceScores, scorer
from darumeru.runs.store import SAMPLES, task_file
from darumeru.runs.stored_plan import PLAN, QUESTIONS, StoredTask, read_plan
from darumeru.runs.stored_statistics import STATISTICS, write_statistics
from darumeru.runs.verdicts import judge_said
from darumeru.tasks.registry import LEADERBOARD_GROUPS
from darumeru.tasks.suites import CATEGORIES

RESULTS = "results.json"
BENCHMARK_TASKS = 17


@dataclass(frozen=True)
class _Resampled:
    """A score with the bootstrap scores behind its interval."""

    score: Score
    resamples: FloatArray | None


def score_run(run: Path, manifest: Mapping[str, Any], failures: Mapping[str, str] | None = None) -> Results:
    """Score all tasks of RUN/plan.json from RUN/samples and write RUN/results.json and statistics.npz.

    manifest: embedded in the results; its seed and resamples are used. failures: task -> error of this run.
    """
    results, statistics = compute(run, manifest, failures or {})
    stored_hash = write_statistics(run, statistics, results.files)
    if stored_hash:
        results = replace(results, files={**results.files, STATISTICS: stored_hash})
    document = results.to_dict()
    document["checksum"] = content_hash(document)
    write_atomically(run / RESULTS, to_json(document))
    return results


def compute(
    run: Path, manifest: Mapping[str, Any], failures: Mapping[str, str]
) -> tuple[Results, dict[str, Mapping[str, Statistic]]]:
    """The same scores, and the statistics behind them by task and metric; nothing is written."""
    seed, resamples = int(manifest["seed"]), int(manifest["resamples"])
    scored: dict[str, TaskScore] = {}
    spread: dict[str, _Resampled] = {}
    statistics: dict[str, Mapping[str, Statistic]] = {}
    texts: list[tuple[str, Mapping[str, Any]]] = []
    stored = read_plan(run)
    for task in stored:
        if task.source:
            continue
        rows = joined_rows(run, task)
        texts += [(task.language, row.meta) for row in rows if "text_tokens" in row.meta]
        error = task.error or failures.get(task.name)
        names = [name for name in task.metrics if name not in _lacking(task, rows)] if rows else []
        names += repeated_names([metric_named(name) for name in task.score if name in names], rows)
        statistics[task.name] = {name: metric_named(name).statistic(rows) for name in names}
        scored[task.name], spread[task.name] = score_task(task, rows, statistics[task.name], seed, resamples, error)
    foreign = _foreign(run, stored, failures, resamples)
    for one in foreign.values():
        scored |= one.tasks
    scored = {task.name: scored[task.name] for task in stored}
    groups = _groups(scored, spread) | {name: mean for one in foreign.values() for name, mean in one.groups.items()}
    micro = _micro_avg(scored, spread)
    files = _hashes(run, scored)
    for task in stored:
        judge, verdict_files = judge_said(run, task)
        scored[task.name] = replace(scored[task.name], judge=judge)
        files |= verdict_files
    documents = {name: one.document for name, one in foreign.items()}
    results = Results(scored, groups, micro, token_efficiency(texts), manifest, files, documents)
    return results, statistics


def _hashes(run: Path, tasks: Iterable[str]) -> dict[str, str]:
    """sha256 of the files that scores are computed from."""
    files = {PLAN: file_hash(run / PLAN)}
    for name in tasks:
        for folder in (QUESTIONS, SAMPLES):
            path = run / folder / task_file(name)
            if path.exists():
                files[f"{folder}/{path.name}"] = file_hash(path)
    return files


def _foreign(
    run: Path, stored: Sequence[StoredTask], failures: Mapping[str, str], resamples: int
) -> dict[str, SourceScores]:
    by_source: dict[str, list[StoredTask]] = {}
    for task in stored:
        if task.source:
            by_source.setdefault(task.source, []).append(task)
    return {
        source: scorer(source)(run, tasks, {task.name: joined_rows(run, task) for task in tasks}, failures, resamples)
        for source, tasks in by_source.items()
    }


def score_task(
    task: StoredTask,
    rows: Sequence[SampleRow],
    statistics: Mapping[str, Statistic],
    seed: int,
    resamples: int,
    error: str | None,
) -> tuple[TaskScore, _Resampled]:
    """The scores of one task from its answered rows. statistics: metric -> Statistic of these rows."""
    metrics: dict[str, _Resampled] = {}
    main = _Resampled(Score(None, reason=error or "no sample was answered"), None)
    if rows:
        task_seed = seed * 1_000_003 + zlib.crc32(task.name.encode())
        metrics = {name: _resampled([one], resamples, task_seed) for name, one in statistics.items()}
        waiting = [reason for name, reason in _lacking(task, rows).items() if name in task.score]
        main = (
            _Resampled(Score(None, reason=waiting[0]), None)
            if waiting
            else _resampled([statistics[name] for name in task.score], resamples, task_seed)
        )
    return (
        TaskScore(
            name=task.name,
            group=task.group,
            score=main.score,
            metrics={name: one.score for name, one in metrics.items()},
            n=len(rows),
            expected=task.expected,
            rates=_rates(task, rows),
            num_fewshot=task.num_fewshot,
            shots_used=round(float(np.mean([row.num_fewshot for row in rows])), 4) if rows else 0.0,
            error=error or incomplete(task, len(rows)),
            limited=task.limited,
            leaderboard=task.leaderboard,
            definition=task.definition,
            score_metrics=task.score,
        ),
        main,
    )


def _lacking(task: StoredTask, rows: Sequence[SampleRow]) -> dict[str, str]:
    """Metrics that wait for a judge -> why they have no number yet."""
    waiting = sum(VERDICT not in row.meta for row in rows) if task.judge else 0
    if not waiting:
        return {}
    return {"judged": f"{waiting} answers are not judged yet (`darumeru judge RUN --judge MODEL`)"}


def incomplete(task: StoredTask, count: int) -> str | None:
    """Why a task with `count` answered samples has no complete score; None when it has."""
    if task.too_long:
        return f"{len(task.too_long)} prompts do not fit (raise --max-length if the model's context allows it)"
    missing = task.asked - count
    return f"{missing} samples are not answered yet (the same `darumeru run` command goes on)" if missing else None


def _rates(task: StoredTask, rows: Sequence[SampleRow]) -> dict[str, float]:
    metric = metric_named(task.score[0])
    n = max(len(rows), 1)
    return {
        "unparsed": sum(metric.unparsed(row) for row in rows) / n,
        "empty": sum(_is_empty(row) for row in rows) / n,
        "still_thinking": sum(STILL_THINKING in row.notes for row in rows) / n,
        "thoughts_cut": sum(THOUGHTS_CUT in row.notes for row in rows) / n,
        "truncated": sum(row.answer.finish_reason == "length" for row in rows) / n,
        "too_long": len(task.too_long) / max(task.expected, 1),
    }


def _is_empty(row: SampleRow) -> bool:
    said_nothing = row.answer.text is not None and not row.answer.text.strip()
    return said_nothing and STILL_THINKING not in row.notes


def _resampled(statistics: Sequence[Statistic], resamples: int, seed: int) -> _Resampled:
    """The unweighted mean of statistics over the same clusters, resampled together."""
    values = [statistic.value for statistic in statistics]
    value = float(np.mean(values))
    if not np.isfinite(value):
        return _Resampled(Score(None, reason="the score has no meaning for these answers"), None)
    if len(statistics[0].clusters) < 2 or resamples == 0:
        return _Resampled(Score(value), None)
    drawn = np.mean([bootstrap(statistic, resamples, seed) for statistic in statistics], axis=0)
    finite = drawn[np.isfinite(drawn)]
    if not finite.size:
        return _Resampled(Score(value), None)
    low, high = np.quantile(finite, [0.025, 0.975])
    return _Resampled(Score(value, float(low), float(high)), np.where(np.isfinite(drawn), drawn, value))


def _mean(names: Sequence[str], scored: Mapping[str, TaskScore], spread: Mapping[str, _Resampled]) -> Score:
    """Unweighted mean of task scores; tasks are resampled independently of each other."""
    incomplete = [name for name in names if not scored[name].complete or scored[name].score.value is None]
    if incomplete:
        return Score(None, reason=f"{', '.join(incomplete)} {'is' if len(incomplete) == 1 else 'are'} incomplete")
    values = [float(scored[name].score.value or 0.0) for name in names]
    drawn = [spread[name].resamples for name in names]
    if all(one is None for one in drawn):
        return Score(float(np.mean(values)))
    total: FloatArray | float = 0.0
    for value, one in zip(values, drawn, strict=True):
        total = total + (value if one is None else one)
    low, high = np.quantile(np.asarray(total) / len(names), [0.025, 0.975])
    return Score(float(np.mean(values)), float(low), float(high))


def _groups(scored: Mapping[str, TaskScore], spread: Mapping[str, _Resampled]) -> dict[str, Score]:
    result = {}
    for group, size in _GROUP_SIZES.items():
        names = [name for name, task in scored.items() if task.group == group and task.leaderboard]
        if len(names) == size:
            result[group] = _mean(names, scored, spread)
        elif names:
            result[group] = Score(None, reason=f"{len(names)} of the group's {size} tasks were run")
    for category in CATEGORIES:
        names = [name for name, task in scored.items() if task.group == category]
        if names:
            result[category] = _mean(names, scored, spread)
    return result


_GROUP_SIZES = dict(zip(LEADERBOARD_GROUPS, (3, 8, 2, 2, 2), strict=True))


def _micro_avg(scored: Mapping[str, TaskScore], spread: Mapping[str, _Resampled]) -> Score:
    names = [name for name, task in scored.items() if task.leaderboard and task.group in LEADERBOARD_GROUPS]
    if len(names) != BENCHMARK_TASKS:
        return Score(None, reason=f"{len(names)} of the benchmark's {BENCHMARK_TASKS} tasks were run")
    return _mean(names, scored, spread)


def token_efficiency(texts: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, dict[str, float]]:
    """Symbols per token and tokens per word of the copying tasks' texts, by language (paper, section 2.1)."""
    sums: dict[str, Counter[str]] = {}
    for language, meta in texts:
        sums.setdefault(language, Counter()).update(
            {key: meta[key] for key in ("text_tokens", "text_symbols", "text_words")}
        )
    return {
        language: {
            "symbols_per_token": total["text_symbols"] / max(total["text_tokens"], 1),
            "tokens_per_word": total["text_tokens"] / max(total["text_words"], 1),
        }
        for language, total in sorted(sums.items())
    }
