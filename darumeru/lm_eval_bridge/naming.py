"""What Darumeru's tasks and groups are called in lm-eval."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from darumeru.core.shipped import tasks_folder
from darumeru.lm_eval_bridge.spoken import differences as spoken_differences
from darumeru.tasks.spec import TaskSpec

GROUPS: Mapping[str, str] = {
    "DaruMMLU": "darumeru_mmlu",
    "DaruMERA": "darumeru_mera",
    "DaruSum": "darumeru_sum",
    "DaruCopy-EN": "darumeru_copy_en",
    "DaruCopy-RU": "darumeru_copy_ru",
}
MICRO_AVG = "darumeru_micro_avg"


@lru_cache(maxsize=1)
def names() -> Mapping[str, str]:
    """Darumeru's task name -> its name in lm-eval, read off tasks/lm_eval."""
    found = {}
    for path in sorted((tasks_folder() / "lm_eval").glob("*.yaml")):
        own = re.search(r"^darumeru_task: *(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        if own:
            found[own.group(1)] = path.stem
    return found


def lm_eval_name(task: str) -> str:
    """The name of a run's task in lm-eval: its own one for lm_eval:NAME, that of tasks/lm_eval, or one made of it."""
    prefix, _, rest = task.partition(":")
    if prefix == "lm_eval":
        return rest
    return names().get(task) or re.sub(r"[^\w.-]+", "_", task)


def differences(spec: TaskSpec) -> tuple[str, ...]:
    """Lines to show: the task's name in lm-eval, then what is measured otherwise there; none for a task that stock
    lm-eval is not given."""
    name = names().get(spec.name)
    return (f"in lm-eval: {name}", *(f"  there: {one}" for one in spoken_differences(spec))) if name else ()
