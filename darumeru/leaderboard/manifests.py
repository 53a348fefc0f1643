"""What two runs did differently that changes numbers, read from their manifests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

SETTINGS = ("profile", "max_length", "num_fewshot_used", "limit", "subset_seed")
TEMPLATE = ("system_prompt", "thinking", "chat")


def differences(manifests: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """One line for each setting that changes numbers and is not the same in all manifests, with its different values.

    Models, their tokenizers and templates may differ; so may engines, machines and bootstrap seeds.
    """
    found = []
    for name in SETTINGS:
        found += _differing(name, [manifest.get(name) for manifest in manifests])
    for name in TEMPLATE:
        found += _differing(name, [(manifest.get("template") or {}).get(name) for manifest in manifests])
    tasks = [_data(manifest) for manifest in manifests]
    for task in sorted({name for one in tasks for name in one}):
        hashes = [one[task] for one in tasks if task in one]
        if any(one != hashes[0] for one in hashes):
            found.append(f"data of {task}: not the same records")
    for task in sorted({name for one in tasks for name in one}):
        drawn = [_sampling(manifest).get(task) for manifest, one in zip(manifests, tasks, strict=True) if task in one]
        found += _differing(f"sampling of {task}", drawn)
    return tuple(found)


def temperature(manifest: Mapping[str, Any], task: str) -> float:
    """At which a task's answers were drawn; 0 for greedy ones."""
    return float((_sampling(manifest).get(task) or {}).get("temperature", 0.0))


def _sampling(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """Task -> how its answers were drawn, for those that are not greedy."""
    return manifest.get("sampling") or {}


def _differing(name: str, values: Sequence[Any]) -> list[str]:
    if all(value == values[0] for value in values):
        return []
    shown = list(dict.fromkeys(json.dumps(value, ensure_ascii=False) for value in values))
    return [f"{name}: {', '.join(one if len(one) < 60 else one[:57] + '...' for one in shown)}"]


def _data(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Task -> hash of the records that it asked, by split."""
    tasks = (manifest.get("data") or {}).get("tasks") or {}
    return {name: one.get("sha256") for name, one in tasks.items()}
