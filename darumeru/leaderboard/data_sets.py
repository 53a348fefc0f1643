"""Where the records of a task came from, as what is published has to say it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from darumeru.runs.run import Run

BUNDLED, LOCAL = "bundled", "local"
"""What stands for a revision where the data are not of the Hub."""
HUB = "https://huggingface.co"
_SHA = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class TaskData:
    """repository, config, split, revision: of the Hub, None where the data are not from there or that is not known.
    said: what they are, in a few words, where they are not."""

    repository: str | None
    config: str | None
    split: str | None
    revision: str | None
    said: str = ""

    @property
    def on_hub(self) -> bool:
        return not self.said

    @property
    def commit(self) -> str | None:
        """The revision, when it is a commit."""
        return self.revision if self.revision and _SHA.fullmatch(self.revision) else None

    @property
    def link(self) -> str:
        """The data set's page at that revision."""
        return f"{HUB}/datasets/{self.repository}" + (f"/tree/{self.revision}" if self.revision else "")


def of_task(run: Run, task: str) -> TaskData:
    """What the run's manifest says of the task's data."""
    whole = run.manifest.get("data") or {}
    one = (whole.get("tasks") or {}).get(task) or {}
    repository, revision = one.get("repository"), one.get("revision")
    if repository and revision not in (BUNDLED, LOCAL):
        return TaskData(repository, one.get("config"), one.get("split"), revision)
    kinds = {BUNDLED: "bundled sample of the data", LOCAL: "data of a local folder"}
    said = kinds.get(str(revision or whole.get("source")), "data that are not of the Hub")
    return TaskData(None, None, one.get("split"), None, said)
