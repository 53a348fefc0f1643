"""Chat histories to text, as lm-eval's own models render them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from darumeru.core.errors import UserError
from darumeru.core.message import Message
from darumeru.prompts.chat_template import ChatTemplate


@dataclass(frozen=True)
class ChatRenderer:
    """Renders with a model's chat template."""

    template: ChatTemplate

    def __call__(self, chat_history: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
        """The history as text; without generation prompt its last message stays open. A template that refuses the
        system role gets the history without it, which is lm-eval's rule."""
        if self.template.source is None:
            raise UserError("the model has none", "chat template", "leave --apply_chat_template out")
        messages = [Message(one["role"], one["content"]) for one in chat_history]
        rest = [message for message in messages if message.role != "system"]
        try:
            return self.template.filled(messages, opened=not add_generation_prompt)
        except UserError:
            if len(rest) == len(messages):
                raise
            return self.template.filled(rest, opened=not add_generation_prompt)
