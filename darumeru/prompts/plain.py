"""The plain formats in which models without a chat template are asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from darumeru.core.message import Message


@dataclass(frozen=True)
class PlainFormat:
    """user, assistant: what stands before and after a message of that role (a system message is only followed by a
    line feed). An open answer ends where its content ends; opening: put at the end when no answer is open.
    bos: whether prompts begin with the BOS token although the tokenizer itself puts none."""

    user: tuple[str, str]
    assistant: tuple[str, str]
    opening: str = ""
    bos: bool = False

    def render(self, messages: Sequence[Message]) -> str:
        """The conversation as text, its last assistant message left open."""
        parts = []
        after = ""
        for message in messages:
            before, behind = {"user": self.user, "assistant": self.assistant}.get(message.role, ("", "\n"))
            parts += [after, before, message.content]
            after = behind
        opened = bool(messages) and messages[-1].role == "assistant"
        return "".join(parts) if opened else "".join((*parts, after, self.opening))


SIMPLE = PlainFormat(user=("", "\n"), assistant=("", "\n\n"))

FORMATS: Mapping[str, PlainFormat] = {
    "simple": SIMPLE,
    "query_response": PlainFormat(("Query: ", "\n\n"), ("Response: ", "\n\n"), "Response:"),
}
