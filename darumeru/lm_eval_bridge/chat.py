"""Chat histories to text, as lm-eval's own models render them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ChatRenderer:
    """Renders with the tokenizer's chat template, or with `template` in its place. variables: for the template."""

    tokenizer: Any
    template: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, chat_history: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
        """The history as text; without generation prompt its last message stays open. A template that refuses the
        system role gets the history without it, which is lm-eval's rule."""
        import jinja2

        try:
            return self._rendered(chat_history, add_generation_prompt)
        except jinja2.TemplateError:
            rest = [message for message in chat_history if message["role"] != "system"]
            return self._rendered(rest, add_generation_prompt)

    def _rendered(self, chat_history: Sequence[Mapping[str, str]], add_generation_prompt: bool) -> str:
        return str(
            self.tokenizer.apply_chat_template(
                list(chat_history),
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
                chat_template=self.template,
                **self.variables,
            )
        )
