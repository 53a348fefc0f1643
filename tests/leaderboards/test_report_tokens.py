"""Token boundaries in stored texts: exact, or not offered at all."""

from __future__ import annotations

from typing import Any

import pytest

from darumeru.leaderboard.report_tokens import Tokenized, answer_lengths, prompt_lengths
from tests.leaderboards.made_runs import copied
from tests.tiny_models import make_tokenizer

TEXTS = ("Кошка спит на окне, а собака ждёт.", "Дождь 🦊 шёл\n\n весь  день!", "The fox 中文 jumps")


@pytest.fixture(params=["bytelevel", "sentencepiece"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return make_tokenizer(request.param)


def ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("text", TEXTS)
def test_prompts_have_a_length_for_each_token(tokenizer: Any, text: str) -> None:
    count = len(ids(tokenizer, text))
    for counted in (count, count + 1):  # with a BOS that the text does not show
        lengths = prompt_lengths(tokenizer, text, counted)
        assert len(lengths) == count and sum(lengths) == len(text)
    assert prompt_lengths(tokenizer, text, count + 2) == []
    assert prompt_lengths(tokenizer, text, count - 1) == []


@pytest.mark.parametrize("text", TEXTS)
def test_generated_tokens_have_a_length_each(tokenizer: Any, text: str) -> None:
    lengths = answer_lengths(tokenizer, text, ids(tokenizer, text))
    assert len(lengths) == len(ids(tokenizer, text)) and sum(lengths) == len(text)


def test_an_answer_in_other_tokens_than_the_tokenizer_would_choose() -> None:
    tokenizer = make_tokenizer("bytelevel")
    text = "кошка 🦊"
    letters = [token for letter in text for token in ids(tokenizer, letter)]
    assert letters != ids(tokenizer, text)
    lengths = answer_lengths(tokenizer, text, letters)
    assert len(lengths) == len(letters) and sum(lengths) == len(text)
    assert lengths[-1] == 1 and 0 in lengths[-4:]  # the fox takes several tokens, the last one shows it


def test_a_stop_string_cuts_tokens_off() -> None:
    tokenizer = make_tokenizer("bytelevel")
    whole = ids(tokenizer, "Кошка спит") + ids(tokenizer, "\n\nВопрос")
    lengths = answer_lengths(tokenizer, "Кошка спит", whole)
    assert sum(lengths) == len("Кошка спит") and len(lengths) <= len(whole)


def test_tokens_of_another_text_give_nothing() -> None:
    tokenizer = make_tokenizer("bytelevel")
    assert answer_lengths(tokenizer, "Кошка", ids(tokenizer, "собака лежит у двери")) == []


def test_prompts_past_the_budget_of_their_task_are_left_out() -> None:
    tokenizer = make_tokenizer("bytelevel")
    count = len(ids(tokenizer, TEXTS[0]))
    row = copied("t", "1", "x", "да", TEXTS[0], prompt_tokens=count, tokens=tuple(ids(tokenizer, "да")))
    task = Tokenized(tokenizer, tasks=2, budget=4 * count + 2).for_task(3)
    assert [sorted(task.mark(row)) for _ in range(3)] == [["answer", "prompt"], ["answer", "prompt"], ["answer"]]
