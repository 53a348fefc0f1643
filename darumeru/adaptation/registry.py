"""Adaptation steps by name: entry points of the group "darumeru.steps", lep_plugins' own among them."""

from __future__ import annotations

from dataclasses import is_dataclass
from functools import cache
from typing import Any

from darumeru.core.registry import Registry


def _problem(name: str, step: Any) -> str:
    return "" if is_dataclass(step) and callable(getattr(step, "run", None)) else "not a dataclass with `run`"


@cache
def step_registry() -> Registry[Any]:
    """All step classes; their fields are the parameters of the step."""
    return Registry("darumeru.steps", "step", {}, _problem)
