"""What `darumeru tasks show` says of a task's form for stock lm-eval."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from darumeru.lm_eval_bridge.spoken import differences as spoken_differences
from darumeru.tasks.registry import tasks_folder
from darumeru.tasks.spec import TaskSpec


@lru_cache(maxsize=1)
def names() -> Mapping[str, str]:
    """Darumeru's task name -> its name in lm-eval, read off tasks/lm_eval."""
    import re

    found = {}
    for path in sorted((tasks_folder() / "lm_eval").glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        own = re.search(r"^darumeru_task: *(\S+)", text, re.MULTILINE)
        if own:
            found[own.group(1)] = path.stem
    return found


def differences(spec: TaskSpec) -> tuple[str, ...]:
    """Lines to show: the task's name in lm-eval, then what is measured otherwise there; none for a task that stock
    lm-eval is not given."""
    name = names().get(spec.name)
    return (f"in lm-eval: {name}", *(f"  there: {one}" for one in spoken_differences(spec))) if name else ()
