"""Initialization methods by name: a new one is one file and one line here."""

from __future__ import annotations

from darumeru.core.errors import UserError, near_names
from lep_plugins.initialization.cw2v import cw2v
from lep_plugins.initialization.mean import mean
from lep_plugins.initialization.multivariate import multivariate
from lep_plugins.initialization.omp import omp
from lep_plugins.initialization.task import Initializer

INITIALIZERS: dict[str, Initializer] = {"mean": mean, "multivariate": multivariate, "cw2v": cw2v, "omp": omp}


def initializer(method: str) -> Initializer:
    """The method of that name. UserError, with the near names: there is none."""
    if method not in INITIALIZERS:
        near = near_names(method, INITIALIZERS) or INITIALIZERS
        raise UserError(f'no initialization method "{method}"', where="--method", near=near)
    return INITIALIZERS[method]
