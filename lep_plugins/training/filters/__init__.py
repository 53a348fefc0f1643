"""Filters of calibration data: what one is, and finding them by name (entry points "darumeru.filters")."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from darumeru.core.errors import UserError, near_names
from darumeru.core.fields import Fail, checked_fields
from darumeru.core.registry import Registry
from lep_plugins.training.conversations import Conversation

BUILTIN = {
    "rules": "lep_plugins.training.filters.rules:RulesFilter",
    "judge": "lep_plugins.training.filters.judge:JudgeFilter",
}


@runtime_checkable
class Filter(Protocol):
    """A frozen dataclass whose fields are its parameters; it judges the last message of each conversation."""

    def check(self) -> None:
        """UserError when it cannot work here and now; called before any heavy work. (Parameters that make no sense are
        refused by the constructor.)"""
        ...

    def reasons(self, conversations: Sequence[Conversation], memory: Path) -> Iterator[tuple[int, str]]:
        """Yield (index, reason of rejection or "" to keep) for each conversation, in any order. memory: a JSONL file
        of the filter's own, in which it may keep verdicts over a restart."""
        ...


@dataclass(frozen=True)
class Filtered:
    """kept: in the order they came. rejected: "filter: reason" -> count."""

    kept: tuple[Conversation, ...]
    rejected: Counter[str]


def _problem(name: str, found: Any) -> str:
    return "" if is_dataclass(found) and callable(getattr(found, "reasons", None)) else "not a dataclass with `reasons`"


@cache
def filter_registry() -> Registry[Any]:
    """All filter classes; their fields are the parameters of the filter."""
    return Registry("darumeru.filters", "filter", BUILTIN, _problem)


def make_filters(names: Sequence[str], options: Mapping[str, Mapping[str, Any]]) -> dict[str, Filter]:
    """The filters by name, in order, each with its options. UserError: unknown filter or parameter, options of a
    filter that is not used, a value of the wrong kind."""
    for name in options:
        if name not in names:
            raise UserError(
                f"parameters of filter `{name}`, which is not used", "filter_options", near=near_names(name, names)
            )
    made = {}
    for name in names:
        kind = filter_registry().get(name)
        made[name] = kind(**checked_fields(f"filter `{name}`", kind, options.get(name, {}), _fail(name)))
    return made


def _fail(name: str) -> Fail:
    return lambda what, place, mend, near: UserError(what, ".".join(("filter_options", name, *place)), mend, near)


def run_filters(
    filters: Mapping[str, Filter],
    conversations: Sequence[Conversation],
    folder: Path,
    say: Callable[[str], None] = print,
) -> Filtered:
    """Pass the conversations through the filters, in order; what one rejects the next does not see."""
    kept, rejected = tuple(conversations), Counter[str]()
    for name, each in filters.items():
        reasons = dict(each.reasons(kept, folder / f"filter-{name}.jsonl"))
        rejected.update(f"{name}: {reason}" for reason in reasons.values() if reason)
        passed = tuple(conversation for index, conversation in enumerate(kept) if not reasons[index])
        say(f"filter {name}: kept {len(passed)} of {len(kept)}")
        kept = passed
    return Filtered(kept, rejected)
