"""A judge's verdicts on the answers of a run, joined with them.

RUN/judges/NAME is itself a run folder: its samples are questions about the answers of RUN (darumeru.judging).
RUN/judges.json names the judge whose verdicts count.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.core.files import content_hash, file_hash, parse_json, to_json, write_atomically
from darumeru.core.row import SampleRow
from darumeru.runs.manifest import MANIFEST, read_manifest
from darumeru.runs.store import SAMPLES, task_file
from darumeru.runs.stored_plan import PLAN, QUESTIONS, StoredTask, read_plan

JUDGES = "judges"
CHOSEN = "judges.json"
SCHEMA = 1
PREFIX = "judge:"


def choose_judge(run: Path, name: str) -> None:
    """Make the verdicts of RUN/judges/NAME the ones that count."""
    write_atomically(run / CHOSEN, to_json({"schema": SCHEMA, "judge": name}))


def chosen_judge(run: Path) -> Path | None:
    """The folder of the judge whose verdicts count; None where there is none yet."""
    path = run / CHOSEN
    try:
        document = parse_json(path.read_text(encoding="utf-8"))
        name = document["judge"]
        if not isinstance(name, str) or not name or Path(name).name != name:
            raise ValueError("`judge` must be the name of a folder")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"is broken: {error}", str(path), "`darumeru judge` writes it again") from error
    folder = run / JUDGES / name
    return folder if (folder / MANIFEST).is_file() else None


def judged_task(folder: Path, task: str) -> StoredTask | None:
    """What a judge was asked about a task of the run."""
    return next((one for one in read_plan(folder) if one.name == PREFIX + task), None)


def about(row: SampleRow) -> str:
    """Hash over what a verdict is about: a verdict on another answer, question or target does not count."""
    return content_hash([row.id, row.key, row.answer.text, row.target, row.meta.get("question")])


def judge_said(run: Path, task: StoredTask) -> tuple[str, dict[str, Any]]:
    """Who judged a task, with a hash over model, rubric and prompts, and the files that hold the verdicts."""
    folder = chosen_judge(run) if task.judge else None
    judged = folder and judged_task(folder, task.name)
    if not folder or not judged:
        return "", {}
    manifest = read_manifest(folder)
    identity = content_hash([manifest["spec"]["answers"], judged.asking])[:8]
    name = f"{manifest['model']['name']} ({judged.asking['options']['rubric']['name']}, {identity})"
    inner = (CHOSEN, *(f"{JUDGES}/{folder.name}/{part}" for part in (
        PLAN, f"{QUESTIONS}/{task_file(judged.name)}", f"{SAMPLES}/{task_file(judged.name)}"
    )))  # fmt: skip
    return name, {part: file_hash(run / part) for part in inner if (run / part).is_file()}
