"""R-precision of likely sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darumeru.core.answer import Answer
from darumeru.core.row import SampleRow
from darumeru.metrics import metric
from tests.metrics.rows import row

R_PRECISION = metric("r_precision")


def document(name: str, sentences: Sequence[tuple[int, tuple[float, ...]]]) -> list[SampleRow]:
    """Rows of (target, log-probabilities)."""
    return [
        row(Answer(logprobs=logprobs), target, f"{name}-{place}", name, sentence=place, sentences=len(sentences))
        for place, (target, logprobs) in enumerate(sentences)
    ]


def test_only_as_many_tokens_count_as_the_shortest_candidate_has() -> None:
    rows = document("d", [(1, (-1.0, -1.0, -9.0, -9.0)), (0, (-2.0, -2.0)), (0, (-3.0, -3.0, -0.1))])
    assert R_PRECISION.statistic(rows).value == 1


def test_the_shortest_candidate_is_that_of_the_document() -> None:
    rows = document("a", [(1, (-1.0, -9.0)), (0, (-2.0, -2.0))]) + document("b", [(1, (-1.0,)), (0, (-2.0,))])
    statistic = R_PRECISION.statistic(rows)
    assert (statistic.clusters, statistic.columns[:, 0].tolist()) == (("a", "b"), [0, 1])


def test_of_equal_scores_the_earlier_sentence_wins_beyond_ten_sentences() -> None:
    same = [(int(place in (0, 1, 12)), (-1.0,)) for place in range(13)]
    assert R_PRECISION.statistic(document("d", same)).value == pytest.approx(2 / 3)


def test_documents_that_cannot_be_ranked_are_left_out() -> None:
    whole = document("whole", [(1, (-1.0,)), (0, (-2.0,))])
    part = document("part", [(1, (-1.0,)), (0, (-2.0,))])[:1]
    none = document("none", [(0, (-1.0,)), (0, (-2.0,))])
    statistic = R_PRECISION.statistic([*whole, *part, *none])
    assert (statistic.clusters, statistic.value, statistic.chance) == (("whole",), 1, 0.5)
    assert np.isnan(R_PRECISION.statistic([*part, *none]).value)


def test_a_candidate_whose_probability_is_not_a_number_comes_last_and_is_counted() -> None:
    rows = document("d", [(1, (float("nan"),)), (0, (-50.0,))])
    assert R_PRECISION.statistic(rows).value == 0
    assert [R_PRECISION.unparsed(one) for one in rows] == [True, False]


def test_a_sentence_alone_has_a_mean_log_probability() -> None:
    assert R_PRECISION.values(document("d", [(1, (-1.0, -2.0))])[0]) == {"mean_logprob": -1.5}


sentences = st.lists(
    st.tuples(st.booleans().map(int), st.lists(st.sampled_from([-0.5, -1.0, -2.0]), min_size=1, max_size=4).map(tuple)),
    min_size=1,
    max_size=12,
).filter(lambda pairs: any(target for target, _ in pairs))


@given(st.lists(sentences, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_score_equals_a_direct_computation(
    documents: list[list[tuple[int, tuple[float, ...]]]], random: object
) -> None:
    rows = [one for number, pairs in enumerate(documents) for one in document(str(number), pairs)]
    expected = []
    for pairs in documents:
        length = min(len(logprobs) for _, logprobs in pairs)
        ranked = sorted(pairs, key=lambda pair: -sum(pair[1][:length]) / length)
        wanted = sum(target for target, _ in pairs)
        expected.append(sum(target for target, _ in ranked[:wanted]) / wanted)
    random.shuffle(rows)  # type: ignore[attr-defined]
    statistic = R_PRECISION.statistic(rows)
    assert statistic.value == pytest.approx(np.mean(expected), abs=1e-12)
    weights = np.arange(1.0, len(documents) + 1)
    assert statistic.combine(weights @ statistic.columns) == pytest.approx(np.average(expected, weights=weights))
