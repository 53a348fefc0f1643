"""What a stored score is found again by."""

from __future__ import annotations

from pathlib import Path

from darumeru.adaptation.protocols import Candidate
from darumeru.adaptation.recipe import ScoreConfig
from darumeru.adaptation.scoring import Scorer
from darumeru.adaptation.store import Made


def test_task_files_and_data_count_by_content(tmp_path: Path) -> None:
    for name in ("here", "there"):
        (tmp_path / name / "data").mkdir(parents=True)
        (tmp_path / name / "tasks.yaml").write_text("name: mine/task")
        (tmp_path / name / "data" / "test.jsonl").write_text('{"text": "да"}\n')
    made = Made("id", "model", Candidate(tmp_path, "step"))

    def run(name: str, seed: int = 0) -> str:
        place = tmp_path / name
        settings = ScoreConfig(data=str(place / "data"), include=(str(place / "tasks.yaml"),), seed=seed)
        return Scorer(tmp_path / "out", settings).folder(made).name

    first = run("here")
    assert run("there") == first != run("here", seed=1)
    (tmp_path / "there" / "tasks.yaml").write_text("name: mine/other")
    assert run("there") != first
    (tmp_path / "here" / "data" / "test.jsonl").write_text('{"text": "нет"}\n')
    assert run("here") != first
