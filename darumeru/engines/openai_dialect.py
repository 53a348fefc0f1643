"""A way to put requests to one OpenAI-compatible server, found out by probing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from darumeru.core.answer import Answer
from darumeru.engines.openai_server import BUSY, RETRIED, RefusedError, Server
from darumeru.engines.request import Request

# Counts of most probable tokens to try, the largest first.
TOP = (128, 50, 20, 10, 5, 1)


class Dialect(Protocol):
    """How requests are put to one server. Built by probing it: capabilities and limits are known before the work."""

    capabilities: frozenset[str]
    limits: tuple[str, ...]

    def answer(self, request: Request) -> Answer: ...


@dataclass(frozen=True)
class Probe:
    """Sends what is common to all requests of one dialect: model, path, greedy decoding, the user's own fields."""

    server: Server
    path: str
    common: Mapping[str, Any]

    def ask(self, **body: Any) -> dict[str, Any]:
        """The first choice of the answer; RefusedError when there is none."""
        return self._first(body, RETRIED)

    def _first(self, body: Mapping[str, Any], retried: frozenset[int]) -> dict[str, Any]:
        sent = {**self.common, "temperature": 0, **body}
        choices = self.server.post(self.path, sent, retried).get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise RefusedError("the answer has no choices")
        return choices[0]

    def works(self, **body: Any) -> dict[str, Any]:
        """The same as a question: an empty answer when the server refuses, or fails at it, as some do at fields they
        do not know."""
        try:
            return self._first(body, BUSY)
        except RefusedError:
            return {}


def finish_reason(said: Mapping[str, Any]) -> str:
    reason = said.get("finish_reason")
    if reason not in ("stop", "length"):
        raise RefusedError(f"the server ended the answer for the reason `{reason}`")
    return str(reason)
