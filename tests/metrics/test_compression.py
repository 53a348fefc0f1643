"""Bits per byte and nats per character."""

from __future__ import annotations

import math

import pytest

from darumeru.core.answer import Answer
from darumeru.metrics import metric
from darumeru.metrics.measure import combined
from tests.metrics.rows import row


def test_bits_per_byte_and_nats_per_character_by_hand() -> None:
    """ "да" is two letters and four bytes. 4 ln 2 nats are 4 bits: 1 bit a byte, 2 ln 2 nats a letter."""
    one = row(Answer(logprobs=(-math.log(2), -3 * math.log(2))), "да")
    assert metric("bits_per_byte").values(one)["bits_per_byte"] == pytest.approx(1.0)
    assert metric("nats_per_character").values(one)["nats_per_character"] == pytest.approx(2 * math.log(2))


def test_a_long_text_weighs_more_and_documents_are_the_clusters() -> None:
    """(8 + 2) bits over (4 + 20) bytes, not the mean of 2 and 0.1."""
    rows = [
        row(Answer(logprobs=(-8 * math.log(2),)), "да", "a"),
        row(Answer(logprobs=(-2 * math.log(2),)), "x" * 20, "b"),
    ]
    statistic = metric("bits_per_byte").statistic(rows)
    assert statistic.value == pytest.approx(10 / 24) and statistic.clusters == ("a", "b")
    assert math.isnan(metric("bits_per_byte").statistic([]).value)


def test_lower_is_better_and_it_is_averaged_with_nothing_else() -> None:
    measure = metric("bits_per_byte").measure
    assert (measure.kind, measure.direction, measure.sign) == ("bits_per_byte", "lower", -1)
    assert measure.family != metric("acc").measure.family
    assert combined([measure, measure]) == measure
