"""Scores in trackers: TensorBoard's files read back by TensorBoard, the others where their packages are installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from darumeru.leaderboard.curve import CURVE, read_curve
from darumeru.publishing import trackers
from darumeru.runs.run import load_run
from tests.cli.command import darumeru
from tests.leaderboards.made_runs import chosen, make_run
from tests.publishing.read_back import with_readers

LETTERS = "darumeru/letters"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """0.5 of 20 choices."""
    return make_run(tmp_path / "run", [chosen(LETTERS, str(n), "A", "AB"[n % 2]) for n in range(20)], "my-model")


def read_tensorboard(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    found = EventAccumulator(str(folder))
    found.Reload()
    return {
        tag: [(one.step, float(make_ndarray(one.tensor_proto))) for one in found.Tensors(tag)]
        for tag in found.Tags()["tensors"]
    }


def test_a_finished_run_is_in_tensorboard(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, run: Path
) -> None:
    pytest.importorskip("tensorboard")
    assert darumeru(capsys, monkeypatch, "export", str(run), "--log-to", "tensorboard").code == 0
    found = read_tensorboard(run / "tensorboard")
    score = load_run(run).results.tasks[LETTERS].score
    assert found["darumeru/letters"] == [(0, 0.5)] and found["darumeru/letters.acc"] == [(0, 0.5)]
    assert found["darumeru/letters.low"][0][1] == pytest.approx(score.low)


def test_a_curve_is_in_tensorboard_point_by_point(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    lines = [f'{{"step": {step}, "scores": {{"mean": {{"value": {step / 1000}}}}}}}\n' for step in (100, 200)]
    (tmp_path / CURVE).write_text("".join(lines), "utf-8")
    tracker = trackers.open_tracker("tensorboard", "training", {}, tmp_path)
    for point in read_curve(tmp_path / CURVE):
        tracker.log(trackers.point_values(point), point.step)
    tracker.close()
    found = read_tensorboard(tmp_path / "tensorboard")["darumeru/mean"]
    assert found == [(100, pytest.approx(0.1)), (200, pytest.approx(0.2))]


def test_mlflow_has_numbers_and_parameters(run: Path, tmp_path: Path) -> None:
    kept = {"MLFLOW_TRACKING_URI": (tmp_path / "mlruns").as_uri(), "MLFLOW_ALLOW_FILE_STORE": "true"}
    with_readers("darumeru", "export", str(run), "--log-to", "mlflow", **kept)
    with_readers("tests.publishing.read_back", "mlflow", **kept)


def test_wandb_offline_writes_its_run(run: Path) -> None:
    with_readers("darumeru", "export", str(run), "--log-to", "wandb", WANDB_MODE="offline")
    (written,) = (run / "wandb").glob("offline-run-*/run-*.wandb")
    content = written.read_bytes()
    assert b"darumeru/letters" in content and b"my-model" in content


def test_trackio_keeps_it_on_this_machine(run: Path, tmp_path: Path) -> None:
    kept = {"TRACKIO_DIR": str(tmp_path / "trackio")}
    assert with_readers("darumeru", "export", str(run), "--log-to", "trackio", **kept) == ""
    with_readers("tests.publishing.read_back", "trackio", **kept)


def test_a_package_that_lacks_is_said_before_a_model_is_loaded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("darumeru.core.packages.find_spec", lambda _: None)
    for words in (("run", "--model", "/nowhere", "--data", "bundled"), ("watch", "/nowhere")):
        said = darumeru(capsys, monkeypatch, *words, "--log-to", "wandb")
        assert said.code == 2 and "wandb is not installed" in said.err and "pip install wandb" in said.err


def test_no_key_reaches_a_tracker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept: list[Mapping[str, Any]] = []
    monkeypatch.setitem(trackers._TRACKERS, "tensorboard", lambda project, title, config, folder: kept.append(config))
    config = {"engine_args": {"api_key": "sk-SECRET123"}, "model": "http://user:PASSWORD@host/v1"}
    trackers.open_tracker("tensorboard", "x", config, tmp_path)
    assert kept == [{"engine_args": {"api_key": "***"}, "model": "http://host/v1"}]
