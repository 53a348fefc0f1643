"""Darumeru: a benchmark-first evaluation harness for Russian language models, with LEP as plugins.

Nothing heavy is imported here; names load when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_EXPORTS = {
    "evaluate": "darumeru.runs.evaluate",
    "load_run": "darumeru.runs.run",
    "load_runs": "darumeru.runs.run",
    "Run": "darumeru.runs.run",
    "UserError": "darumeru.core.errors",
    "RunFailed": "darumeru.core.errors",
    "DarumeruCallback": "darumeru.training.callback",
    "LiveOptions": "darumeru.training.live_engine",
    "lm_eval_model": "darumeru.lm_eval_bridge",
}
__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'darumeru' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)
