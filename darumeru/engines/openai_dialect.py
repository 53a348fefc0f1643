"""A way to put requests to one OpenAI-compatible server, found out by probing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from darumeru.core.answer import Answer
from darumeru.core.errors import UserError
from darumeru.engines.openai_server import RETRIED, RefusedError, Server
from darumeru.engines.request import Generate, Request

# Counts of most probable tokens to try, the largest first.
TOP = (128, 50, 20, 10, 5, 1)
# Rounding can carry the log-probability of a certain token a little above zero.
ROUNDING = 1e-4
LOWEST = -1e30


class Dialect(Protocol):
    """How requests are put to one server. Built by probing it: capabilities and limits are known before the work.

    abilities: what the probing found, as far as answers depend on it; plain JSON.
    """

    capabilities: frozenset[str]
    limits: tuple[str, ...]

    @property
    def abilities(self) -> dict[str, Any]: ...

    def answer(self, request: Request) -> Answer:
        """Ask one request; RefusedError when the server has no answer, or one without what was asked."""
        ...


def generation(kind: Generate) -> dict[str, Any]:
    """The fields of a request for a text; top_k and repetition_penalty, which not every server
    knows, only where they are asked for."""
    fields: dict[str, Any] = {"max_tokens": kind.max_new_tokens}
    if kind.stop:
        fields["stop"] = list(kind.stop)
    if kind.sampling:
        fields |= {name: value for name, value in asdict(kind.sampling).items() if value or name != "top_k"}
    if kind.repetition_penalty != 1:
        fields["repetition_penalty"] = kind.repetition_penalty
    return fields


@dataclass(frozen=True)
class Probe:
    """Sends what is common to all requests of one dialect: model, path, greedy decoding where nothing else is
    said, the user's own fields."""

    server: Server
    path: str
    common: Mapping[str, Any]

    def ask(self, **body: Any) -> dict[str, Any]:
        """The first choice of the answer, which the model itself or the token limit ended; RefusedError when there is
        none."""
        return self._first(body, RETRIED)

    def _first(self, body: Mapping[str, Any], retried: frozenset[int]) -> dict[str, Any]:
        sent = {**self.common, "temperature": 0, **body}
        choices = self.server.post(self.path, sent, retried).get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise RefusedError("the answer has no choices")
        reason = choices[0].get("finish_reason")
        if reason not in ("stop", "length"):
            raise RefusedError(f"the answer ended for the reason `{str(reason)[:80]}`")
        return choices[0]

    def works(self, **body: Any) -> dict[str, Any]:
        """The same as a question: an empty answer when the server refuses, or fails at it, as some do at fields they
        do not know. UserError when it is too busy to say."""
        try:
            return self._first(body, RETRIED - {500})
        except RefusedError as error:
            if error.busy:
                raise unusable(self.server, "cannot be looked at now", error, "the same command tries again") from error
            return {}


def unusable(server: Server, what: str, error: RefusedError, otherwise: str) -> UserError:
    """Why nothing can be asked. otherwise: how to mend it where the reason itself does not say."""
    mend = "set OPENAI_API_KEY" if error.status in (401, 403) else otherwise
    if error.busy:
        mend = "the same command tries again"
    elif 300 <= error.status < 400:
        mend = ""
    return UserError(f"{what}: {error}", server.address, mend)


def logprob(value: Any) -> float:
    """A log-probability; RefusedError when it is none."""
    if isinstance(value, int | float) and not isinstance(value, bool) and LOWEST <= value <= ROUNDING:
        return float(value)
    raise RefusedError(f"the answer has the log-probability `{str(value)[:80]}`")


def text(value: Any, name: str) -> str:
    """The text of a field; RefusedError when it is none."""
    if isinstance(value, str):
        return value
    raise RefusedError(f"the answer has no text in `{name}`")


def inner(value: Any, *path: str | int) -> Any:
    """What is at a path of names and positions; None where something of it is missing or of another shape."""
    for step in path:
        if isinstance(step, str) and isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(step, int) and isinstance(value, list) and step < len(value):
            value = value[step]
        else:
            return None
    return value
