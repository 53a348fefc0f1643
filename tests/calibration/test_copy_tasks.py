"""Copy tasks: the answer is the text, whole paragraphs, the same for the same seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from darumeru.core.errors import UserError
from lep_plugins.training.copy_tasks import REQUESTS, CopyTasks

TASKS = CopyTasks(count=20, min_tokens=10, max_tokens=40)


def documents(count: int = 60) -> list[str]:
    random = np.random.default_rng(5)
    words = ["кошка", "собака", "окно", "дверь", "река", "город", "книга", "дождь", "министр", "учёный", "вопрос"]

    def sentence() -> str:
        return " ".join(random.choice(words, size=int(random.integers(4, 12)))).capitalize() + "."

    return ["\n".join(" ".join(sentence() for _ in range(3)) for _ in range(6)) for _ in range(count)]


def tokens(text: str) -> int:
    return len(text.split())


def made(tasks: CopyTasks = TASKS, seed: int = 0, texts: list[str] | None = None) -> list[tuple[str, str]]:
    found = tasks.make(documents() if texts is None else texts, tokens, np.random.default_rng(seed))
    return [(each.question, each.answer) for each in found]


def test_the_answer_is_the_text_and_the_text_is_of_the_corpus() -> None:
    corpus = documents()
    tasks = made()
    assert len(tasks) == 20
    for question, answer in tasks:
        request, text = question.split("\n\n", 1)
        assert request in REQUESTS["ru"] and text == answer
        assert any(answer in document for document in corpus)
        assert 10 <= tokens(answer) <= 40


def test_the_same_seed_gives_the_same_tasks_and_another_seed_others() -> None:
    assert made() == made() and made() != made(seed=1)
    assert len({answer for _, answer in made()}) == 20


def test_lengths_spread_between_the_limits() -> None:
    lengths = [tokens(answer) for _, answer in made(CopyTasks(100, 10, 60))]
    assert min(lengths) < 25 and max(lengths) > 45


def test_a_paragraph_that_is_too_long_is_cut_at_sentences() -> None:
    text = " ".join(f"Это предложение номер {number} в очень длинном абзаце." for number in range(50))
    assert all(answer.endswith(".") and answer[0] == "Э" for _, answer in made(texts=[text]))
    assert made(texts=["слово " * 500]) == []  # nothing to cut at


def test_a_small_corpus_gives_what_it_has_and_zero_gives_none() -> None:
    assert 0 < len(made(texts=documents(1))) < 20
    assert made(CopyTasks(0, 1, 1)) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((1, 1, 2, "russian"), "unknown language `russian`"),
        ((1, 5, 2), "copy_min_tokens <= copy_max_tokens"),
        ((-1, 1, 2), "copies is not negative"),
    ],
)
def test_tasks_that_make_no_sense_are_refused(given: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        CopyTasks(*given)
    assert message in caught.value.line()
