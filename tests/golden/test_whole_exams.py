"""The Unified State Exam at full size: a hundred whole variants of thirty records each."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from darumeru.core.answer import Answer
from darumeru.runs import evaluate
from darumeru.runs.config import RunConfig
from tests.golden.answering import Answering
from tests.shared_data import json_lines, shared
from tests.tiny_models import make_model

LONG = 100_000


def test_right_answers_get_all_points(tmp_path: Path) -> None:
    """One of the exams names a single right part for task 16, so that 33 points are all it has."""
    records = shared("use_aij2019", "use_all_variants.jsonl")
    folder = tmp_path / "data" / "RefalMachine" / "darumeru" / "use"
    folder.mkdir(parents=True)
    (folder / "test.jsonl").symlink_to(records)
    # Words: one of those that are right. Numbers: with the space that models put after "Ответ:".
    right = (
        line["outputs"].split(",")[0] if line["meta"]["type"] == "text" else f" {line['outputs']}"
        for line in json_lines(records)
    )
    engine = Answering(lambda request: Answer(text=next(right), tokens=(5,), finish_reason="stop"))
    config = RunConfig(
        model=str(make_model(tmp_path / "model", max_position_embeddings=LONG)),
        output=tmp_path / "run",
        tasks="darumeru/use",
        data=str(tmp_path / "data"),
        max_length=LONG,
        engine="transformers",
        resamples=0,
    )
    run, failures = evaluate.run(config, load_engine=engine.load)
    assert not failures.tasks and not run.results.failed
    points: Counter[str] = Counter()
    for row in run.rows("darumeru/use"):
        points[row.cluster] += int(row.metrics["grade_norm"])
    assert sorted(points.values()) == [33, *[34] * 99]
    assert run.results.tasks["darumeru/use"].score.value == pytest.approx((33 + 99 * 34) / 3400, abs=1e-15)
