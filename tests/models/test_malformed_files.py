"""A damaged file of a model is one line with file and field, before anything is loaded."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darumeru.core.errors import UserError
from darumeru.models.checkpoint import open_checkpoint
from darumeru.models.model_files import find_folder, find_model
from tests.cli.command import darumeru

FIRST = "lm_head.weight"
Change = Callable[[Path], object]


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(tiny_model, tmp_path / "mine"))


def header(change: Callable[[dict[str, Any]], Any]) -> Change:
    """Rewrites the header of model.safetensors."""

    def apply(folder: Path) -> None:
        path = folder / "model.safetensors"
        raw = path.read_bytes()
        length = struct.unpack("<Q", raw[:8])[0]
        value = json.loads(raw[8 : 8 + length])
        changed = change(value)
        text = changed if isinstance(changed, bytes) else json.dumps(value).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])

    return apply


def tensor(**values: Any) -> Change:
    return header(lambda value: value[FIRST].update(values))


def entry(value: Any) -> Change:
    return header(lambda given: given.update({FIRST: value}))


def fields(file: str, **values: Any) -> Change:
    def apply(folder: Path) -> None:
        path = folder / file
        known = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(known | values))

    return apply


def text(file: str, content: str) -> Change:
    return lambda folder: (folder / file).write_text(content)


DAMAGED: dict[str, tuple[Change, str]] = {
    # the kinds of the case "malformed_files"
    "an entry that is a number": (entry(5), f"model.safetensors: tensor {FIRST}: its entry"),
    "an entry that is null": (entry(None), f"tensor {FIRST}: its entry"),
    "no offsets": (header(lambda value: value[FIRST].pop("data_offsets")), f"tensor {FIRST}: data_offsets"),
    "offsets of text": (tensor(data_offsets=["a", "b"]), f"tensor {FIRST}: data_offsets"),
    "one offset": (tensor(data_offsets=[0]), f"tensor {FIRST}: data_offsets"),
    "a negative offset": (tensor(data_offsets=[-4, 0]), f"tensor {FIRST}: data_offsets"),
    "overlap": (header(lambda value: value.update({"model.norm.weight": value[FIRST]})), "overlap or leave a gap"),
    "a negative shape": (tensor(shape=[-1, 4]), f"tensor {FIRST}: shape"),
    "a shape beyond 64 bits": (tensor(shape=[2**62, 2**62]), f"tensor {FIRST}: has"),
    "another shape": (tensor(shape=[1]), f"tensor {FIRST}: has"),
    "an unknown dtype": (tensor(dtype="XX"), f"tensor {FIRST}: unknown dtype XX"),
    "metadata that is a number": (header(lambda value: value.update({"__metadata__": 5})), "__metadata__"),
    "a header without end": (header(lambda value: b'{"a":' + b"[" * 100_000), "broken safetensors header"),
    "a size that is text": (fields("config.json", hidden_size="x"), "config.json: hidden_size"),
    "a negative vocabulary": (fields("config.json", vocab_size=-1), "config.json: vocab_size"),
    "a huge vocabulary": (fields("config.json", vocab_size=10**9), "config.json says vocab_size 1000000000 but"),
    "rope that is a number": (fields("config.json", rope_parameters=5), "config.json: rope_parameters"),
    "a template that is a number": (fields("tokenizer_config.json", chat_template=5), "_config.json: chat_template"),
    "a length of text": (fields("tokenizer_config.json", model_max_length="x"), "_config.json: model_max_length"),
    "an infinite length": (fields("tokenizer_config.json", model_max_length=float("inf")), "model_max_length"),
    # further ones of each kind
    "an entry that is a list": (entry([1]), f"tensor {FIRST}: its entry"),
    "a true offset": (tensor(data_offsets=[True, 4]), f"tensor {FIRST}: data_offsets"),
    "offsets turned round": (tensor(data_offsets=[8, 4]), f"tensor {FIRST}: data_offsets"),
    "a shape of fractions": (tensor(shape=[1.5, 4]), f"tensor {FIRST}: shape"),
    "a dtype that is a list": (tensor(dtype=["F32"]), f"tensor {FIRST}: unknown dtype"),
    "metadata of numbers": (header(lambda value: value.update({"__metadata__": {"a": 5}})), "__metadata__"),
    "a number of 5,000 digits": (header(lambda value: b'{"a":' + b"9" * 5000 + b"}"), "broken safetensors header"),
    "a name with a line feed": (header(lambda value: value.update({"a\nb": 5})), r"tensor 'a\nb': its entry"),
    "layers that are true": (fields("config.json", num_hidden_layers=True), "config.json: num_hidden_layers"),
    "a nested size": (fields("config.json", text_config={"vocab_size": "x"}), "config.json: text_config.vocab_size"),
    "a text in rope": (fields("config.json", rope_scaling={"factor": "x"}), "config.json: rope_scaling.factor"),
    "an unknown dtype of the model": (fields("config.json", dtype="floaty"), "config.json: dtype"),
    "architectures of numbers": (fields("config.json", architectures=[5]), "config.json: architectures"),
    "an end token of text": (fields("config.json", eos_token_id="x"), "config.json: eos_token_id"),
    "generation's end token": (fields("generation_config.json", eos_token_id=["x"]), "generation_config.json: eos"),
    "generation that is a list": (text("generation_config.json", "[]"), "generation_config.json: is not a JSON object"),
    "a token that is a number": (fields("tokenizer_config.json", bos_token=5), "tokenizer_config.json: bos_token"),
    "code that is text": (fields("config.json", auto_map="x"), "config.json: auto_map"),
    "a config that is deep": (text("config.json", '{"a":' + "[" * 100_000), "config.json: broken JSON"),
    "an index of numbers": (text("model.safetensors.index.json", '{"weight_map": {"a": 5}}'), "index.json: tensor a"),
    "an index that leads out": (
        text("model.safetensors.index.json", '{"weight_map": {"a": "../model.safetensors"}}'),
        "is not a file of the folder",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_models_are_refused_with_file_and_field(model: Path, damage: str) -> None:
    change, expected = DAMAGED[damage]
    change(model)
    with pytest.raises(UserError) as caught:
        find_model(str(model))
    assert expected in caught.value.line() and "\n" not in caught.value.line()
    if not any(name in caught.value.line() for name in ("tokenizer_config.json", "generation_config.json")):
        with pytest.raises(UserError):
            _ = open_checkpoint(model).vocabulary


@given(place=st.integers(0, 4000), byte=st.integers(0, 255))
def test_no_changed_byte_of_a_header_is_a_traceback(tiny_model: Path, place: int, byte: int) -> None:
    folder = tiny_model.parent / "changed"
    if not folder.is_dir():
        shutil.copytree(tiny_model, folder)
    raw = bytearray((tiny_model / "model.safetensors").read_bytes())
    raw[place] = byte
    (folder / "model.safetensors").write_bytes(raw)
    try:
        find_model(str(folder))
    except UserError as error:
        assert str(folder) in error.line()


@pytest.mark.parametrize("file", ["added_tokens.json", "config.json", "tokenizer.json", "model.safetensors"])
def test_a_pipe_is_not_waited_for(model: Path, file: str) -> None:
    (model / file).unlink(missing_ok=True)
    os.mkfifo(model / file)
    with pytest.raises(UserError, match=f"{file}: is not a regular file"):
        find_model(str(model))


def test_a_link_to_a_device_is_not_read(model: Path) -> None:
    (model / "special_tokens_map.json").symlink_to("/dev/zero")
    with pytest.raises(UserError, match=r"special_tokens_map\.json: is not a regular file"):
        find_model(str(model))


@pytest.mark.parametrize("damage", ["an entry that is a number", "rope that is a number", "an infinite length"])
def test_the_command_ends_with_2_and_one_line(
    model: Path, damage: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    DAMAGED[damage][0](model)
    words = ("--data", "bundled", "--tasks", "darumeru/rcb", "--engine", "transformers")
    said = darumeru(capsys, monkeypatch, "run", "--model", str(model), *words, "--output", str(tmp_path / "run"))
    assert said.code == 2 and "Traceback" not in said.err
    assert DAMAGED[damage][1] in "".join(said.err.split("\n")) or DAMAGED[damage][1] in said.err.replace("\n", " ")


def test_what_real_configs_hold_is_fine(model: Path) -> None:
    """Lists with a number a layer (OpenELM), Infinity (Mamba 2), null, named templates (Hermes), 1e30 as "no limit"."""
    fields("config.json", num_key_value_heads=[1, 1], time_step_limit=[0.0, float("inf")], head_dim=None)(model)
    fields("tokenizer_config.json", chat_template=[{"name": "default", "template": "x"}], model_max_length=int(1e30))(
        model
    )
    found = find_model(str(model))
    assert found.has_chat_template and found.context_length == 2048 and found.embedding_rows == 600


def test_a_folder_is_found_without_being_judged(model: Path) -> None:
    (model / "config.json").unlink()
    assert find_folder(model) == model
    with pytest.raises(UserError, match="no such model folder"):
        find_folder(model.with_name("mime"), weights=False)
