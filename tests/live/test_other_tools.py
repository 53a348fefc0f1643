"""Loops without a Trainer, and trainers of other houses."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from darumeru import load_run
from darumeru.leaderboard.curve import read_curve
from tests.live.test_live_engine import environment
from tests.shared_data import ROOT

TASKS = "darumeru/parus,darumeru/cp_sent_ru"


def example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.usefixtures("new_accelerate")
def test_the_example_of_an_accelerate_loop(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    arguments = ["accelerate_loop", "--model", str(tiny_model), "--output", str(tmp_path / "loop")]
    monkeypatch.setattr("sys.argv", arguments)
    example("accelerate_loop").main()
    points = read_curve(tmp_path / "loop" / "curve.jsonl")
    said = [(point.step, point.extra["engine"], point.extra["dtype"]) for point in points]
    assert said == [(2, "vllm", "bfloat16"), (4, "vllm", "bfloat16")]
    assert "step 4: mean" in capsys.readouterr().out


def test_the_example_of_a_model_class_of_ones_own(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It compares its own logits with transformers' in the end."""
    arguments = ["own_model_loop", "--model", str(tiny_model), "--output", str(tmp_path / "loop")]
    monkeypatch.setattr("sys.argv", arguments)
    example("own_model_loop").main()
    points = read_curve(tmp_path / "loop" / "curve.jsonl")
    assert [(point.step, point.extra["engine"]) for point in points] == [(2, "vllm"), (4, "vllm")]
    runs = [load_run(tmp_path / "loop" / str(point.run)) for point in points]
    said = [[row.answer.probabilities for row in run.rows("darumeru/parus")] for run in runs]
    assert said[0] != said[1], "each point has the weights of its own step"
    assert "step 4: mean" in capsys.readouterr().out


@pytest.mark.parametrize(("precision", "dtype"), [("bf16-mixed", "bfloat16"), ("32-true", "float32")])
def test_lightning(precision: Any, dtype: str, tiny_model: Path, tmp_path: Path) -> None:
    """Scores in loggers and for ModelCheckpoint, precision as the Trainer's, accumulated gradients counted once."""
    pytest.importorskip("lightning", reason="lightning is not installed")
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.loggers import CSVLogger
    from transformers import AutoModelForCausalLM

    from darumeru.training.lightning_callback import LightningCallback

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype="float32")

        def training_step(self, batch: torch.Tensor, _: int) -> torch.Tensor:
            loss: torch.Tensor = self.model(input_ids=batch, labels=batch).loss
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=1e-3)

    callback = LightningCallback(TASKS, every_steps=2, limit=3, data="bundled", output=tmp_path / "darumeru")
    best = ModelCheckpoint(
        tmp_path, monitor="darumeru/mean", mode="max", every_n_train_steps=2, save_on_train_epoch_end=False
    )
    trainer = Trainer(
        max_steps=4, accumulate_grad_batches=2, accelerator="cpu", precision=precision, logger=CSVLogger(tmp_path),
        callbacks=[callback, best], enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Module(), torch.utils.data.DataLoader(torch.randint(4, 500, (16, 1, 12)), batch_size=None))
    points = read_curve(tmp_path / "darumeru" / "curve.jsonl")
    assert [point.step for point in points] == [0, 2, 4]
    assert {(point.extra["engine"], point.extra["dtype"]) for point in points} == {("vllm", dtype)}
    assert best.best_model_score == pytest.approx(max(point.scores["mean"].value or 0 for point in points[1:]))
    assert "darumeru/mean" in next(tmp_path.rglob("metrics.csv")).read_text().splitlines()[0]


def with_tool(tool: str, model: Path, folder: Path) -> str:
    """What tests.live.tools says on stderr when it trains `model` with `tool`, inside `folder`, into folder/out."""
    packages = Path(sys.prefix) / "tools"
    if not (packages / tool).is_dir():
        pytest.skip("`make tools` installs it")
    surroundings = environment() | {"WANDB_MODE": "offline"}
    surroundings["PYTHONPATH"] += f"{os.pathsep}{packages}"
    command = [sys.executable, "-m", "tests.live.tools", tool, str(model), str(folder / "out")]
    done = subprocess.run(command, capture_output=True, text=True, env=surroundings, cwd=folder, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


@pytest.mark.parametrize(("tool", "dtype"), [("axolotl", "float32"), ("unsloth", "bfloat16")])
def test_the_real_packages_of_other_houses(tool: str, dtype: str, tiny_model: Path, tmp_path: Path) -> None:
    """Unsloth loads weights in bfloat16 by itself; axolotl's section asks for float32."""
    said = with_tool(tool, tiny_model, tmp_path)
    points = read_curve(tmp_path / "out" / "darumeru" / "curve.jsonl")
    assert [(point.step, point.extra["engine"], point.extra["dtype"]) for point in points] == [(2, "vllm", dtype)]
    assert "darumeru:" not in said


def test_weights_and_biases_gets_answers_as_a_table(tiny_model: Path, tmp_path: Path) -> None:
    with_tool("wandb", tiny_model, tmp_path)
    (file,) = (tmp_path / "wandb").rglob("*.table.json")
    table = json.loads(file.read_text(encoding="utf-8"))
    rows = list(load_run(tmp_path / "out" / "darumeru" / "steps" / "step-00000001").rows("darumeru/cp_sent_ru"))[:2]
    assert table["columns"] == ["task", "id", "prompt", "answer", "target"]
    assert [one[1] for one in table["data"]] == [row.id for row in rows]
    assert [one[4] for one in table["data"]] == [row.target for row in rows]
