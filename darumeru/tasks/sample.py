"""One question of a task, before it becomes token ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from darumeru.core.message import Message

Conversation = tuple[Message, ...]


@dataclass(frozen=True)
class Sample:
    """One sample: several samples of one record share `cluster` (both orders of PARus, sentences of a document).

    conversation(k): the messages with k few-shot examples (or k turns of dialogue context), 0 <= k <= most; the last
    message is the user's, or an assistant message that is left open for the model to go on with. continuation: for
    method "loglikelihood", the text of the assistant message to be scored. target: plain JSON. meta: what metrics need.
    choices: of method "multiple_choice", the answers of this sample where they are not the task's. turns: of method
    "generate", what the user says next, each after the model's answer to the message before; the last answer counts.
    """

    task: str
    id: str
    cluster: str
    conversation: Callable[[int], Conversation]
    most: int
    target: Any
    meta: Mapping[str, Any] = field(default_factory=dict)
    continuation: str | None = None
    choices: tuple[str, ...] | None = None
    turns: tuple[str, ...] = ()
