"""Which lm-eval is installed, and whether this bridge was tested with it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from darumeru.core.errors import UserError

TESTED = ">=0.4.13,<0.5"


def require_lm_eval() -> str:
    """Version of the installed lm-eval; UserError when there is none or when it is not among TESTED."""
    from packaging.specifiers import SpecifierSet

    mend = f"pip install 'lm-eval{TESTED}'"
    try:
        found = version("lm-eval")
    except PackageNotFoundError as error:
        raise UserError("lm-eval is not installed", "lm-eval", mend) from error
    if not SpecifierSet(TESTED).contains(found, prereleases=True):
        raise UserError(f"lm-eval {found} is installed; Darumeru is tested with {TESTED}", "lm-eval", mend)
    return found


def tasks_root() -> Path:
    """The folder of lm-eval's own task definitions; lm-eval itself is not imported."""
    require_lm_eval()
    spec = find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("lm-eval is installed without its package lm_eval", "lm-eval", "reinstall lm-eval")
    return Path(next(iter(spec.submodule_search_locations))) / "tasks"
