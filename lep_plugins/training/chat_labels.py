"""Token ids of a conversation with labels on what the assistant says and on the token that ends it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from darumeru.core.errors import UserError
from darumeru.core.message import Message
from darumeru.prompts.builder import PromptBuilder

IGNORED = -100
"""The label of a token without loss."""

# Stand around the assistant's words while the whole conversation is rendered once. Templates trim white space, never
# letters; rendering message by message would repeat default system prompts.
_BEGIN, _END = "dArUsAyBeGiN", "dArUsAyEnD"
_MARKED = re.compile(f"{_BEGIN}(.*?){_END}", re.DOTALL)


@dataclass(frozen=True)
class Labelled:
    """ids: what `apply_chat_template` gives for the whole conversation (with exactly one BOS where the tokenizer has
    it). labels: the same ids where they count for the loss, else -100. ends: whether every assistant message is
    followed by a special token that the loss covers."""

    ids: list[int]
    labels: list[int]
    ends: bool


class ChatLabeller:
    """Turns conversations into ids and labels for one tokenizer (a transformers tokenizer with a chat template)."""

    def __init__(self, tokenizer: Any, where: str) -> None:
        """where: names the model in errors. UserError: no chat template, no fast tokenizer."""
        self.tokenizer = tokenizer
        self.where = where
        self.builder = PromptBuilder(tokenizer)
        if not self.builder.is_chat:
            mend = "calibrate an instruct model, or give the tokenizer a chat_template"
            raise UserError("the model has no chat template", where, mend)
        if not tokenizer.is_fast:
            raise UserError("the tokenizer gives no character positions", where, "save it with a tokenizer.json")
        self._special = {token_id for token_id, token in tokenizer.added_tokens_decoder.items() if token.special} | set(
            tokenizer.all_special_ids
        )

    def labelled(self, messages: Sequence[Message]) -> Labelled:
        """UserError: the template refuses the conversation or changes what the assistant says."""
        text, spans = self._spans(messages)
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids, offsets = list(encoded["input_ids"]), list(encoded["offset_mapping"])
        counted, ends = [False] * len(ids), True
        for begin, end in spans:
            inside = [place for place, (start, stop) in enumerate(offsets) if start < end and stop > begin]
            last = (
                inside[-1]
                if inside
                else next((place for place, (start, _) in enumerate(offsets) if start >= end), len(ids)) - 1
            )
            stop_token = self._end_token(text, ids, offsets, last)
            ends &= stop_token is not None
            for place in (*inside, *range(last + 1, (stop_token or last) + 1)):
                counted[place] = True
        labels = [token_id if counts else IGNORED for token_id, counts in zip(ids, counted, strict=True)]
        final = self.builder.ids([text])[0]
        moved = len(final) - len(ids)  # BOS put in front, or repeated ones taken away
        return Labelled(final, [IGNORED] * moved + labels[max(-moved, 0) :], ends)

    def _end_token(self, text: str, ids: Sequence[int], offsets: Sequence[tuple[int, int]], last: int) -> int | None:
        """The place of the special token that follows `last`, only white space between; None when there is none."""
        for place in range(last + 1, len(ids)):
            if ids[place] in self._special:
                return place
            if text[offsets[place][0] : offsets[place][1]].strip():
                return None
        return None

    def _spans(self, messages: Sequence[Message]) -> tuple[str, list[tuple[int, int]]]:
        """The rendered conversation and where in it the assistant's words are, in characters."""
        plain = self._rendered(messages)
        marked = self._rendered([_marked(message) for message in messages])
        spans, taken, pieces, at = [], 0, [], 0
        for match in _MARKED.finditer(marked):
            pieces += [marked[at : match.start()], match[1]]
            begin = match.start() - taken
            spans.append((begin, begin + len(match[1])))
            taken += len(_BEGIN) + len(_END)
            at = match.end()
        pieces.append(marked[at:])
        said = sum(message.role == "assistant" for message in messages)
        if "".join(pieces) != plain or len(spans) != said:
            raise UserError("the chat template changes or leaves out what the assistant says", self.where)
        return plain, spans

    def _rendered(self, messages: Sequence[Message]) -> str:
        import jinja2

        shown = [{"role": message.role, "content": message.content} for message in messages]
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    shown, tokenize=False, chat_template=self.builder.template.source, enable_thinking=False
                )
            )
        except jinja2.TemplateError as error:
            roles = ", ".join(dict.fromkeys(message.role for message in messages))
            raise UserError(f"the chat template refuses messages of the roles {roles}: {error}", self.where) from error


def _marked(message: Message) -> Message:
    """White space around an answer stays outside the marks: what a template trims, it trims with them too."""
    if message.role != "assistant":
        return message
    words = message.content.strip()
    before, _, after = message.content.partition(words) if words else ("", "", message.content)
    return Message(message.role, f"{before}{_BEGIN}{words}{_END}{after}")
