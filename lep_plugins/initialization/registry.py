"""Initialization methods by name: a new one is one function and one line here, or an entry point of a plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from darumeru.core.registry import Registry

if TYPE_CHECKING:
    from lep_plugins.initialization.task import Initializer

OWN = ("mean", "multivariate", "cw2v", "omp", "focus", "ofa", "distill", "zett")

INITIALIZERS: Registry[Initializer] = Registry(
    "darumeru.initializers",
    "initialization method",
    {name: f"lep_plugins.initialization.{name}:{name}" for name in OWN},
    lambda name, made: "" if callable(made) else f"{name} cannot be called",
)
