"""A template is a stranger's program: before it is used, it is tried in a process of its own, with limits.

`python -m darumeru.core.template_trial` reads templates and values as JSON and renders each template with each of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from darumeru.core.errors import UserError

SECONDS = 5
MEBIBYTES = 1024
# Of the clock: a busy machine gives a process little of its time.
PATIENCE = 120
OUT_OF_MEMORY = 77
Kind = Literal["chat", "record", "expression"]


def try_templates(kind: Kind, sources: Sequence[str], values: Sequence[Mapping[str, Any]], of: str, where: str) -> None:
    """UserError for templates that take more time or memory than rendering each of them with each of the values needs.
    Whatever else is wrong with them shows itself when they are used.

    kind: which environment (core/jinja.py), and whether the sources are expressions. of: what is rendered, as "one
    short conversation".
    """
    job = json.dumps({"kind": kind, "sources": list(sources), "values": list(values)}, default=str)
    wrong = _fault(job)
    if wrong:
        raise UserError(f"{wrong} for {of}", where)


@cache
def _fault(job: str) -> str:
    """What is wrong with the templates of a job, "" where they are within the limits."""
    path = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join(filter(None, (path, os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "darumeru.core.template_trial"]
    too_long = f"takes longer than {SECONDS} s"
    try:
        done = subprocess.run(
            command,
            input=job.encode(),
            capture_output=True,
            timeout=PATIENCE,
            env={**os.environ, "PYTHONPATH": paths},
        )
    except subprocess.TimeoutExpired:
        return too_long
    if done.returncode == OUT_OF_MEMORY:
        return f"needs more than {MEBIBYTES} MiB"
    return too_long if done.returncode < 0 else ""


def main() -> int:
    import resource

    from darumeru.core.jinja import environment, record_environment

    job = json.loads(sys.stdin.buffer.read())
    jinja = environment() if job["kind"] == "chat" else record_environment()
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEBIBYTES << 20, MEBIBYTES << 20))
    for source in job["sources"]:
        for values in job["values"]:
            try:
                if job["kind"] == "expression":
                    jinja.compile_expression(source)(**values)
                else:
                    jinja.from_string(source).render(**values)
            except MemoryError:
                return OUT_OF_MEMORY
            except Exception:  # whatever else a stranger's program raises is named when it is used
                continue
    return 0


if __name__ == "__main__":
    sys.exit(main())
