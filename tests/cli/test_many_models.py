"""Several models with one command: each its run folder, one board, and a failed one does not stop the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command import darumeru
from tests.runs.data_folders import small_suite


def test_one_board_at_the_end_and_a_failed_model_stops_no_other(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tiny_model: Path, tmp_path: Path
) -> None:
    data = small_suite(tmp_path / "data", records=4)
    models = tmp_path / "models.txt"
    models.write_text(f"# two\n{tmp_path}/no-such-model\n\n{tiny_model} name=half dtype=bfloat16 # other numbers\n")
    words = ["run", "--model", str(tiny_model), "--models", str(models), "--data", str(data), "--engine",
             "transformers", "--tasks", "darumeru/rummlu", "--max-length", "1024", "--output", str(tmp_path / "out"),
             "--json"]  # fmt: skip
    said = darumeru(capsys, monkeypatch, *words)
    assert said.code == 1, said.err
    assert (
        f"2 of 3: {tmp_path}/no-such-model failed: " in said.err and "1 of 3 models have no complete score" in said.err
    )
    runs = sorted(path.parent.name for path in (tmp_path / "out").glob("*/results.json"))
    assert runs == sorted([tiny_model.name, "half"])
    assert json.loads((tmp_path / "out" / "half" / "manifest.json").read_text())["engine"]["dtype"] == "bfloat16"
    assert sorted(row["name"] for row in json.loads(said.out)["rows"]) == runs
    assert (tmp_path / "out" / "board.md").read_text().count("half") >= 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("m tensr_parallel=2", "no option `tensr_parallel`; did you mean tensor_parallel"),
        ("m dtype=x", "dtype: must be auto or float32 or bfloat16 or float16, not 'x'"),
        ("m dtype", "`dtype` is not OPTION=VALUE (for example tensor_parallel=4)"),
        ("m 'x", "cannot be read: No closing quotation"),
    ],
)
def test_a_wrong_line_is_named_before_anything_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str, said: str
) -> None:
    models = tmp_path / "models.txt"
    models.write_text(f"first\n{line}\n")
    answer = darumeru(capsys, monkeypatch, "run", "--models", str(models))
    assert answer.code == 2 and answer.err.startswith(f"error: {models}:2: {said}") and answer.err.count("\n") == 1


def test_two_models_of_one_name_are_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = darumeru(capsys, monkeypatch, "run", "--model", "a/m", "--model", "b/m", "--output", str(tmp_path))
    assert said.code == 2 and said.err.startswith(f"error: {tmp_path}/m: b/m and a/m would both be stored here")
