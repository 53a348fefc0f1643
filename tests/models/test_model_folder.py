"""Whole model folders: complete or not there, and config.json names what is stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from darumeru.models.checkpoint import open_checkpoint
from darumeru.models.checkpoint_write import Replacement, write_checkpoint
from darumeru.models.config_file import with_dtype
from darumeru.models.live_weights import checkpoint_weights
from darumeru.models.model_folder import load_model, main_dtype, save_model, write_model
from tests.tiny_models import make_model, make_tokenizer


def stored(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def config(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "config.json").read_text()))


@pytest.mark.parametrize(("old", "new"), [("bfloat16", "float32"), ("float32", "bfloat16"), ("float16", "float32")])
def test_the_config_names_the_dtype_of_the_stored_tensors(tmp_path: Path, old: str, new: str) -> None:
    """What dtype="auto" loads is what was stored, bit for bit."""
    from transformers import AutoModelForCausalLM

    source = make_model(tmp_path / "source", dtype=old, hidden=32)
    model = load_model(source, new)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1e-5  # lost when it is rounded to half precision
    saved = save_model(model, source, tmp_path / "saved")
    assert config(saved)["dtype"] == new
    loaded = AutoModelForCausalLM.from_pretrained(saved, dtype="auto")
    for name, tensor in stored(saved).items():
        assert str(tensor.dtype) == f"torch.{new}" and loaded.state_dict()[name].equal(tensor)


def test_older_names_and_nested_parts_of_the_dtype() -> None:
    given = {"torch_dtype": "bfloat16", "text_config": {"dtype": "bfloat16", "rope_parameters": {"factor": 2.0}}}
    assert with_dtype(given, "float32") == {
        "torch_dtype": "float32",
        "text_config": {"dtype": "float32", "rope_parameters": {"factor": 2.0}},
    }
    assert with_dtype({"vocab_size": 5}, "float16") == {"vocab_size": 5, "dtype": "float16"}


def test_a_rewritten_checkpoint_names_its_new_dtype_and_keeps_an_old_one(tmp_path: Path) -> None:
    source = open_checkpoint(make_model(tmp_path / "source", dtype="bfloat16", hidden=32))
    write_checkpoint(source, tmp_path / "same", {"model.norm.weight": torch.ones(32)})  # a few float32 numbers
    assert config(tmp_path / "same") == source.config
    wide = {
        name: Replacement(one.shape, "F32", lambda name=name: [source.rows(name).float()])
        for name, one in source.tensors.items()
    }
    write_checkpoint(source, tmp_path / "wide", wide)
    assert config(tmp_path / "wide") == {**source.config, "dtype": "float32"}


def test_types_that_no_model_is_loaded_in_do_not_count() -> None:
    assert main_dtype([("I32", 10**9), ("BF16", 100), ("F32", 50)]) == "bfloat16"
    assert main_dtype([("torch.float8_e4m3fn", 10**9), ("torch.float16", 1)]) == "float16"
    assert main_dtype([("U8", 5)]) is None


def test_a_model_in_memory_becomes_a_whole_folder(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = load_model(make_model(tmp_path / "source", hidden=32), "bfloat16").to("cpu")
    tokenizer = make_tokenizer()
    written = write_model(model, tokenizer, tmp_path / "written", checkpoint_weights(model))
    loaded = AutoModelForCausalLM.from_pretrained(written, dtype="auto")
    assert loaded.dtype == torch.bfloat16 and config(written)["architectures"] == ["LlamaForCausalLM"]
    for name, tensor in model.state_dict().items():
        assert loaded.state_dict()[name].equal(tensor)
    assert AutoTokenizer.from_pretrained(written).chat_template == tokenizer.chat_template
    write_model(model, tokenizer, written)  # in the place of the first, without weights
    assert not list(written.glob("*.safetensors")) and config(written)["dtype"] == "bfloat16"


def test_a_failed_save_leaves_the_old_folder_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_model(tmp_path / "source", hidden=32)
    model = load_model(source).to("cpu")
    saved = save_model(model, source, tmp_path / "out" / "saved", chat_template="{{ messages }}")
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    assert before["chat_template.jinja"] == b"{{ messages }}"
    assert {"config.json", "generation_config.json", "tokenizer.json", "model.safetensors"} <= before.keys()

    def full(*arguments: object, **more: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("huggingface_hub.save_torch_state_dict", full)
    with pytest.raises(OSError, match="Input/output"):
        save_model(model, source, saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    assert [path.name for path in saved.parent.iterdir()] == ["saved"]
