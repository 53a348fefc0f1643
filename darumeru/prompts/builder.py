"""The prompt builder of one model: text and token ids of a conversation, once, with exactly one BOS."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.core.message import Message
from darumeru.core.template_trial import try_templates
from darumeru.prompts.chat_template import ChatTemplate
from darumeru.prompts.plain import PlainFormat
from darumeru.prompts.thoughts import decoded, endings, kept_tokens, switches, thinks


@dataclass(frozen=True)
class PromptOptions:
    """system_prompt: put before every conversation. thinking: let a thinking model think. chat_template: a file
    that replaces the model's own, or "none" for the plain format of foundation models. date: today, for templates that
    print it; None: the machine's."""

    system_prompt: str | None = None
    thinking: bool = False
    chat_template: str | None = None
    date: date | None = None


PLAIN = PromptOptions()

# What every chat template is tried with.
TRIED = {
    "messages": [{"role": role, "content": text} for role, text in (("user", "?"), ("assistant", "!"), ("user", "?"))],
    "add_generation_prompt": True,
    "bos_token": "",
    "eos_token": "",
}

# How tokenizers spell a space at the beginning of a token.
SPACES = ("▁", "Ġ")


@dataclass(frozen=True)
class Opened:
    """A prompt, and the ids of an answer that follows it in the same text."""

    text: str
    prompt: tuple[int, ...]
    answer: tuple[int, ...]


class PromptBuilder:
    """Renders and tokenizes for one tokenizer (a transformers tokenizer, duck-typed)."""

    def __init__(self, tokenizer: Any, options: PromptOptions = PLAIN) -> None:
        self.tokenizer = tokenizer
        self.options = options
        self.template = _template(tokenizer, options)

    @cached_property
    def may_think(self) -> bool:
        """Whether the model may say thoughts before an answer, as far as its template knows of them."""
        return self.template.source is not None and thinks(self.template.source)

    @cached_property
    def thought_tokens(self) -> tuple[str, ...]:
        """Special tokens that mark thoughts, which decoding must not drop."""
        return kept_tokens(self.tokenizer)

    @cached_property
    def thought_endings(self) -> tuple[str, ...]:
        """Texts at which the model's thoughts end."""
        return endings("".join((self.template.source or "", *self.thought_tokens)))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids, the marks of thoughts included."""
        return decoded(self.tokenizer, ids, self.thought_tokens)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a user has to know of how this model is asked."""
        if not self.is_chat and self.options.chat_template != "none":
            return (
                "the model has no chat template: it is taken for a foundation model and asked in the plain format of "
                'the profile (--chat-template FILE gives it one, "none" says that this is right)',
            )
        if self.options.thinking and not self.may_think:
            return ("--thinking: the model's chat template knows no thinking",)
        return ()

    def in_format(self, plain: PlainFormat) -> PromptBuilder:
        """The same builder with that plain format for a model without a chat template."""
        other = copy.copy(self)
        other.template = replace(self.template, plain=plain)
        return other

    @property
    def is_chat(self) -> bool:
        """Whether a chat template is used; a model without one is taken for a foundation model."""
        return self.template.source is not None

    @cached_property
    def template_hash(self) -> str:
        """Hash over everything that shapes a prompt beside the messages."""
        shown = self.options.date.isoformat() if self.options.date and self.template.prints_date else None
        parts = [self.template.source, dict(self.template.variables), shown]
        return hashlib.sha256(json.dumps(parts, ensure_ascii=False, sort_keys=True).encode()).hexdigest()

    def text(self, messages: Sequence[Message]) -> str:
        """The rendered conversation, exactly these messages."""
        return self.template.render(messages)

    def conversation(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """The messages with the system prompt of the options in front."""
        system = (Message("system", self.options.system_prompt),) if self.options.system_prompt else ()
        return (*system, *messages)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of rendered texts, each beginning with exactly one BOS when this tokenizer uses one."""
        if not texts:
            return []
        encoded: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return [self._one_bos(ids) for ids in encoded]

    def tokens(self, text: str) -> list[int]:
        """Ids of a text that stands inside a prompt: no special tokens are added."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def _one_bos(self, ids: list[int]) -> list[int]:
        bos = self.tokenizer.bos_token_id
        if bos is None:
            return ids
        start = 0
        while start < len(ids) and ids[start] == bos:
            start += 1
        wanted = self._adds_bos or (self.template.plain.bos and not self.is_chat)
        return [bos, *ids[start:]] if start or wanted else ids

    @cached_property
    def _adds_bos(self) -> bool:
        return list(self.tokenizer("")["input_ids"])[:1] == [self.tokenizer.bos_token_id]

    @cached_property
    def adds_leading_space(self) -> bool:
        """Whether the tokenizer itself puts a space before a text: found by encoding one letter."""
        ids = self.tokens("a")[:1]
        first = self.tokenizer.convert_ids_to_tokens(ids)
        return bool(first) and str(first[0]).startswith(SPACES)

    def answers(self, conversations: Sequence[Sequence[Message]]) -> list[Opened]:
        """Of each conversation, whose last message is an answer: the text before the answer, its ids, and those of the
        answer as it follows them, both cut from the ids of the whole. A token that the answer's first letter shares
        with what is before belongs to the answer."""
        whole = [self.text(messages) for messages in conversations]
        before = []
        for text, messages in zip(whole, conversations, strict=True):
            answer = messages[-1].content
            if not text.endswith(answer):
                raise UserError("changes the text of an answer", "chat template")
            before.append(text.removesuffix(answer))
        found = []
        for text, base, ids in zip(before, self.ids(before), self.ids(whole), strict=True):
            shared = next((n for n, pair in enumerate(zip(base, ids, strict=False)) if pair[0] != pair[1]), len(base))
            found.append(Opened(text, tuple(ids[:shared]), tuple(ids[shared:])))
        return found


def _template(tokenizer: Any, options: PromptOptions) -> ChatTemplate:
    source = getattr(tokenizer, "chat_template", None)
    if isinstance(source, dict):
        source = source.get("default") or next(iter(source.values()), None)
    if options.chat_template == "none":
        source = None
    elif options.chat_template:
        source = _read(Path(options.chat_template).expanduser())
    if source is None:
        return ChatTemplate(None)
    try_templates("chat", [source], [TRIED], "one short conversation", "chat template")
    special: dict[str, Any] = {
        name: value for name, value in tokenizer.special_tokens_map.items() if isinstance(value, str)
    }
    # Of transformers before 5, which templates of its day read.
    special["additional_special_tokens"] = list(getattr(tokenizer, "extra_special_tokens", None) or ())
    return ChatTemplate(source, special, switches(source, options.thinking), options.date)


def _read(path: Path) -> str:
    if not path.is_file():
        raise UserError("no such chat template file", str(path))
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"is not UTF-8: {error.reason} at byte {error.start}", str(path)) from error


def load_tokenizer(folder: str, trust_remote_code: bool = False) -> Any:
    """The transformers tokenizer of a model folder; UserError when it cannot be read."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"the tokenizer cannot be read: {str(error).splitlines()[0]}", folder) from error
    if not getattr(tokenizer, "chat_template", None) and (source := _template_of_processor(Path(folder))):
        tokenizer.chat_template = source
    return tokenizer


def _template_of_processor(folder: Path) -> str | None:
    """The chat template that a multimodal model's folder has beside its tokenizer."""
    path = folder / "chat_template.json"
    if not path.is_file():
        return None
    try:
        source = json.loads(path.read_text(encoding="utf-8"))["chat_template"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"holds no chat template: {error}", str(path)) from error
    if not isinstance(source, str):
        raise UserError("holds a chat template that is no text", str(path))
    return source
