"""A user's mistake gets one clear line and exit code 2, before any model is loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.command import Said, darumeru
from tests.runs.data_folders import small_suite, write_split


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here may come as far as an engine."""
    from darumeru.engines.transformers_engine import TransformersEngine
    from darumeru.engines.vllm_engine import VllmEngine

    def never(engine: object, options: object) -> object:
        raise AssertionError("an engine was loaded")

    for engine in (TransformersEngine, VllmEngine):
        monkeypatch.setattr(engine, "__init__", never)


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that may be broken."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return small_suite(tmp_path / "data")


def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, model: Path | str, data: Path | str, *more: str
) -> Said:
    tasks = () if "--tasks" in more else ("--tasks", "darumeru/rummlu")
    output = () if "--output" in more else ("--output", str(Path(str(data)).parent / "out"))
    return darumeru(capsys, monkeypatch, "run", "--model", str(model), "--data", str(data), *output, *tasks, *more)


def refused(said: Said, *texts: str) -> None:
    last = said.err.strip().splitlines()[-1]
    assert said.code == 2, said.err
    assert last.startswith("error: ") and "Traceback" not in said.err
    for text in texts:
        assert text in last


@pytest.mark.parametrize(
    ("more", "texts"),
    [
        (("--tasks", "darumeru/parsu"), ("unknown task", "did you mean darumeru/parus")),
        (("--tasks", ","), ("no task is named",)),
        (("--profile", "papper"), ("unknown profile", "did you mean paper")),
        (("--engine", "vlm"), ("unknown engine", "did you mean vllm")),
        (("--num-fewshot", "many"), ("--num-fewshot: must be auto or a whole number of 0 or more, not", "many")),
        (("--engine-args", "{"), ("is not JSON",)),
        (("--engine-args", "[1]"), ("must be a JSON object",)),
        (("--export", "csv"), ("unknown format",)),
        (("--max-length", "64"), ("darumeru/rummlu needs 64 tokens",)),
        (("--chat-template", "/no/such.jinja"), ("no such chat template",)),
        (("--lora", "/no/such/adapter"), ("/no/such/adapter",)),
        (("--include", "/no/such.yaml"), ("no such task file",)),
    ],
)
def test_options(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    model: Path,
    data: Path,
    more: tuple[str, ...],
    texts: tuple[str, ...],
) -> None:
    refused(run(capsys, monkeypatch, model, data, *more), *texts)


def test_models(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, model: Path, data: Path) -> None:
    refused(run(capsys, monkeypatch, model.with_name("modle"), data), "modle", "did you mean", "model?")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(
        json.dumps(config | {"model_type": "own", "auto_map": {"AutoConfig": "m.C", "AutoModelForCausalLM": "m.M"}})
    )
    refused(run(capsys, monkeypatch, model, data), "--trust-remote-code")
    (model / "config.json").write_text(json.dumps(config))
    weights = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(weights[:-100])
    refused(run(capsys, monkeypatch, model, data), "model.safetensors")
    (model / "model.safetensors").unlink()
    refused(run(capsys, monkeypatch, model, data), "weights")
    (model / "pytorch_model.bin").write_bytes(b"\x80pickle")
    refused(run(capsys, monkeypatch, model, data), "only pickled weights", "safe_serialization")
    (model / "model.safetensors").write_bytes(weights)
    (model / "tokenizer.json").unlink()
    refused(run(capsys, monkeypatch, model, data), "tokenizer")


def test_a_model_that_is_only_on_the_hub_without_network(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    refused(run(capsys, monkeypatch, "nobody/no-such-model", data), "nobody/no-such-model")


def test_data(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, model: Path, data: Path) -> None:
    file = data / "RefalMachine" / "darumeru" / "rummlu" / "test.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join([*lines[:2], lines[2].replace('"question"', '"querstion"')]), encoding="utf-8")
    refused(run(capsys, monkeypatch, model, data), "test.jsonl:3", "`question`")
    file.write_text("\n".join([lines[0], lines[1].replace('"outputs": "B"', '"outputs": "Б"')]), encoding="utf-8")
    refused(run(capsys, monkeypatch, model, data), "test.jsonl:2", "`outputs`")
    file.write_text("", encoding="utf-8")
    refused(run(capsys, monkeypatch, model, data), "holds no records")
    file.unlink()
    refused(run(capsys, monkeypatch, model, data), "no file test.jsonl")
    refused(run(capsys, monkeypatch, model, data.with_name("dta")), "no such data folder", "did you mean data")


def test_a_template_that_reaches_for_attributes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, model: Path, data: Path
) -> None:
    evil = {
        "messages": [{"role": "user", "content": "{a.__class__}"}],
        "inputs": {"a": "x"},
        "outputs": "A",
        "meta": {},
    }
    write_split(data, "rummlu/test", [evil])
    refused(run(capsys, monkeypatch, model, data), "test.jsonl:1", "not a plain field name")


def test_an_output_folder_that_cannot_be_written_or_is_taken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, model: Path, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    refused(run(capsys, monkeypatch, model, data, "--output", str(tmp_path / "file" / "out")), "cannot be written")
    refused(run(capsys, monkeypatch, model, data, "--output", str(model)), "holds other files")


def test_score_of_what_is_no_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    refused(darumeru(capsys, monkeypatch, "score", str(tmp_path)), "not the folder of a run")
    (tmp_path / "manifest.json").write_text('{"schema": 99}')
    refused(darumeru(capsys, monkeypatch, "score", str(tmp_path)), "schema 99", "update darumeru")


def test_a_bug_shows_its_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, model: Path, data: Path
) -> None:
    with pytest.raises(AssertionError, match="an engine was loaded"):
        run(capsys, monkeypatch, model, data)
