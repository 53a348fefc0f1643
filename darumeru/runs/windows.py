"""A whole text as requests: windows in which every token is scored once, with what stands before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from darumeru.core.answer import Answer
from darumeru.core.errors import TaskRefused
from darumeru.engines.request import LogLikelihood, Request
from darumeru.prompts.builder import PromptBuilder


@dataclass(frozen=True)
class Windows:
    """Joins the windows of one text: log-probabilities of all its tokens, in order."""

    name: str = "windows"

    later = frozenset[type]()

    def solve(self, requests: Sequence[Request]) -> Generator[Sequence[Request], Sequence[Answer], Answer]:
        answers = yield requests
        logprobs = tuple(value for answer in answers for value in answer.logprobs or ())
        return Answer(logprobs=logprobs, seconds=sum(answer.seconds for answer in answers))


def window_requests(builder: PromptBuilder, text: str, most: int) -> list[Request]:
    """Requests without keys that score each token of `text` once.

    A window has at most `most` tokens: BOS (EOS where a tokenizer has no BOS), then tokens of the text as context, then
    those that are scored. The first window has no context, every other one half a window of it. TaskRefused: a
    tokenizer that does not give the text back, so that other bytes would be scored than are counted.
    """
    ids = builder.tokens(text)
    _check_whole(builder, text, ids)
    first = builder.tokenizer.bos_token_id
    first = builder.tokenizer.eos_token_id if first is None else first
    if first is None:
        raise TaskRefused("the tokenizer has neither BOS nor EOS for a text to begin after", "tokenizer_config.json")
    return [
        Request((first, *ids[low:start]), LogLikelihood(tuple(ids[start:stop])))
        for low, start, stop in _spans(len(ids), most)
    ]


def _spans(count: int, most: int) -> Iterator[tuple[int, int, int]]:
    """(where the context begins, where scoring begins, where it ends) of windows over `count` tokens."""
    context = most // 2
    start, stop = 0, min(count, most - 1)
    yield 0, start, stop
    while stop < count:
        start, stop = stop, min(count, stop + most - 1 - context)
        yield start - context, start, stop


def _check_whole(builder: PromptBuilder, text: str, ids: Sequence[int]) -> None:
    back = builder.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    if back == text:
        return
    lost = sum(len(letter.encode("utf-8")) * count for letter, count in (Counter(text) - Counter(back)).items())
    raise TaskRefused(
        f"the tokenizer does not give the text back ({lost} of {len(text.encode('utf-8'))} bytes are lost or changed)",
        mend="bits per byte compare only tokenizers that keep every text",
    )
