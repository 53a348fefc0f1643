"""A chat template is a stranger's program: before it is used, it is tried in a process of its own, with limits.

`python -m darumeru.prompts.trial` reads a template and renders a short conversation.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from darumeru.core.errors import UserError

SECONDS = 5
MEBIBYTES = 1024
# Of the clock: a busy machine gives a process little of its time.
PATIENCE = 120
OUT_OF_MEMORY = 77


@cache
def try_template(source: str) -> None:
    """UserError for a template that takes more time or memory for one short conversation than any needs. Whatever else
    is wrong with it shows itself when it is used."""
    path = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join(filter(None, (path, os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "darumeru.prompts.trial"]
    try:
        done = subprocess.run(
            command,
            input=source.encode("utf-8", "surrogatepass"),
            capture_output=True,
            timeout=PATIENCE,
            env={**os.environ, "PYTHONPATH": paths},
        )
    except subprocess.TimeoutExpired as error:
        raise _too_long() from error
    if done.returncode == OUT_OF_MEMORY:
        raise UserError(f"needs more than {MEBIBYTES} MiB for one short conversation", "chat template")
    if done.returncode < 0:
        raise _too_long()


def _too_long() -> UserError:
    return UserError(f"takes longer than {SECONDS} s for one short conversation", "chat template")


def main() -> int:
    import resource

    from darumeru.core.message import Message
    from darumeru.prompts.chat_template import ChatTemplate

    source = sys.stdin.buffer.read().decode("utf-8", "surrogatepass")
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEBIBYTES << 20, MEBIBYTES << 20))
    messages = (Message("user", "?"), Message("assistant", "!"), Message("user", "?"))
    try:
        ChatTemplate(source).render(messages)
    except UserError as error:
        return OUT_OF_MEMORY if isinstance(error.__cause__, MemoryError) else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
