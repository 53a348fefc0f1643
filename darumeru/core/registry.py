"""One registry for every extension point: built-in names and those of plugins, loaded when they are asked for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, cast

from darumeru.core.errors import UserError, near_names

T = TypeVar("T")

OWN = "darumeru"


class PluginWarning(UserWarning):
    """A plugin that could not be used; the others go on."""


def say_plainly() -> None:
    """Show a PluginWarning as one line, without the place in our code, as a command should."""
    usual = warnings.formatwarning

    def shown(message: Any, category: type[Warning], filename: str, lineno: int, line: str | None = None) -> str:
        is_ours = issubclass(category, PluginWarning)
        return f"warning: {message}\n" if is_ours else usual(message, category, filename, lineno, line)

    warnings.formatwarning = shown


class _Unusable(Exception):
    """Why one entry cannot be used, as one line."""


@dataclass(frozen=True)
class Registered:
    """A name, where its object is ("module:attribute"), and which distribution brought it."""

    name: str
    target: str
    distribution: str


class Registry(Generic[T]):
    """Named objects of one kind: the project's own and those of entry points, imported on first use.

    group: the entry-point group, for example "darumeru.metrics". kind: what one of them is called in messages.
    builtin: name -> "module:attribute". check: what is wrong with a loaded object ("" when nothing is); it gets the
    name and the object. Finding names imports no plugin.
    """

    def __init__(
        self,
        group: str,
        kind: str,
        builtin: Mapping[str, str] | None = None,
        check: Callable[[str, Any], str] | None = None,
    ) -> None:
        self.group = group
        self.kind = kind
        self._builtin = dict(builtin or {})
        self._check = check
        self._loaded: dict[str, T] = {}

    @cached_property
    def entries(self) -> Mapping[str, Registered]:
        """Name -> entry, built-ins first, then plugins by name; UserError when two distributions give one name."""
        found = {name: Registered(name, target, OWN) for name, target in self._builtin.items()}
        for point in sorted(entry_points(group=self.group), key=lambda point: (point.name, point.value)):
            entry = Registered(point.name, point.value, point.dist.name if point.dist else "an unnamed distribution")
            # The installed metadata of the project repeats its own built-ins.
            if entry.distribution == OWN and entry.name in self._builtin:
                continue
            other = found.setdefault(entry.name, entry)
            if other != entry:
                raise UserError(
                    f"{self.kind} `{entry.name}` is registered twice, by {other.distribution} and {entry.distribution}",
                    where=f"entry points {self.group}",
                    mend="uninstall one of the two",
                )
        return found

    def names(self) -> tuple[str, ...]:
        """All names, without importing anything."""
        return tuple(self.entries)

    def origin(self, name: str) -> str:
        """The distribution that brought `name`; UserError with the nearest names when there is no such name."""
        return self._entry(name).distribution

    def get(self, name: str) -> T:
        """The object of that name. Raises UserError for an unknown name (with the nearest ones) and for a plugin that
        cannot be used (with its distribution and the reason)."""
        entry = self._entry(name)
        try:
            return self._object(entry)
        except _Unusable as error:
            raise UserError(
                f"{self.kind} `{name}` of {entry.distribution} cannot be used: {error}",
                where=f"entry points {self.group}",
                mend=f"mend or uninstall {entry.distribution}",
            ) from error.__cause__

    def available(self) -> dict[str, T]:
        """Every object that can be used; a PluginWarning names each other one, its distribution and the reason."""
        usable: dict[str, T] = {}
        for name, entry in self.entries.items():
            try:
                usable[name] = self._object(entry)
            except _Unusable as error:
                message = f"{self.kind} `{name}` of {entry.distribution} is left out: {error}"
                warnings.warn(message, PluginWarning, stacklevel=2)
        return usable

    def _entry(self, name: str) -> Registered:
        if name not in self.entries:
            near = near_names(name, self.entries)
            mend = "" if near else f"known: {', '.join(self.entries) or 'none'}"
            raise UserError(f"unknown {self.kind} `{name}`", near=near, mend=mend)
        return self.entries[name]

    def _object(self, entry: Registered) -> T:
        if entry.name not in self._loaded:
            loaded = self._imported(entry)
            wrong = self._check(entry.name, loaded) if self._check else ""
            if wrong:
                raise _Unusable(wrong)
            self._loaded[entry.name] = cast(T, loaded)
        return self._loaded[entry.name]

    def _imported(self, entry: Registered) -> Any:
        point = EntryPoint(entry.name, entry.target, self.group)
        if entry.distribution == OWN:
            return point.load()
        try:
            return point.load()
        except Exception as error:  # whatever a stranger's module raises at import must not stop the others
            raise _Unusable(f"{type(error).__name__}: {error}") from error
