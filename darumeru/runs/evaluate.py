"""`darumeru run` and `darumeru.evaluate()`: one model, one folder."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

from darumeru.core.errors import RunFailed
from darumeru.core.files import no_empty_folders
from darumeru.core.options import takes
from darumeru.core.secrets import redacted
from darumeru.engines import load_engine
from darumeru.runs.ask import Failures
from darumeru.runs.config import RunConfig
from darumeru.runs.manifest import earlier_manifest
from darumeru.runs.notebook import fitting_progress, quiet
from darumeru.runs.progress import Progress, Silent
from darumeru.runs.run import Run
from darumeru.runs.session import EngineLoader, Session, output_folder
from darumeru.runs.sources import split
from darumeru.runs.subject import find_subject
from darumeru.tasks.registry import load_registry


def run(
    config: RunConfig, progress: Progress | None = None, load_engine: EngineLoader = load_engine
) -> tuple[Run, Failures]:
    """Do the run of `config` as far as it is not done; returns it with the failures of this time.

    Everything that can be wrong is found before weights are loaded (UserError). RunFailed when the engine dies: what
    was answered is stored and the same call goes on.
    """
    progress = progress or Silent()
    load_registry(config.profile, config.include).select(split(config.patterns)[0])
    with no_empty_folders(place(config)):
        folder = output_folder(place(config))
        session = prepare(config, folder, progress)
    return session.carry_out(folder, load_engine)


def place(config: RunConfig) -> Path:
    """The run's folder: the one that is named, else one after the model."""
    return Path(config.output or f"runs/{folder_name(config.model)}").expanduser()


def prepare(config: RunConfig, folder: Path, progress: Progress) -> Session:
    """Everything before the first question, for a run whose answers lie, or would lie, in `folder`."""
    today = run_date(config.date, folder)
    progress.phase("looking at the model")
    subject = find_subject(config, today)
    return Session.prepare(config, subject, progress)


def run_date(said: str | None, folder: Path) -> date:
    """What templates take for today: as said, else the day on which the folder's run was first started."""
    if said is not None:
        return date.fromisoformat(said)
    earlier = earlier_manifest(folder)
    stored = earlier and (earlier["template"].get("date") or earlier["started"][:10])
    return date.fromisoformat(stored) if stored else date.today()


def folder_name(model: str) -> str:
    """The name of a run folder after a model's path, Hub id or address."""
    model = str(redacted(model))
    return re.sub(r"[^\w.-]+", "_", model.rstrip("/").split("//")[-1].rsplit("/", 1)[-1]).strip(".") or "model"


@takes(RunConfig)
def evaluate(config: RunConfig) -> Run:
    """Score a model and return the Run; takes every option of `darumeru run` by its name.

    Continues what `output` holds. In a notebook one display shows how far it is. Raises UserError for what the caller
    must mend and RunFailed when the engine dies or a task fails.

    Example::

        run = darumeru.evaluate(model="demo/darumeru-demo", data="bundled", tasks="DaruMERA", limit=20)
        run.results.groups["DaruMERA"]
    """
    progress = fitting_progress()
    try:
        with quiet():
            finished, failures = run(config, progress)
    finally:
        progress.stop()
    if failures.tasks:
        raise RunFailed("; ".join(f"{task}: {error}" for task, error in failures.tasks.items()))
    return finished
