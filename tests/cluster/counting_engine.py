"""The transformers engine, which writes down what it is asked and can be held up: a plugin, as one installs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from darumeru.core.answer import Answer
from darumeru.engines.order import Numbered
from darumeru.engines.transformers_engine import TransformersEngine

JOURNAL = "DARUMERU_TEST_JOURNAL"
HOLD = ".hold"
FREE = 2
"""Groups that a process answers whether it is held or not."""

_asked: list[str] = []


class CountingEngine(TransformersEngine):
    name = "counting"

    def answer_groups(self, groups: Iterator[Sequence[Numbered]]) -> Iterator[tuple[int, Answer]]:
        return super().answer_groups(map(_written, groups))


def _written(group: Sequence[Numbered]) -> Sequence[Numbered]:
    if group and JOURNAL in os.environ:
        line = json.dumps([os.getpid(), [request.key for _, request in group]])
        with Path(os.environ[JOURNAL]).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        _asked.append(line)
        while len(_asked) > FREE and Path(os.environ[JOURNAL] + HOLD).exists():
            time.sleep(0.1)
    return group


def install(folder: Path) -> None:
    """What pip leaves behind of such a plugin, in a folder for PYTHONPATH."""
    about = folder / "counting_engine-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: counting-engine\nVersion: 1.0\n")
    entry = "[darumeru.engines]\ncounting = tests.cluster.counting_engine:CountingEngine\n"
    (about / "entry_points.txt").write_text(entry)
