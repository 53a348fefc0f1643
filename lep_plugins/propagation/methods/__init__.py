"""The propagation methods, one file each: a module here with a METHOD is a method."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from darumeru.core.errors import UserError, near_names
from lep_plugins.propagation.changes import Change
from lep_plugins.propagation.models import Trio
from lep_plugins.propagation.phases import Phases
from lep_plugins.propagation.relation import Relation
from lep_plugins.propagation.rows import Rows
from lep_plugins.propagation.solve import Fit


@dataclass(frozen=True)
class Setting:
    """One matrix ("embedding" or "head") of the three models, and where the work runs."""

    matrix: str
    trio: Trio
    relation: Relation
    device: str
    phases: Phases

    @property
    def donor(self) -> Rows:
        return self.trio.donor.rows(self.matrix)

    @property
    def target(self) -> Rows:
        return self.trio.target.rows(self.matrix)


@dataclass(frozen=True)
class Outcome:
    """What a method does to the donor's rows, and the fit behind it, if there is one."""

    change: Change
    fit_rows: int = 0
    used_tokens: int = 0
    fit: Fit | None = None


@dataclass(frozen=True)
class Method:
    """name: for --method. outcome: computes the change of one matrix. layers: whether the layers of the result are
    donor + target - base instead of the target's."""

    name: str
    outcome: Callable[[Setting], Outcome]
    layers: bool = False


def methods() -> dict[str, Method]:
    """All methods by name."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    found = [importlib.import_module(f"{__name__}.{name}").METHOD for name in names]
    return {method.name: method for method in found}


def find_method(name: str) -> Method:
    """The method of that name. UserError: there is none."""
    known = methods()
    if name not in known:
        near = near_names(name, known)
        raise UserError(f"no propagation method {name}", "method", f"there are {', '.join(known)}", near)
    return known[name]
