"""Checking task files before they are used, and showing what they ask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.metrics import metric
from darumeru.tasks.formats import check_format, sample_maker
from darumeru.tasks.questions import questions_of
from darumeru.tasks.records import load_split
from darumeru.tasks.registry import TaskRegistry, read_task_file
from darumeru.tasks.rubrics import check_rubric
from darumeru.tasks.sample import Sample
from darumeru.tasks.spec import TaskSpec, placed

SHOWN = 3


def read_tasks(place: str, profile: str, include: Sequence[str] = ()) -> list[TaskSpec]:
    """All tasks of a YAML file or folder, and of the `include`d ones beside it, with formats, their options and
    metrics checked; UserError for the first that is wrong and for a name that two of them have."""
    paths = {path.resolve(): path for one in (place, *include) for path in _files(one)}
    registry = TaskRegistry((read_task_file(path) for path in paths.values()), profile)
    for spec in registry.specs.values():
        file = registry.files[spec.name]
        check_format(spec, file, profile)
        check_rubric(spec, file, profile)
        for name in spec.metrics:
            try:
                metric(name)
            except UserError as error:
                at = placed(file, profile, "metrics")
                raise file.error(error.what, *at, mend=error.mend, near=error.near) from error
    return list(registry.specs.values())


def asked(spec: TaskSpec, data: str, num_fewshot: int) -> list[Sample]:
    """All samples of a task, each of which can be asked with all its examples; UserError for the first that cannot."""
    wanted = (spec.num_fewshot if spec.num_fewshot is not None else num_fewshot) if spec.few_shot else 0
    found = questions_of(spec, wanted, lambda source, split: load_split(source, split, data))
    samples = sample_maker(spec.format, spec.name)(spec, found.asked, found.shots, wanted)
    for sample in samples:
        sample.conversation(sample.most)
    return samples


def shown(sample: Sample) -> dict[str, Any]:
    """A sample as plain JSON: the messages with all examples, the right answer and what it is chosen among."""
    messages = [{"role": message.role, "content": message.content} for message in sample.conversation(sample.most)]
    choices = list(sample.choices) if sample.choices else None
    return {"id": sample.id, "messages": messages, "target": sample.target, "choices": choices}


def _files(place: str) -> list[Path]:
    path = Path(place).expanduser()
    if not path.exists():
        raise UserError("no such task file or folder", place)
    files = sorted(path.glob("**/*.yaml")) if path.is_dir() else [path]
    if not files:
        raise UserError("holds no .yaml file", place)
    return files
