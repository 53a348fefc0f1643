"""One message of a conversation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """One chat message. role: "system", "user" or "assistant"."""

    role: str
    content: str
