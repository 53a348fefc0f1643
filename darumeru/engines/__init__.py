"""Engines: whatever answers requests. `load_engine` finds one by name, built in or from a plugin."""

from __future__ import annotations

from functools import cache
from typing import Any

from darumeru.core.answer import Answer
from darumeru.core.message import Message
from darumeru.core.packages import require
from darumeru.core.processes import end_with_parent
from darumeru.core.registry import Registry
from darumeru.engines.protocol import Engine, EngineDied, EngineOptions
from darumeru.engines.request import Generate, LogLikelihood, MultipleChoice, Request

# The processes that engines start import this first.
end_with_parent()

__all__ = [
    "Answer",
    "Engine",
    "EngineDied",
    "EngineOptions",
    "Generate",
    "LogLikelihood",
    "Message",
    "MultipleChoice",
    "Request",
    "check_engine",
    "check_package",
    "engine_registry",
    "free_arguments",
    "load_engine",
]

BUILTIN = {
    "vllm": "darumeru.engines.vllm_engine:VllmEngine",
    "transformers": "darumeru.engines.transformers_engine:TransformersEngine",
    "openai": "darumeru.engines.openai_engine:OpenAIEngine",
}


def _check(name: str, engine: Any) -> str:
    return "" if callable(engine) and hasattr(engine, "answer") else "not an engine class: it has no `answer`"


@cache
def engine_registry() -> Registry[Any]:
    """All engine classes, the built-in ones and those of the entry-point group `darumeru.engines`."""
    return Registry("darumeru.engines", "engine", BUILTIN, _check)


def free_arguments(name: str) -> frozenset[str]:
    """Names of that engine's --engine-args that change no answer (Engine.free_arguments); loads no model."""
    return frozenset(getattr(engine_registry().get(name), "free_arguments", ()))


def load_engine(name: str, options: EngineOptions) -> Engine:
    """The engine of that name with its model loaded.

    Raises UserError for an unknown name (with the nearest ones), an engine whose package is not installed (naming the
    extra to install), options it does not take and a model it cannot load.
    """
    check_engine(name, options)
    kind = engine_registry().get(name)
    if options.cluster:
        from darumeru.engines.ray_replicas import RayReplicas

        return RayReplicas(kind, options)
    engine: Engine = kind(options)
    return engine


def check_package(name: str) -> None:
    """UserError where the package that this engine stands on (Engine.package, if any) is not installed."""
    package = getattr(engine_registry().get(name), "package", None)
    if package is not None:
        require(package, f"--engine {name}", "or use --engine transformers" if name == "vllm" else "")


def check_engine(name: str, options: EngineOptions) -> None:
    """UserError for a model that this engine cannot answer for, as far as its files tell; loads nothing."""
    check_package(name)
    check = getattr(engine_registry().get(name), "check", None)
    if check is not None:
        check(options)
