"""The two ways a command may fail on purpose; anything else is a bug and shows its traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can mend: printed as one or two lines, exit code 2, never a traceback.

    what: what is wrong. where: file, line, field or option. mend: how to mend it.
    near: names close to the one that was not found.

    Example::

        try:
            darumeru.evaluate(model="PATH", tasks="darumeru/parsu")
        except darumeru.UserError as error:
            print(error.line())   # unknown task or group `darumeru/parsu`; did you mean darumeru/parus? (...)
    """

    exit_code = 2

    def __init__(self, what: str, where: str = "", mend: str = "", near: Iterable[str] = ()) -> None:
        self.what = what
        self.where = where
        self.mend = mend
        self.near = tuple(near)
        super().__init__(self.line())

    def line(self) -> str:
        """The error as one line of text."""
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.near:
            text += f"; did you mean {', '.join(self.near)}?"
        if self.mend:
            text += f" ({self.mend})"
        return text


class TaskRefused(UserError):
    """A task that cannot be asked of this model, whatever else can; the table then names it with this reason."""


class RunFailed(Exception):
    """Work that began and could not be finished: one line, exit code 1; everything finished is stored.

    Example::

        try:
            run = darumeru.evaluate(model="PATH")
        except darumeru.RunFailed as error:
            print(error)   # the engine died: ... (the same call goes on)
    """

    exit_code = 1


def near_names(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The known names most like `name`, compared without case and also by their last path part."""
    known = list(known)
    folded = {known_name.casefold(): known_name for known_name in known}
    folded |= {known_name.casefold().rsplit("/", 1)[-1]: known_name for known_name in known}
    hits = difflib.get_close_matches(name.casefold().rsplit("/", 1)[-1], folded, n=most, cutoff=0.5)
    return list(dict.fromkeys(folded[hit] for hit in hits))
