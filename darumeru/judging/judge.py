"""`darumeru judge`: the answers of a run before a judge, whose own answers lie in the run's folder."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from darumeru.core.errors import UserError, near_names
from darumeru.core.row import SampleRow
from darumeru.engines import load_engine
from darumeru.judging.agreement import Agreement, agreement
from darumeru.judging.config import JudgeConfig
from darumeru.judging.questions import AnswerSource, by_probability
from darumeru.runs.evaluate import folder_name, run_date
from darumeru.runs.join import joined_rows, verdicts
from darumeru.runs.manifest import read_manifest
from darumeru.runs.progress import Progress, Silent
from darumeru.runs.rescore import current_tasks, rescore
from darumeru.runs.results import Results
from darumeru.runs.run import Run
from darumeru.runs.session import EngineLoader, Session, output_folder
from darumeru.runs.stored_plan import StoredTask, read_plan
from darumeru.runs.subject import find_subject
from darumeru.runs.verdicts import JUDGES, choose_judge, chosen_judge
from darumeru.tasks.rubrics import Rubric, find_rubric


@dataclass(frozen=True)
class Judged:
    """judge: the judge's own run, its task `judge:NAME` being about the task NAME. results: of the run that was judged,
    None for a second judge. failures: task -> why it was not judged whole. agreements: task -> how far a second judge
    agrees with the first."""

    judge: Run
    results: Results | None
    failures: Mapping[str, str] = field(default_factory=dict)
    agreements: Mapping[str, Agreement] = field(default_factory=dict)


def judge_run(config: JudgeConfig, progress: Progress | None = None, load_engine: EngineLoader = load_engine) -> Judged:
    """Ask the judge whatever it has not judged yet, then score the run with its verdicts.

    UserError for what the caller must mend, before weights are loaded; RunFailed when the engine dies: what was
    answered is stored and the same call goes on.
    """
    progress = progress or Silent()
    run = Path(config.run).expanduser()
    manifest = read_manifest(run)
    profile = str(manifest["profile"])
    tasks, notes = current_tasks(run, manifest)
    for note in notes:
        progress.note(note)
    judged = _chosen_tasks(tasks, config, run)
    rubrics = {task.name: _rubric(config.rubric or str(task.judge), profile) for task in judged}
    first = chosen_judge(run)
    folder = run / JUDGES / folder_name(config.name or config.judge)
    if config.second and (first is None or first == folder):
        raise UserError("there is no first judge that this one could be second to", str(run), "judge without --second")
    session = _session(config, folder, judged, rubrics, profile, progress, _rows(run, judged))
    output_folder(folder)
    asked, failures = session.carry_out(folder, load_engine)
    failed = {**asked.results.failed, **failures.tasks}
    if config.second:
        assert first is not None
        return Judged(asked, None, failed, agreements(first, folder, config.resamples, config.seed))
    choose_judge(run, folder.name)
    results, _ = rescore(run)
    return Judged(asked, results, failed)


def _session(
    config: JudgeConfig,
    folder: Path,
    judged: list[StoredTask],
    rubrics: Mapping[str, Rubric],
    profile: str,
    progress: Progress,
    rows: Mapping[str, list[SampleRow]],
) -> Session:
    progress.phase("looking at the judge")
    asked = config.asked(tuple(f"judge:{task.name}" for task in judged), profile)
    subject = find_subject(asked, run_date(config.date, folder))
    probability = {
        name: by_probability(rubric, subject, config.verdict, config.thinking) for name, rubric in rubrics.items()
    }
    return Session.prepare(asked, subject, progress, [AnswerSource(judged, rows, rubrics, probability)])


def _chosen_tasks(tasks: list[StoredTask], config: JudgeConfig, run: Path) -> list[StoredTask]:
    known = [task for task in tasks if task.judge]
    if not known:
        raise UserError("holds no task that is judged", str(run), "run tasks with `judge:`, `darumeru tasks list`")
    patterns = [pattern.strip() for pattern in config.tasks.split(",") if pattern.strip()]
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(task.name, pattern) for task in known):
            names = [task.name for task in known]
            raise UserError(f"no judged task `{pattern}` in this run", "--tasks", near=near_names(pattern, names))
    return [task for task in known if any(fnmatch.fnmatchcase(task.name, pattern) for pattern in patterns)]


def _rubric(name: str, profile: str) -> Rubric:
    rubric = find_rubric(name, profile)
    if rubric.kind != "answer":
        raise UserError(f"rubric `{rubric.name}` is of pairs", "--rubric", "`darumeru arena` compares pairs")
    return rubric


def _rows(run: Path, judged: list[StoredTask]) -> dict[str, list[SampleRow]]:
    rows = {task.name: joined_rows(run, task) for task in judged}
    for name, found in rows.items():
        if any(row.answer.text is None for row in found):
            raise UserError(f"{name} has no answers in words, which a judge could read", str(run))
    if not any(rows.values()):
        raise UserError("holds no answer that could be judged", str(run), "`darumeru run` asks the model first")
    return rows


def agreements(first: Path, second: Path, resamples: int, seed: int) -> dict[str, Agreement]:
    """Task -> how far two judges of one run agree, for the tasks that both judged."""
    plans = {task.name: task for task in read_plan(second)}
    return {
        task.name.partition(":")[2]: agreement(
            verdicts(first, task), verdicts(second, plans[task.name]), resamples, seed
        )
        for task in read_plan(first)
        if task.name in plans
    }
