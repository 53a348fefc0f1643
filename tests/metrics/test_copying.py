"""Copies: length in tokens, exactness in characters, density of tokens."""

from __future__ import annotations

from difflib import SequenceMatcher

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darumeru.core.errors import UserError
from darumeru.core.row import SampleRow
from darumeru.metrics import metric
from darumeru.metrics.copying import common_subsequence, is_exact_copy
from tests.metrics.rows import said

SENTENCE = "Съешь же ещё этих мягких французских булок, да выпей чаю; широкая электрификация южных губерний — дело. "


def exact(text: str, reference: str, name: str = "exact_copy_rate") -> float:
    return metric(name).values(said(text, reference))[name]


@pytest.mark.parametrize(("said_tokens", "wanted", "expected"), [(5, 10, 0.5), (10, 5, 0.5), (7, 7, 1.0), (0, 7, 0.0)])
def test_length_ratio_is_symmetric(said_tokens: int, wanted: int, expected: float) -> None:
    row = said("x" * said_tokens, "text", reference_tokens=wanted)
    assert metric("length_ratio").values(row)["length_ratio"] == expected


def test_blank_output_has_no_length() -> None:
    row = said("   ", "text", reference_tokens=3)
    assert metric("length_ratio").values(row)["length_ratio"] == 0
    assert metric("length_ratio").unparsed(row)


def test_an_engine_without_token_ids_is_named_as_the_cause() -> None:
    row = said("text", "text", reference_tokens=1)
    blind = SampleRow(**{**row.__dict__, "answer": type(row.answer)(text="text")})
    with pytest.raises(UserError, match="no token ids"):
        metric("length_ratio").values(blind)


def test_a_copy_may_miss_one_character_of_a_hundred() -> None:
    text = SENTENCE.strip()[:100]
    assert len(text) == 100
    assert exact(text, text) == 1
    assert exact(f" {text}\n", text) == 1
    assert exact(text[:50] + "#" + text[51:], text) == 1
    assert exact(text[:50] + "##" + text[52:], text) == 0


def test_the_denominator_is_the_reference_and_in_2024_the_answer() -> None:
    text = (SENTENCE * 2).strip()
    longer = text + " И ещё много слов, которых не было в тексте."
    assert exact(longer, text) == 1
    assert exact(longer, text, "exact_copy_rate_2024") == 0
    assert exact(text[:60], text) == 0
    assert exact(text[:60], text, "exact_copy_rate_2024") == 1


@pytest.mark.parametrize("name", ["exact_copy_rate", "exact_copy_rate_2024"])
def test_empty_output_is_no_copy(name: str) -> None:
    assert exact("", SENTENCE, name) == 0
    assert exact(" \n", SENTENCE, name) == 0
    assert metric(name).unparsed(said(" \n", SENTENCE))


edits = st.lists(st.tuples(st.integers(0, 400), st.sampled_from(["", "ы", "ab", "булок, "])), max_size=6)


@given(start=st.integers(0, 60), times=st.integers(1, 4), edits=edits, by_reference=st.booleans())
def test_shortcuts_do_not_change_the_verdict(
    start: int, times: int, edits: list[tuple[int, str]], by_reference: bool
) -> None:
    reference = (SENTENCE * times)[start:].strip()
    answer = reference
    for place, new in edits:
        answer = answer[:place] + new + answer[place + 1 :]
    answer = answer.strip()
    blocks = SequenceMatcher(None, reference, answer, autojunk=False).get_matching_blocks()
    length = len(reference) if by_reference else len(answer)
    expected = length > 0 and sum(block.size for block in blocks) / length >= 0.99
    assert is_exact_copy(reference, answer, by_reference) == expected


def test_reordered_parts_are_refused_by_the_blocks_as_difflib_finds_them() -> None:
    reference = "абвгд" * 40
    answer = reference[100:] + "ж" + reference[:100]
    blocks = SequenceMatcher(None, reference, answer, autojunk=False).get_matching_blocks()
    assert is_exact_copy(reference, answer, True) == (sum(block.size for block in blocks) / 200 >= 0.99)


@given(st.text("abc", max_size=12), st.text("abc", max_size=12))
def test_common_subsequence_equals_the_textbook_table(a: str, b: str) -> None:
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a, 1):
        for j, y in enumerate(b, 1):
            table[i][j] = table[i - 1][j - 1] + 1 if x == y else max(table[i - 1][j], table[i][j - 1])
    assert common_subsequence(a, b) == table[-1][-1]


def test_rate_is_the_share_of_exact_copies() -> None:
    rows = [said(SENTENCE, SENTENCE, "0"), said("другое", SENTENCE, "1")]
    statistic = metric("exact_copy_rate").statistic(rows)
    assert statistic.value == 0.5
    assert statistic.binary is not None
    assert statistic.binary.tolist() == [1, 0]


def test_the_papers_wording_counts_tokens_of_the_original() -> None:
    row = said("abcde", "text", reference_ids=list(range(4)))
    generated = len(row.answer.tokens or ())
    assert metric("original_length_ratio").values(row)["original_length_ratio"] == 4 / generated
    assert metric("original_length_ratio").values(said(" ", "t", reference_ids=[1]))["original_length_ratio"] == 0


@pytest.mark.parametrize(("lost", "expected"), [(0, 1.0), (1, 1.0), (2, 0.0)])
def test_the_papers_copy_needs_more_than_99_percent_of_the_tokens_in_order(lost: int, expected: float) -> None:
    from dataclasses import replace

    reference = list(range(150))
    row = said("x", "text", reference_ids=reference)
    row = replace(row, answer=replace(row.answer, tokens=(999, *reference[lost:])))
    assert metric("token_copy_rate").values(row)["token_copy_rate"] == expected


@pytest.mark.parametrize(
    ("answer", "share"), [("abcd", 1.0), (" abcd ", 1.0), ("abxx", 0.5), ("abcdabcd", 0.5), ("", 0.0)]
)
def test_the_copied_share_is_a_copys_quality_in_shades(answer: str, share: float) -> None:
    assert metric("copied_share").values(said(answer, "abcd"))["copied_share"] == share
