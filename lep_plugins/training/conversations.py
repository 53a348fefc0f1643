"""Conversations for calibration and the JSONL files that they lie in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.core.files import content_hash, has_half_character, write_atomically
from darumeru.core.message import Message

ROLES = {"system": "system", "user": "user", "assistant": "assistant", "human": "user", "bot": "assistant"}
"""Role names in files -> roles of chat templates ("bot" is what saiga_scored and its kin write)."""
ANSWERS = ("output", "answer", "response")
SHAPE = 'a record is {"messages": [{"role": ..., "content": ...}, ...]} or {"instruction": ..., "output": ...}'


@dataclass(frozen=True)
class Conversation:
    """Messages, a system message first if there is one. source: where it comes from ("synthesis", "data", "copy")."""

    messages: tuple[Message, ...]
    source: str = "data"

    @property
    def key(self) -> str:
        """Hash over the messages."""
        return content_hash([[message.role, message.content] for message in self.messages])

    @property
    def answer(self) -> str:
        """The last message's text."""
        return self.messages[-1].content

    @property
    def question(self) -> str:
        """All before the last message as text, the roles named when there is more than one message."""
        before = self.messages[:-1]
        if len(before) == 1:
            return before[0].content
        return "\n\n".join(f"{message.role}: {message.content}" for message in before)

    def answered(self, text: str, source: str) -> Conversation:
        """The conversation with one more assistant message."""
        return Conversation((*self.messages, Message("assistant", text)), source)

    def line(self) -> str:
        """The conversation as one JSON line."""
        messages = [{"role": message.role, "content": message.content} for message in self.messages]
        return json.dumps({"messages": messages, "source": self.source}, ensure_ascii=False) + "\n"


def read_prompts(path: Path) -> list[Conversation]:
    """The questions of a JSONL file: each record up to its last user message (answers in it are left out). A question
    that stands there twice is returned once. UserError: no file, not JSONL, a record without messages or instruction,
    no record."""
    questions: dict[str, Conversation] = {}
    for where, record in _records(path):
        messages = list(_messages(where, record))
        while messages and messages[-1].role != "user":
            messages.pop()
        if not messages:
            raise UserError("a record without a user message", where, SHAPE)
        question = Conversation(tuple(messages), "prompt")
        questions.setdefault(question.key, question)
    return list(questions.values())


def read_conversations(path: Path) -> list[Conversation]:
    """The answered conversations of a JSONL file, each ending in an assistant message (later ones are cut off).
    UserError: no file, not JSONL, a record without messages or instruction or without an answer, no record."""
    return [_answered(where, _messages(where, record)) for where, record in _records(path)]


def write_conversations(path: Path, conversations: Iterable[Conversation]) -> None:
    """Write a JSONL file, atomically."""
    write_atomically(path, "".join(conversation.line() for conversation in conversations))


def _answered(where: str, read: Iterable[Message]) -> Conversation:
    messages = list(read)
    while messages and messages[-1].role != "assistant":
        messages.pop()
    if len(messages) < 2 or all(message.role != "user" for message in messages):
        raise UserError("a record without a question and its answer", where, SHAPE)
    return Conversation(tuple(messages))


def _records(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(file and line, record)."""
    if not path.is_file():
        raise UserError("no such data file", str(path))
    number = 0
    with path.open("rb") as file:
        for line_number, raw in enumerate(file, 1):
            where = f"{path}, line {line_number}"
            if not raw.strip():
                continue
            try:
                record = json.loads(raw.decode("utf-8-sig"))
            except (ValueError, RecursionError) as error:
                raise UserError(f"not JSONL: {error}", where, "one JSON object a line") from error
            if not isinstance(record, dict):
                raise UserError("not JSONL: the line holds no object", where, "one JSON object a line")
            if has_half_character(record):
                raise UserError("holds half a character (a lone surrogate)", where, "leave the line out")
            number += 1
            yield where, record
    if not number:
        raise UserError("the data file holds no record", str(path))


def _messages(where: str, record: Mapping[str, Any]) -> Iterator[Message]:
    if "messages" in record:
        listed = record["messages"]
        if not isinstance(listed, list) or not listed:
            raise UserError("`messages` is not a list of messages", where, SHAPE)
        yield from (_message(where, each) for each in listed)
        return
    question = record.get("instruction", record.get("prompt"))
    if not isinstance(question, str) or not question.strip():
        raise UserError("a record without messages or instruction", where, SHAPE)
    if record.get("system"):
        yield Message("system", str(record["system"]))
    more = record.get("input")
    yield Message("user", f"{question}\n\n{more}" if isinstance(more, str) and more.strip() else question)
    answer = next((record[name] for name in ANSWERS if isinstance(record.get(name), str)), None)
    if answer is not None:
        yield Message("assistant", answer)


def _message(where: str, value: Any) -> Message:
    role = ROLES.get(str(value.get("role"))) if isinstance(value, dict) else None
    if role is None or not isinstance(value.get("content"), str):
        mend = f"role (one of {', '.join(ROLES)}) and content, both text"
        raise UserError("a message without role or content", where, mend)
    return Message(role, value["content"])
