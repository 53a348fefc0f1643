"""The openai engine's own arguments: typed, checked before anything is asked, each declared once."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any

from darumeru.core.errors import UserError, near_names
from darumeru.core.options import Effect, Option, WrongValue, check, declared

_WHERE = "--engine-args"
_KINDS: tuple[tuple[type, str], ...] = (
    (int, "a whole number"),
    (float, "a number"),
    (Mapping, "an object of fields that JSON can hold"),
)


@dataclass(frozen=True)
class OpenAIArguments:
    """What --engine-args may say to the openai engine.

    What changes nothing here is free to change in the middle of a run; `model` is among it because `served_model`
    tells what the name stands for.
    """

    model: Annotated[str | None, Option("Which of several served models.", Effect.NOTHING, material=True)] = None
    api_key: Annotated[str | None, Option("Instead of OPENAI_API_KEY.", Effect.NOTHING)] = None
    concurrency: Annotated[int | None, Option("Requests at once.", Effect.NOTHING, least=1)] = None
    retries: Annotated[int, Option("Further tries after the first.", Effect.NOTHING, least=0)] = 5
    backoff: Annotated[
        float,
        Option(
            "Seconds before the second try, doubled each time; Retry-After counts instead.", Effect.NOTHING, least=0
        ),
    ] = 0.5
    timeout: Annotated[float, Option("Seconds for one answer.", Effect.NOTHING, least=0.001)] = 600.0
    body: Annotated[Mapping[str, Any], Option("Fields added to every request.", Effect.ANSWERS)] = field(
        default_factory=dict
    )

    @classmethod
    def of(cls, extra: Mapping[str, Any]) -> OpenAIArguments:
        """Read --engine-args; UserError names the argument, its value and what is allowed."""
        known = [each.name for each in fields(cls)]
        for unknown in sorted(extra.keys() - set(known)):
            mend = f"known: {', '.join(known)}"
            raise UserError(f"the openai engine has no argument `{unknown}`", _WHERE, mend, near_names(unknown, known))
        arguments = cls(**extra)
        try:
            check(arguments)
        except WrongValue as error:
            raise _refused(error.name, extra[error.name], _allowed(error.name)) from error
        key = arguments.api_key
        if key is not None and not (key.isascii() and key.isprintable() and key.strip()):
            # The key itself is not repeated: messages are copied into issues.
            raise UserError("api_key must be printable ASCII text", _WHERE)
        return arguments

    @property
    def key(self) -> str | None:
        """The key to send, from here or from OPENAI_API_KEY; UserError when no header can hold it."""
        found = self.api_key or os.environ.get("OPENAI_API_KEY") or None
        if found is not None and not (found.isascii() and found.isprintable()):
            raise UserError("must be printable ASCII text", "OPENAI_API_KEY")
        return found


FREE_ARGUMENTS = frozenset(one.name for one in declared(OpenAIArguments) if one.option.effect is Effect.NOTHING)


def _refused(name: str, value: Any, allowed: str) -> UserError:
    shown = "***" if name == "api_key" else json.dumps(value, ensure_ascii=False, default=str)
    return UserError(f"{name} must be {allowed}, not {shown}", _WHERE)


def _allowed(name: str) -> str:
    one = next(each for each in declared(OpenAIArguments) if each.name == name)
    kind = next((said for kind, said in _KINDS if str(kind.__name__) in str(one.hint)), "text")
    least = one.option.least
    return kind if least is None else f"{kind} of at least {least:g}"
