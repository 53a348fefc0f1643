"""Hashes by which the output of a step is found again: equal work has an equal key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from darumeru.adaptation.variants import Variant
from darumeru.core.files import content_hash
from darumeru.core.options import to_plain
from darumeru.models.fingerprints import fingerprint


def step_key(variant: Variant, parent: str, inputs: Mapping[str, str]) -> str:
    """Hash over all that the step's output depends on. parent, inputs: identities of the models it is made from
    ("" for none). Files that parameters name count by content, wherever they lie."""
    step = variant.step
    return content_hash(
        {
            "step": step.name,
            "version": getattr(step, "version", 1),
            "parameters": {name: _content(value) for name, value in asdict(step).items()},
            "seed": variant.seed,
            "parent": parent,
            "inputs": dict(inputs),
        }
    )


def _content(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_content(one) for one in value]
    if isinstance(value, Mapping):
        return {str(key): _content(one) for key, one in value.items()}
    if isinstance(value, Path) or (isinstance(value, str) and "\n" not in value and 0 < len(value) < 4096):
        path = Path(value)
        if path.is_absolute() and path.exists():
            return f"content {fingerprint(path)}"
    return to_plain(value)
