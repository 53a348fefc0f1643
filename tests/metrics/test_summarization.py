"""ROUGE over normal forms of Russian words."""

from __future__ import annotations

import pytest

from darumeru.metrics import metric
from darumeru.metrics.summarization import NormalForms, normal_form, rouge
from tests.metrics.rows import said


def test_words_are_reduced_to_their_normal_forms_and_punctuation_to_spaces() -> None:
    assert NormalForms().tokenize("Кошки-мышки, КОТОРЫЕ жили\nв «домах»: 3 штуки!") == [
        *("кошка", "мышка", "который", "жить"),
        *("в", normal_form("«домах»"), "3", "штука"),
    ]


def test_scores_by_hand() -> None:
    # Normal forms: кот сидеть на окно | кот лежать на крыша.
    row = said("Коты лежат на крышах", "Кот сидел на окне")
    assert metric("rouge12_recall").values(row)["rouge12_recall"] == pytest.approx((2 / 4 + 0 / 3) / 2)
    assert metric("rougeL_f1").values(row)["rougeL_f1"] == pytest.approx(2 / 4)


def test_recall_forgives_length_and_f1_does_not() -> None:
    row = said("Кот сидел на окне и долго смотрел на двор", "Кот сидел на окне")
    assert metric("rouge12_recall").values(row)["rouge12_recall"] == 1
    one, two = 2 * 4 / (4 + 9), 2 * 3 / (3 + 8)
    assert metric("rouge12_f1").values(row)["rouge12_f1"] == pytest.approx((one + two) / 2)
    assert metric("rougeL_f1").values(row)["rougeL_f1"] == pytest.approx(one)


def test_inflection_does_not_matter() -> None:
    ((_, recall, f1),) = rouge("старая красная деревня", "старой красной деревни", ("rougeL",))
    assert (recall, f1) == (1, 1)


@pytest.mark.parametrize("name", ["rouge12_recall", "rouge12_f1", "rougeL_f1"])
def test_an_answer_without_words_scores_zero(name: str) -> None:
    for text in ("", "...", " \n"):
        assert metric(name).values(said(text, "Кот сидел на окне"))[name] == 0
        assert metric(name).unparsed(said(text, "Кот сидел на окне"))
    rows = [said("", "кот спит", "0"), said("кот спит", "кот спит", "1")]
    assert metric(name).statistic(rows).value == 0.5
