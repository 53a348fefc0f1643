"""Learned Embedding Propagation as plugin steps: `extend_vocabulary`, `initialize_embeddings`, `propagate`."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "extend_vocabulary": "lep_plugins.vocabulary.steps",
    "initialize_embeddings": "lep_plugins.initialization",
    "propagate": "lep_plugins.propagation",
}

__all__ = ["extend_vocabulary", "initialize_embeddings", "propagate"]


def __getattr__(name: str) -> Any:
    """Import a public function on first use: numpy, torch and tokenizers stay unloaded until then."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
