"""Suites: published configurations of a benchmark, known tasks with their own numbers of examples and records.

A suite is a YAML file of tasks/suites: name, description, differs, and parts, each with the tasks that share settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from darumeru.core.errors import UserError, near_names
from darumeru.core.fields import checked_fields
from darumeru.core.options import Effect, Option
from darumeru.core.yaml_file import YamlFile, read_yaml
from darumeru.tasks.spec import TaskSpec

PREFIX = "suite:"
FOLDER = "suites"
# The profile in which a suite's answers are drawn as its authors draw them, and the fields that say how.
DRAWN = "llmtf-head"
SAMPLING = ("temperature", "top_p", "top_k", "num_samples")
Category = Literal["Knowledge", "Skills", "RAG", "IFEval", "Long"]
CATEGORIES: tuple[str, ...] = get_args(Category)


@dataclass(frozen=True, kw_only=True)
class Part:
    """Tasks that are asked alike. What is None stays as in the task. category: their group, with whose others they are
    averaged. suffix: added to their names. differs: added to their sentences."""

    tasks: tuple[str, ...]
    category: Category
    num_fewshot: Annotated[int | None, Option("As in a task.", Effect.ANSWERS, least=0)] = None
    prompt_limit: Annotated[int | None, Option("As in a task.", Effect.ANSWERS, least=16)] = None
    most_records: Annotated[int | None, Option("As in a task.", Effect.SCORES, least=1)] = None
    temperature: Annotated[float | None, Option("As in a task.", Effect.ANSWERS, least=0)] = None
    top_p: Annotated[float | None, Option("As in a task.", Effect.ANSWERS, least=0.001, most=1)] = None
    top_k: Annotated[int | None, Option("As in a task.", Effect.ANSWERS, least=1)] = None
    num_samples: Annotated[int | None, Option("As in a task.", Effect.ANSWERS, least=1)] = None
    suffix: str | None = None
    differs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a suite says of itself. differs: sentences on where it departs from the published configuration. greedy: the
    one that is said where the parts' sampling does not count."""

    name: str
    description: str
    differs: tuple[str, ...] = ()
    greedy: str = ""


@dataclass(frozen=True)
class Suite:
    """A named configuration."""

    head: Head
    parts: tuple[Part, ...]

    def specs(self, known: Mapping[str, TaskSpec], profile: str) -> Iterator[TaskSpec]:
        """The tasks with the suite's settings, named so that two settings of a task are two tasks. Answers are drawn
        as the parts say in the profile DRAWN, greedy in all others."""
        greedy = profile != DRAWN
        differs = (*self.head.differs, self.head.greedy) if greedy and self.head.greedy else self.head.differs
        for part in self.parts:
            for name in part.tasks:
                if name not in known:
                    what = f"suite `{self.head.name}` names the task `{name}`, which is not known"
                    raise UserError(what, near=near_names(name, known))
                yield _with(known[name], part, differs, () if greedy else SAMPLING)


def _with(spec: TaskSpec, part: Part, differs: Sequence[str], sampling: Sequence[str]) -> TaskSpec:
    given = {name: getattr(part, name) for name in ("num_fewshot", "prompt_limit", "most_records", *sampling)}
    settings = {name: value for name, value in given.items() if value is not None}
    name = f"{spec.name}_{part.suffix}" if part.suffix else spec.name
    # Two settings of a task must not pass for one of the 17 of Micro-Avg, which have the run's own settings.
    said = (*spec.differs, *part.differs, *differs)
    return replace(spec, name=name, group=part.category, leaderboard=False, differs=said, **settings)


def read_suites(folder: Path) -> dict[str, Suite]:
    """The suites of a folder of task files by name; UserError with file and line for one that is wrong."""
    found = (_read(read_yaml(path)) for path in sorted((folder / FOLDER).glob("*.yaml")))
    return {suite.head.name: suite for suite in found}


def _read(file: YamlFile) -> Suite:
    def fail(what: str, place: tuple[str, ...], mend: str = "", near: Sequence[str] = ()) -> UserError:
        return file.error(what, *place, mend=mend, near=near)

    values: dict[str, Any] = dict(file.values)
    parts = values.pop("parts", None)
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise fail("`parts` of a suite must list mappings", ("parts",))
    made = tuple(Part(**checked_fields("a part of the suite", Part, part, fail)) for part in parts)
    return Suite(Head(**checked_fields("the suite", Head, values, fail)), made)
