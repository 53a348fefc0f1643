"""Which token ids stand for an answer of a closed set."""

from __future__ import annotations

from collections.abc import Sequence

from darumeru.core.errors import UserError
from darumeru.engines.request import MultipleChoice
from darumeru.prompts.builder import PromptBuilder


def spellings(builder: PromptBuilder, choices: Sequence[str], top_k: int | None) -> MultipleChoice:
    """Each choice stands for its own id, if it is one token, and for the first id of " " + choice.

    A lone space token before the choice is skipped (it begins every choice alike). An id that two choices share
    tells them apart no more and is dropped; UserError when a choice has no id of its own.
    """
    found = [_ids(builder, choice) for choice in choices]
    distinct: list[tuple[int, ...]] = []
    for number, ids in enumerate(found):
        others = {i for other, theirs in enumerate(found) if other != number for i in theirs}
        distinct.append(tuple(i for i in ids if i not in others))
    for choice, own in zip(choices, distinct, strict=True):
        if not own:
            shared = " and ".join(
                repr(c) for c, theirs in zip(choices, found, strict=True) if set(theirs) & set(_ids(builder, choice))
            )
            raise UserError(
                f"the choices {shared} begin with the same token, so one next token cannot tell them apart", "tokenizer"
            )
    return MultipleChoice(tuple(choices), tuple(distinct), top_k)


def _ids(builder: PromptBuilder, choice: str) -> list[int]:
    alone = builder.tokens(choice)
    ids = alone[:1] if len(alone) == 1 else []
    spaced = builder.tokens(" " + choice)
    while len(spaced) > 1 and not builder.tokenizer.decode([spaced[0]]).strip():
        spaced = spaced[1:]
    return list(dict.fromkeys([*ids, *spaced[:1]]))


def continuation(
    builder: PromptBuilder, prompt: str, choices: Sequence[str], top_k: int | None
) -> tuple[str, MultipleChoice]:
    """The rule of the program of 2024: tokenize prompt + " " + choice (no space after a line feed) and take the id
    that follows the prompt's. When a lone space token comes first, the prompt gets the space. Returns the prompt."""
    space = "" if prompt.endswith("\n") else " "
    base = builder.ids([prompt])[0]
    whole = [builder.ids([prompt + space + choice])[0] for choice in choices]
    following = [_after(base, ids) for ids in whole]
    lone = [bool(rest) and not builder.tokenizer.decode([rest[0]]).strip() and len(rest) > 1 for rest in following]
    if space and all(lone):
        return prompt + " ", MultipleChoice(tuple(choices), tuple((rest[1],) for rest in following), top_k)
    return prompt, MultipleChoice(tuple(choices), tuple(tuple(rest[:1]) for rest in following), top_k)


def _after(base: Sequence[int], whole: Sequence[int]) -> Sequence[int]:
    shared = 0
    while shared < min(len(base), len(whole)) and base[shared] == whole[shared]:
        shared += 1
    return whole[shared:]
