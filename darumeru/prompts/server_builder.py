"""Prompts for a server whose tokenizer is not at hand: messages only, no token ids."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from darumeru.core.errors import TaskRefused
from darumeru.core.message import Message
from darumeru.prompts.builder import PLAIN, Opened, PromptBuilder, PromptOptions
from darumeru.prompts.chat_template import ChatTemplate


class ServerPromptBuilder(PromptBuilder):
    """Leaves template and tokenizer to the server. Lengths are unknown, so shots are never dropped; whatever needs
    token ids (copying, extractive summaries, the token-continuation rule) raises TaskRefused."""

    def __init__(self, options: PromptOptions = PLAIN) -> None:
        self.tokenizer = None
        self.options = options
        self.template = ChatTemplate(None)
        self.template_hash = hashlib.sha256(f"server:{options.thinking}".encode()).hexdigest()

    # Nobody knows what a server's model does.
    may_think = True
    thought_tokens = ()
    remarks = ()

    @property
    def is_chat(self) -> bool:
        return True

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [[] for _ in texts]

    def tokens(self, text: str) -> list[int]:
        raise _without_tokenizer()

    def answers(self, conversations: Sequence[Sequence[Message]]) -> list[Opened]:
        raise _without_tokenizer()


def _without_tokenizer() -> TaskRefused:
    mend = "name the folder or Hub id of the tokenizer"
    return TaskRefused("this task needs the model's tokenizer", "--tokenizer", mend)
