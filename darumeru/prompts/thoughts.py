"""How models think: the switches of their templates and the marks of their thoughts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Marks:
    """open, close: stand around thoughts. begin, end: what may stand around the answer that follows. shut: what ends
    thoughts by force and lets the answer begin, where that is not `close` and `begin`. The texts of one family of
    models, as its chat template or its documentation has them."""

    open: str
    close: str
    begin: str = ""
    end: str = ""
    shut: str = ""

    @property
    def closing(self) -> str:
        """What ends thoughts and lets the answer begin."""
        return self.shut or self.close + self.begin

    @property
    def until(self) -> str:
        """The text at whose beginning thoughts end."""
        return self.end if self.end and self.closing.startswith(self.end) else self.close

    @property
    def tokens(self) -> tuple[str, ...]:
        """The texts that may be special tokens, each by itself."""
        return tuple(dict.fromkeys(re.findall(r"<\|?[\w:]+\|?>|</[\w:]+>|\[/?[A-Z]+\]", "".join(self._texts))))

    @property
    def _texts(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.open, self.close, self.begin, self.end)))


MARKS = (
    # Qwen 3, DeepSeek, GLM, EXAONE, Nemotron, SmolLM3
    Marks("<think>", "</think>", shut="</think>\n"),
    # gpt-oss (harmony)
    Marks(
        "<|channel|>analysis<|message|>",
        "<|channel|>final<|message|>",
        end="<|end|>",
        shut="<|end|><|start|>assistant<|channel|>final<|message|>",
    ),
    Marks("<|channel>thought", "<channel|>"),  # Gemma 4
    Marks("<|START_THINKING|>", "<|END_THINKING|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>"),  # Command A
    Marks("[THINK]", "[/THINK]"),  # Magistral
    Marks("<seed:think>", "</seed:think>"),  # Seed-OSS
)


@dataclass(frozen=True)
class Said:
    """What a model said. answer: without its thoughts. start, end: where it stands in the text. within: the marks of
    the thoughts that the text ends in."""

    answer: str
    start: int
    end: int
    within: Marks | None = None


def answer_of(prompt: str, text: str) -> Said:
    """The part of a generated text that is the answer: what follows the thoughts, without the line feeds at its
    beginning; a text without marks of thoughts stays as it is."""
    start, thought = 0, False
    for marks in MARKS:
        if marks.close in text:
            start, thought = max(start, text.rindex(marks.close) + len(marks.close)), True
    ahead, behind = prompt.rstrip(), text.lstrip()
    opened = next((marks for marks in MARKS if behind.startswith(marks.open) or ahead.endswith(marks.open)), None)
    if opened and not thought:
        return Said("", len(text), len(text), opened)
    end = len(text)
    for marks in MARKS:
        if marks.begin and marks.begin in text[start:]:
            start, thought = text.index(marks.begin, start) + len(marks.begin), True
        if marks.end and (at := text.find(marks.end, start)) >= 0:
            end = min(end, at)
    if thought:
        start += len(text[start:end]) - len(text[start:end].lstrip("\n"))
    return Said(text[start:end], start, end)


def endings(known: str) -> tuple[str, ...]:
    """Texts at which thoughts end, of the families whose marks stand in `known` (a chat template and special tokens);
    of all, where none does."""
    families = [marks for marks in MARKS if marks.open in known or marks.close in known]
    return tuple(marks.until for marks in families or MARKS)


def kept_tokens(tokenizer: Any) -> tuple[str, ...]:
    """The special tokens of a tokenizer that mark thoughts: decoding must not drop them."""
    special = set(_special(tokenizer).values())
    families = (marks.tokens for marks in MARKS if any(token in marks.open for token in special))
    return tuple(dict.fromkeys(token for tokens in families for token in tokens if token in special))


def decoded(tokenizer: Any, ids: Sequence[int], keep: Sequence[str] = ()) -> str:
    """Text of ids without special tokens, those of `keep` excepted."""
    if not keep:
        return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))
    special = _special(tokenizer)
    left = [token for token in ids if special.get(token) in (None, *keep)]
    return str(tokenizer.decode(left, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _special(tokenizer: Any) -> dict[int, str]:
    """The special tokens that decoding drops. Tokenizers of mistral_common list no added tokens."""
    added = tokenizer.added_tokens_decoder
    if isinstance(added, Mapping):
        return {number: str(token) for number, token in added.items() if token.special}
    ids = tokenizer.all_special_ids
    return dict(zip(ids, map(str, tokenizer.convert_ids_to_tokens(ids)), strict=True))


SWITCH = re.compile(r"(enable_|use_|with_|do_)?(think|thinking|reasoning)")
NO_EFFORT = re.compile(r"reasoning_effort\b[^%}]*['\"]none['\"]")


def switches(source: str, thinking: bool) -> Mapping[str, Any]:
    """The variables that turn thinking on or off in a chat template, found among the names that it reads."""
    return dict(_switches(source, thinking))


def _switches(source: str, thinking: bool) -> Iterator[tuple[str, Any]]:
    from jinja2 import TemplateError, meta

    from darumeru.core.jinja import environment

    try:
        names = meta.find_undeclared_variables(environment().parse(source))
    except (TemplateError, RecursionError):
        return  # it is named when it is compiled
    for name in sorted(names):
        if SWITCH.fullmatch(name):
            yield name, thinking
        elif name == "reasoning_effort" and NO_EFFORT.search(source):
            yield name, "high" if thinking else "none"


def thinks(source: str) -> bool:
    """Whether a chat template knows of thoughts."""
    return bool(switches(source, True)) or any(marks.open in source or marks.close in source for marks in MARKS)
