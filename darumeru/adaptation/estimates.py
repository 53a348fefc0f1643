"""How long the steps of a plan will take, from what like steps took or from their work and this machine's speed."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import cache
from typing import Any

from darumeru.adaptation.store import DONE, StepFolder

EFFICIENCY = 0.4
"""Of a training against a plain product of matrices."""
SIDE = 1024


def seconds_taken(folders: Sequence[StepFolder]) -> float | None:
    """Seconds that finished work took, scoring not counted but where it was `during`; None where nothing says so."""
    try:
        return sum(float(json.loads((one.path / DONE).read_text(encoding="utf-8"))["seconds"]) for one in folders)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def seconds_planned(step: Any, parameters: int | None, dtype: str) -> float | None:
    """About how many seconds a step takes on a model of so many parameters of this type, as its `planned_work` says;
    None where it says nothing. A step with a `dtype` of its own computes in that one."""
    planned = getattr(step, "planned_work", None)
    work = planned(parameters) if planned and parameters else None
    own = getattr(step, "dtype", "auto")
    return float(work) / (EFFICIENCY * machine_speed(dtype if own == "auto" else own)) if work else None


@cache
def machine_speed(dtype: str) -> float:
    """Floating-point operations a second of a product of that type ("bfloat16"), on the accelerator if there is one
    (about half a second)."""
    import torch

    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    one = torch.ones(SIDE, SIDE, device=device, dtype=getattr(torch, dtype))
    done, began = -1, time.perf_counter()
    while done < 0 or time.perf_counter() - began < 0.3:
        float((one @ one)[0, 0])
        # The first one starts libraries.
        done, began = (0, time.perf_counter()) if done < 0 else (done + 1, began)
    return done * 2 * SIDE**3 / (time.perf_counter() - began)
