"""Initialization of the rows of new tokens; `initialize_embeddings` makes a whole model of a model and a tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lep_plugins.initialization.initialize import initialize_embeddings

__all__ = ["initialize_embeddings"]


def __getattr__(name: str) -> Any:
    """Import the public function on first use: torch stays unloaded until then."""
    if name == "initialize_embeddings":
        from lep_plugins.initialization import initialize

        return initialize.initialize_embeddings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
