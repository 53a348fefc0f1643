"""The paper's tables as they stand in leaderboards/paper."""

from __future__ import annotations

import csv
import json
from typing import Any

import pytest

from tests.shared_data import ROOT, shared

WEIGHTS = {"DaruMMLU": 3, "DaruMERA": 8, "DaruSum": 2, "DaruCopy-EN": 2, "DaruCopy-RU": 2}


def table(number: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "leaderboards" / "paper" / f"table{number}.json").read_text("utf-8"))
    return found


def test_micro_avg_is_the_mean_of_the_17_tasks_on_all_58_rows() -> None:
    rows = [row for number in (1, 2, 3, 4) for row in table(number)["rows"]]
    assert len(rows) == 58
    for row in rows:
        mean = sum(WEIGHTS[group] * value for group, value in row["groups"].items()) / sum(WEIGHTS.values())
        assert row["micro_avg"] == pytest.approx(mean, abs=0.0008), row["labels"]


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_the_numbers_are_those_of_the_paper(number: int) -> None:
    with shared("paper_tables", f"table{number}.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert table(number)["published"] and table(number)["profile"] == "llmtf-2024"
    ours = [[row["micro_avg"], *row["groups"].values()] for row in table(number)["rows"]]
    theirs = [[float(value) for value in list(line.values())[-6:]] for line in lines]
    assert ours == theirs
