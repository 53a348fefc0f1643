"""The formats of other tools that a finished run can be written in."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from darumeru.core.errors import UserError, near_names
from darumeru.runs.run import Run

LM_EVAL = "lm-eval"
FORMATS = {
    LM_EVAL: "darumeru.lm_eval_bridge.export:export_results",
    "inspect": "darumeru.publishing.inspect_log:export",
    "every-eval-ever": "darumeru.publishing.every_eval_ever:export",
}
"""Name -> function of a run and a folder that writes there and returns the paths. lm-eval's own writer names the folder
itself, inside of the run."""


def check_format(name: str | None, where: str) -> None:
    """UserError for a format that is none; None is no format."""
    if name is not None and name not in FORMATS:
        mend = f"known: {', '.join(FORMATS)}"
        raise UserError(f"unknown format `{name}`", where, mend, near_names(name, FORMATS))


def export(run: Run, form: str = LM_EVAL, folder: Path | None = None) -> list[Path]:
    """Write a finished run in the files of another program; returns their paths.

    form: "lm-eval", "inspect" or "every-eval-ever". folder: default RUN/<format>. UserError for another format, and
    when it cannot be written.

    Example::

        darumeru.export(darumeru.load_run("runs/first"), "inspect")   # one .eval file a task
    """
    check_format(form, "form")
    module, _, name = FORMATS[form].partition(":")
    write: Callable[..., list[Path]] = getattr(import_module(module), name)
    if form == LM_EVAL:
        if folder is not None:
            raise UserError("lm-eval's own writer writes into the run's folder", "--output", "leave it out")
        return write(run)
    target = folder or run.path / form.replace("-", "_")
    try:
        target.mkdir(parents=True, exist_ok=True)
        return write(run, target)
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror}", str(target), "choose another --output") from error
