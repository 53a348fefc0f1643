"""What the rules keep and what they reject, on texts like those that models write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from darumeru.core.errors import UserError
from lep_plugins.training.filters import filter_registry, make_filters, run_filters
from lep_plugins.training.filters.rules import RulesFilter, has_loop, letter_share, repeated_share
from tests.calibration.models import pair, silent

GOOD = (
    "Байкал - самое глубокое озеро на Земле: его глубина достигает 1642 метров. Озеро лежит на юге Восточной Сибири, "
    "и в нём содержится около пятой части мировых запасов пресной воды. В Байкал впадает более трёхсот рек, "
    "а вытекает только одна - Ангара."
)
LIST = "Чтобы сварить борщ:\n" + "\n".join(
    f"{number}. {step}."
    for number, step in enumerate(("Нарежьте свёклу", "Нарежьте капусту", "Нарежьте лук", "Варите"), 1)
)
CODE = "Функция складывает два числа и возвращает сумму:\n```python\ndef add(a, b):\n    return a + b\n```"
TABLE = "| Город | Население |\n|------------------------|------------------------|\n| Москва | 13 миллионов |"
POEM = "Ветер, ветер! Ты могуч, ты гоняешь стаи туч, ты волнуешь сине море, всюду веешь на просторе."
ENGLISH = "The lake lies in the south of eastern Siberia and holds a fifth of the fresh water of the world."


@pytest.mark.parametrize("text", [GOOD, LIST, CODE, TABLE, POEM, "42", "Да.", "10000000000000000000000"])
def test_proper_answers_are_kept(text: str) -> None:
    assert RulesFilter().reason(text) == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (ENGLISH, "language"),
        (f"Озеро Байкал. {ENGLISH}", "language"),
        ("Озеро находится в Сибири. " * 4, "repetition"),
        (GOOD + " и так далее" * 12, "repetition"),
        (f"{GOOD} {GOOD}", "repetition"),
        ("Конечно! " + "ха" * 30, "repetition"),
        ("да " * 9, "repetition"),
        ("   ", "too short"),
        ("ё" + "абвгд жзик лмно " * 2000, "too long"),
    ],
)
def test_bad_answers_are_rejected_with_their_reason(text: str, reason: str) -> None:
    assert RulesFilter().reason(text) == reason


def test_english_is_a_language_too() -> None:
    assert RulesFilter(language="en").reason(ENGLISH) == ""
    assert RulesFilter(language="en").reason(GOOD) == "language"
    assert RulesFilter(language="any").reason(ENGLISH) == RulesFilter(language="any").reason(GOOD) == ""


def test_the_measures_have_the_values_they_state() -> None:
    assert letter_share("абвгд abcde", "ru") == 0.5 and letter_share("abc", "ru") == 1.0
    assert has_loop([*"abcabcabc"], 3) and not has_loop([*"abcabcabd"], 3)
    assert not has_loop(["да"] * 7, 4) and has_loop(["да"] * 8, 4)  # eight words at least
    assert repeated_share([*"abcdxabcd"], 4) == pytest.approx(4 / 9)
    assert repeated_share([*"abc"], 4) == 0.0


def test_rejections_are_counted_by_filter_and_reason(tmp_path: Path) -> None:
    asked = [pair("Вопрос", text) for text in (GOOD, ENGLISH, "да " * 9, LIST, ENGLISH)]
    filtered = run_filters(make_filters(["rules"], {"rules": {"language": "ru"}}), asked, tmp_path, silent)
    assert [each.answer for each in filtered.kept] == [GOOD, LIST]
    assert filtered.rejected == {"rules: language": 2, "rules: repetition": 1}


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["ruls"], {}, "unknown filter `ruls`; did you mean rules?"),
        (["rules"], {"rules": {"langage": "ru"}}, "has no parameter `langage`; did you mean language"),
        (["rules"], {"judge": {"url": "x"}}, "filter `judge`, which is not used"),
        (["rules"], {"rules": {"loop": "four"}}, "must be a whole number"),
    ],
)
def test_wrong_filters_are_one_clear_line(names: list[str], options: dict[str, dict[str, str]], message: str) -> None:
    with pytest.raises(UserError) as caught:
        make_filters(names, options)
    assert message in caught.value.line() and "\n" not in caught.value.line()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"language": "rus"}, "unknown language `rus`; did you mean ru?"),
        ({"language_share": 50}, "a share from 0 to 1"),
        ({"loop": 1}, "loop is at least 2"),
    ],
)
def test_rules_that_make_no_sense_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        RulesFilter(**given)
    assert message in caught.value.line()


def test_both_filters_are_registered() -> None:
    assert {"rules", "judge"} <= set(filter_registry().names())
