"""Totals that real runs reported, recomputed from their logged predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from darumeru.core.row import SampleRow
from darumeru.metrics import metric
from tests.metrics.rows import picked, said
from tests.shared_data import json_lines, shared

LLAMA3 = "llama3-8b-instruct_k5"
TOTALS = [
    (LLAMA3, "multiq", "darumeru/MultiQ", "f1", "f1"),
    (LLAMA3, "multiq", "darumeru/MultiQ", "em", "em"),
    (LLAMA3, "parus", "darumeru/PARus", "acc", "acc"),
    (LLAMA3, "rcb", "darumeru/RCB", "acc", "acc"),
    (LLAMA3, "rcb", "darumeru/RCB", "f1_macro", "f1_macro"),
    (LLAMA3, "rummlu", "darumeru/ruMMLU", "acc", "acc"),
    (LLAMA3, "ruopenbookqa", "darumeru/ruOpenBookQA", "acc", "acc"),
    (LLAMA3, "ruopenbookqa", "darumeru/ruOpenBookQA", "f1_macro", "f1_macro"),
    (LLAMA3, "rutie", "darumeru/ruTiE", "acc", "acc"),
    (LLAMA3, "ruworldtree", "darumeru/ruWorldTree", "acc", "acc"),
    (LLAMA3, "ruworldtree", "darumeru/ruWorldTree", "f1_macro", "f1_macro"),
    (LLAMA3, "rwsd", "darumeru/RWSD", "acc", "acc_startswith"),
    (LLAMA3, "use", "darumeru/USE", "grade_norm", "grade_norm_2024"),
    ("rcb220_openchat-3.5-1210_k5", "rcb", "darumeru/RCB", "acc", "acc"),
    ("rcb220_openchat-3.5-1210_k5", "rcb", "darumeru/RCB", "f1_macro", "f1_macro"),
]


def logged_row(number: int, line: Mapping[str, Any]) -> SampleRow:
    sample = line["sample"]
    target = sample["outputs"] if "outputs" in sample else str(sample["label"])
    if isinstance(target, list):
        target = [part["segment"] for part in target]
    meta = {key: value for key, value in sample.get("meta", {}).items() if key != "id"}
    if isinstance(line["predict"], dict):
        return picked(line["predict"], str(target), str(number), **meta)
    return said(line["predict"], target, str(number), **meta)


@pytest.mark.parametrize(("run", "file", "task", "logged", "name"), TOTALS)
def test_reported_total_is_recomputed(run: str, file: str, task: str, logged: str, name: str) -> None:
    lines = json_lines(shared("golden", run, f"{file}.jsonl"))
    rows = [logged_row(number, line) for number, line in enumerate(lines)]
    totals = json.loads(shared("golden", run, "totals.json").read_text(encoding="utf-8"))
    assert metric(name).statistic(rows).value == pytest.approx(totals[task][logged], abs=1e-12)


def test_every_reported_total_is_covered() -> None:
    reported = {
        (run, task, name)
        for run in (LLAMA3, "rcb220_openchat-3.5-1210_k5")
        for task, values in json.loads(shared("golden", run, "totals.json").read_text(encoding="utf-8")).items()
        for name in values
    }
    assert reported == {(run, task, logged) for run, _, task, logged, _ in TOTALS}


def test_rucola_totals_are_recomputed() -> None:
    folder = shared("golden", "rucola_qwen2-7b-instruct_k5")
    lines = json_lines(folder / "qwen2-7b-instruct_k5.jsonl")
    total = json.loads((folder / "qwen2-7b-instruct_k5.meta.json").read_text(encoding="utf-8"))["total"]
    rows = [logged_row(number, line) for number, line in enumerate(lines)]
    scores = {name: metric(name).statistic(rows).value for name in ("acc", "mcc")}
    assert scores == pytest.approx(total["results"], abs=1e-12)
    assert sum(scores.values()) / 2 == pytest.approx(total["leaderboard_result"], abs=1e-12)


@pytest.mark.parametrize(
    ("file", "logged", "name"),
    [("multiq", "f1", "f1"), ("multiq", "em", "em"), ("rcb", "acc", "acc"), ("rwsd", "acc", "acc_startswith")],
)
def test_each_logged_value_is_recomputed(file: str, logged: str, name: str) -> None:
    for number, line in enumerate(json_lines(shared("golden", LLAMA3, f"{file}.jsonl"))):
        value = metric(name).values(logged_row(number, line))[name]
        assert value == pytest.approx(float(line["metric"][logged]), abs=1e-12)


def test_each_logged_exam_point_is_recomputed() -> None:
    for number, line in enumerate(json_lines(shared("golden", LLAMA3, "use.jsonl"))):
        value = metric("grade_norm_2024").values(logged_row(number, line))["grade_norm_2024"]
        assert [value, line["sample"]["meta"]["variant"]] == line["metric"]["grade_norm"]


def test_right_answers_to_a_hundred_whole_exams_get_all_points() -> None:
    """One of the exams names a single right part for task 16, so that 33 points are all it has."""
    lines = json_lines(shared("use_aij2019", "use_all_variants.jsonl"))
    rows = [
        logged_row(number, {"sample": line, "predict": f" {line['outputs']}"})
        for number, line in enumerate(lines)
        if line["meta"]["type"] != "text"
    ]
    rows += [
        logged_row(len(lines) + number, {"sample": line, "predict": line["outputs"].split(",")[0]})
        for number, line in enumerate(lines)
        if line["meta"]["type"] == "text"
    ]
    statistic = metric("grade_norm").statistic(rows)
    assert len(statistic.clusters) == 100
    assert sorted(statistic.columns[:, 0].tolist()) == [33, *[34] * 99]
    assert statistic.value == pytest.approx((33 + 99 * 34) / 3400, abs=1e-15)
