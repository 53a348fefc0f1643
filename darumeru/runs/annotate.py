"""From raw answers to what metrics read: thoughts taken off, texts parsed. Pure, so that it can be done again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from darumeru.core.answer import Answer
from darumeru.core.registry import Registry
from darumeru.prompts.thoughts import answer_of
from darumeru.runs.annotation import Annotation

STILL_THINKING, THOUGHTS_CUT = "still_thinking", "thoughts_cut"
THOUGHT_TOKENS, ANSWER_TOKENS = "thought_tokens", "answer_tokens"


# An annotator: from the prompt's text and the annotation so far to the next one.
Annotator = Callable[[str, Annotation], Annotation]

PATTERN = "pattern"
ANNOTATORS: Registry[Annotator] = Registry(
    "darumeru.annotators",
    "annotator",
    {"thoughts": "darumeru.runs.annotate:without_thoughts", "first_line": "darumeru.runs.parsers:first_line"},
)


def annotator(name: str) -> Annotator:
    """The annotator of that name, or "pattern:REGEX"; UserError with the nearest names when there is none."""
    kind, colon, source = name.partition(":")
    if kind != PATTERN or not colon:
        return ANNOTATORS.get(name)
    from darumeru.runs.parsers import compiled, pattern

    compiled(source)
    return partial(pattern, source)


def annotated(prompt: str, raw: Answer, names: Sequence[str], stop: Sequence[str] = ()) -> Annotation:
    """A raw answer after the annotators of these names, one after the other."""
    cut = (THOUGHTS_CUT,) if raw.extra.get(THOUGHTS_CUT) else ()
    found = Annotation(raw, notes=cut, stop=tuple(stop))
    for name in names:
        found = annotator(name)(prompt, found)
    return found


def annotators_of(method: str, more: Sequence[str] = ()) -> tuple[str, ...]:
    """The annotators of a task: thoughts are taken off generated texts, then come the task's own."""
    return ("thoughts", *more) if method == "generate" else tuple(more)


def without_thoughts(prompt: str, found: Annotation) -> Annotation:
    """Keeps what a thinking model says after its thoughts, up to the first text that ends an answer; a text without
    marks of thoughts stays as it is, and one that ends within them is empty and noted as still thinking."""
    answer = found.answer
    if answer.text is None:
        return found
    said = answer_of(prompt, answer.text)
    if said.within:
        return replace(found, answer=replace(answer, text="", tokens=()), notes=(*found.notes, STILL_THINKING))
    text, tokens = said.answer, answer.tokens
    if THOUGHT_TOKENS in answer.extra and tokens is not None:
        start = int(answer.extra[THOUGHT_TOKENS])
        tokens = tokens[start : start + int(answer.extra.get(ANSWER_TOKENS, len(tokens)))]
    if any(stop in text for stop in found.stop):
        text = text.lstrip("\n")
        text = text[: min((text.find(stop) for stop in found.stop if stop in text), default=len(text))]
    return replace(found, answer=replace(answer, text=text, tokens=tokens))


def thought_counter(decode: Callable[[Sequence[int]], str]) -> Callable[[Answer], Answer]:
    """A function that notes on an answer with thoughts how many of its tokens they take and how many the answer that
    follows, which needs the tokenizer and so is done when the answer arrives. decode: text of token ids, marks of
    thoughts included."""

    def counted(answer: Answer) -> Answer:
        if answer.text is None or not answer.tokens:
            return answer
        said = answer_of("", answer.text)
        if said.within or said.answer == answer.text:
            return answer
        start, end = (_fewest(decode, answer.tokens, length) for length in (said.start, said.end))
        return replace(answer, extra={**answer.extra, THOUGHT_TOKENS: float(start), ANSWER_TOKENS: float(end - start)})

    return counted


def _fewest(decode: Callable[[Sequence[int]], str], tokens: Sequence[int], length: int) -> int:
    """The fewest leading tokens that say so many characters."""
    low, high = 0, len(tokens)
    while low < high:
        middle = (low + high) // 2
        if len(decode(tokens[:middle])) >= length:
            high = middle
        else:
            low = middle + 1
    return low
