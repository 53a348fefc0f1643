"""Records that imitate personal data are scored and never shown."""

from __future__ import annotations

from pathlib import Path

from darumeru.leaderboard.report_samples import read_samples
from darumeru.runs import evaluate
from darumeru.runs.config import RunConfig
from tests.shared_data import ROOT


def test_reports_show_no_sample_of_a_private_task(tmp_path: Path) -> None:
    tasks = ("field/pii_json", "field/collection3_json")
    demo = str(ROOT / "demo" / "darumeru-demo")
    config = RunConfig(
        model=demo, tasks=tasks, data="bundled", limit=2, output=str(tmp_path / "run"), engine="transformers"
    )
    finished, _ = evaluate.run(config)
    assert [task.n for task in finished.results.tasks.values()] == [2, 2]
    assert [task.name for task in read_samples(finished).tasks] == ["field/collection3_json"]
