"""Both ways between Darumeru and lm-eval (EleutherAI's lm-evaluation-harness). Nothing heavy is imported here."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_EXPORTS = {
    "lm_eval_model": "darumeru.lm_eval_bridge.model",
    "print_tasks": "darumeru.lm_eval_bridge.listing",
    "export_results": "darumeru.lm_eval_bridge.export",
    "differences": "darumeru.lm_eval_bridge.naming",
}
__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'darumeru.lm_eval_bridge' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)
