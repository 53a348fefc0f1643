"""What the checks on a GPU have in common: a row of their table, and a model on the card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Line:
    """One row of the table. ok: None for what is only measured."""

    what: str
    found: str
    ok: bool | None = None


def loaded(model: str, dtype: str, device: str) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(model, dtype=dtype).to(device)
