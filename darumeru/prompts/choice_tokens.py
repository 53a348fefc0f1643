"""Which token ids stand for an answer of a closed set after a prompt (docs/metrics.md, "Probability of an answer")."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from darumeru.core.errors import TaskRefused
from darumeru.prompts.builder import PromptBuilder

Ids = tuple[int, ...]

# Characters of a prompt's end that decide how a tokenizer cuts what follows.
ENDING = 64


@dataclass(frozen=True)
class Spelled:
    """spellings[i]: the token ids in which choice i may be said, its probability being that of the most probable one.
    space: what the prompt takes at its end before it is asked, "" or " "."""

    spellings: tuple[tuple[Ids, ...], ...]
    space: str = ""

    @property
    def single(self) -> bool:
        """Whether each spelling is one token, so that one request answers."""
        return all(len(ids) == 1 for ids in self._all)

    @property
    def _all(self) -> tuple[Ids, ...]:
        return tuple(ids for spellings in self.spellings for ids in spellings)


def whole(builder: PromptBuilder, ending: str, choices: Sequence[str]) -> Spelled:
    """The whole answer counts, with or without a space before it, whichever is more probable.

    Where each choice begins with a lone space token, the prompt takes that space. A way of spelling (with the space,
    without) in which each choice is one token makes the other way, if it needs more, not count: all choices are
    compared by the same rule. TaskRefused for choices that the tokenizer does not tell apart.
    """
    bare, spaced = (_after(builder, ending, lead, choices) for lead in ("", " "))
    ways = [bare, spaced]
    if all(len(ids) > 1 and _is_space(builder, ids[0]) for ids in spaced):
        if not ending[-1:].isspace():
            rest = tuple((ids[1:],) for ids in spaced)
            return _distinct(Spelled(rest, " "), choices)
        ways = [bare]
    single = [way for way in ways if all(len(ids) == 1 for ids in way)]
    together = tuple(tuple(dict.fromkeys(ids)) for ids in zip(*(single or ways), strict=True))
    return _distinct(Spelled(together), choices)


def first_token(builder: PromptBuilder, ending: str, choices: Sequence[str]) -> Spelled:
    """The authors' current rule to the letter: the choice's own id, if it is one token, and the first id of " " +
    choice, both tokenized by themselves. Choices that begin with the same token tie."""
    found = []
    for choice in choices:
        alone, spaced = builder.tokens(choice), builder.tokens(" " + choice)
        ids = [*(alone if len(alone) == 1 else ()), *spaced[:1]]
        found.append(tuple((token,) for token in dict.fromkeys(ids)))
    return Spelled(tuple(found))


def continuation(builder: PromptBuilder, ending: str, choices: Sequence[str]) -> Spelled:
    """The rule of the program of 2024: tokenize prompt + " " + choice (no space after a line feed) and take the id
    that follows the prompt's. When a lone space token comes first, the prompt gets the space."""
    space = "" if ending.endswith("\n") else " "
    base = builder.tokens(ending)
    following = [_behind(base, builder.tokens(ending + space + choice)) for choice in choices]
    lone = bool(space) and all(len(rest) > 1 and _is_space(builder, rest[0]) for rest in following)
    return Spelled(tuple((tuple(rest[lone : lone + 1]),) for rest in following), " " if lone else "")


RULES: Mapping[str, Callable[[PromptBuilder, str, Sequence[str]], Spelled]] = {
    "whole": whole,
    "first_token": first_token,
    "continuation": continuation,
}


def _after(builder: PromptBuilder, ending: str, lead: str, choices: Sequence[str]) -> list[Ids]:
    """Ids of lead + choice as they follow the prompt's own; where the tokenizer draws the prompt's last token into
    them, those of lead + choice alone."""
    base = builder.tokens(ending)
    found = []
    for choice in choices:
        joined = builder.tokens(ending + lead + choice)
        kept = joined[: len(base)] == base and len(joined) > len(base)
        found.append(tuple(joined[len(base) :] if kept else builder.tokens(lead + choice)))
    return found


def _behind(base: Sequence[int], joined: Sequence[int]) -> Sequence[int]:
    shared = 0
    while shared < min(len(base), len(joined)) and base[shared] == joined[shared]:
        shared += 1
    return joined[shared:]


def _is_space(builder: PromptBuilder, token: int) -> bool:
    return not builder.tokenizer.decode([token]).strip()


def _distinct(spelled: Spelled, choices: Sequence[str]) -> Spelled:
    seen: dict[Ids, int] = {}
    for number, spellings in enumerate(spelled.spellings):
        for ids in spellings:
            other = seen.setdefault(ids, number)
            if other != number or not ids:
                raise TaskRefused(f"writes the choices {choices[other]!r} and {choices[number]!r} alike", "tokenizer")
    return spelled
