"""Rendering a conversation to text, its last assistant message left open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any

from darumeru.core.errors import UserError
from darumeru.core.message import Message
from darumeru.prompts.plain import SIMPLE, PlainFormat

# Marks where an open message ends in a rendered conversation. Templates trim white space, never letters.
_OPEN_END = "dArUmErUoPeNeNd"


@dataclass(frozen=True)
class ChatTemplate:
    """A Jinja chat template with the names it may use (bos_token, eos_token, ...).

    source None = a foundation model, asked in the plain format. variables: switches for the template, such as
    enable_thinking. today: what the template takes for today's date; None: the machine's.
    """

    source: str | None
    special_tokens: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)
    today: date | None = None
    plain: PlainFormat = SIMPLE

    @property
    def prints_date(self) -> bool:
        """Whether the template asks what day it is."""
        return "strftime_now" in (self.source or "")

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt as text. A last assistant message is left open exactly where its content ends; after a last
        user message the template's generation prompt follows, and after it the open answer where the template leaves
        that out. Raises UserError when the template refuses."""
        if self.source is None:
            return self.plain.render(messages)
        return self.filled(messages, opened=messages[-1].role == "assistant")

    def filled(self, messages: Sequence[Message], opened: bool) -> str:
        """The chat template filled in. opened: the last message is left open, else the generation prompt follows."""
        shown = [{"role": message.role, "content": message.content} for message in messages]
        if not opened:
            return self._filled(shown, generation_prompt=True)
        shown[-1]["content"] += _OPEN_END
        text = self._filled(shown, generation_prompt=False)
        cut = text.rfind(_OPEN_END)
        if cut < 0:
            return self._filled(shown[:-1], generation_prompt=True) + messages[-1].content
        return text[:cut]

    def _filled(self, messages: list[dict[str, str]], generation_prompt: bool) -> str:
        import jinja2

        compiled = self._compiled
        try:
            return str(
                compiled.render(
                    messages=messages,
                    add_generation_prompt=generation_prompt,
                    **{"bos_token": "", "eos_token": "", **self.special_tokens},
                    **self.variables,
                    **({"strftime_now": self.today.strftime} if self.today else {}),
                )
            )
        except jinja2.TemplateError as error:
            roles = ", ".join(dict.fromkeys(message["role"] for message in messages))
            raise UserError(f"refuses messages of the roles {roles}: {error}", "chat template") from error
        except Exception as error:  # a template is a stranger's code, which may raise anything
            raise UserError(f"fails: {type(error).__name__}: {error}", "chat template") from error

    @cached_property
    def _compiled(self) -> Any:
        from jinja2 import TemplateError
        from jinja2.exceptions import TemplateSyntaxError

        from darumeru.core.jinja import environment

        try:
            return environment().from_string(self.source)
        except TemplateSyntaxError as error:
            raise UserError(f"is not a Jinja template: {error}", f"chat template, line {error.lineno}") from error
        except (TemplateError, RecursionError) as error:
            raise UserError(f"is not a Jinja template: {error}", "chat template") from error
