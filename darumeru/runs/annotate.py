"""From raw answers to what metrics read: thoughts taken off, texts parsed. Pure, so that it can be done again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from darumeru.core.answer import Answer
from darumeru.core.registry import Registry

STILL_THINKING = "still_thinking"
THOUGHT_TOKENS = "thought_tokens"
OPEN, CLOSE = "<think>", "</think>"


@dataclass(frozen=True)
class Annotation:
    """answer: what metrics read. notes: what was found on the way, for rates and readers."""

    answer: Answer
    notes: tuple[str, ...] = ()


# An annotator: from the prompt's text and the annotation so far to the next one.
Annotator = Callable[[str, Annotation], Annotation]

ANNOTATORS: Registry[Annotator] = Registry(
    "darumeru.annotators", "annotator", {"thoughts": "darumeru.runs.annotate:without_thoughts"}
)


def annotated(prompt: str, raw: Answer, names: Sequence[str]) -> Annotation:
    """A raw answer after the annotators of these names, one after the other."""
    found = Annotation(raw)
    for name in names:
        found = ANNOTATORS.get(name)(prompt, found)
    return found


def annotators_of(method: str, more: Sequence[str] = ()) -> tuple[str, ...]:
    """The annotators of a task: thoughts are taken off generated texts, then come the task's own."""
    return ("thoughts", *more) if method == "generate" else tuple(more)


def without_thoughts(prompt: str, found: Annotation) -> Annotation:
    """Keeps what a thinking model says after its thoughts; a text without their marks stays as it is, and one whose
    budget ended inside them is empty and noted as still thinking."""
    answer = found.answer
    if answer.text is None:
        return found
    if CLOSE in answer.text:
        text = answer.text.rpartition(CLOSE)[2].lstrip("\n")
        tokens = answer.tokens and answer.tokens[int(answer.extra.get(THOUGHT_TOKENS, 0)) :]
        return Annotation(replace(answer, text=text, tokens=tokens), found.notes)
    if answer.text.lstrip().startswith(OPEN) or prompt.rstrip().endswith(OPEN):
        return Annotation(replace(answer, text="", tokens=()), (*found.notes, STILL_THINKING))
    return found


def thought_counter(decode: Callable[[Sequence[int]], str]) -> Callable[[Answer], Answer]:
    """A function that notes on an answer with thoughts how many of its tokens they take, which needs the tokenizer and
    so is done when the answer arrives. decode: text of token ids."""

    def counted(answer: Answer) -> Answer:
        if answer.text is None or not answer.tokens or CLOSE not in answer.text:
            return answer
        rest = answer.text.rpartition(CLOSE)[2].lstrip("\n")
        # The fewest leading tokens after which only the rest is left to be said.
        low, high = 0, len(answer.tokens)
        while low < high:
            middle = (low + high) // 2
            if len(decode(answer.tokens[:middle])) >= len(answer.text) - len(rest):
                high = middle
            else:
                low = middle + 1
        extra: Mapping[str, float] = {**answer.extra, THOUGHT_TOKENS: float(low)}
        return replace(answer, extra=extra)

    return counted
