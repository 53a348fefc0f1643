"""LoRA training and merging on real peft and trl: what moves, what stays, and the same end after a kill."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from darumeru.core.errors import UserError
from lep_plugins.training.lora_merging import merge_adapter
from lep_plugins.training.lora_training import newest_checkpoint
from tests.calibration.models import chat_model, pairs, silent, training

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
KILLED = """
import os, signal, sys
from pathlib import Path
from transformers import TrainerCallback
from tests.calibration.models import pairs, silent, training
class Dying(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 5:
            os.kill(os.getpid(), signal.SIGKILL)
training(epochs=2).train(Path(sys.argv[1]), pairs(14), Path(sys.argv[2]), 3, silent, [Dying()])
"""


def logits(model: Any) -> torch.Tensor:
    ids = torch.arange(10, 90).reshape(2, 40)
    with torch.no_grad():
        found: torch.Tensor = model.double().eval()(ids).logits
    return found


def loaded(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    from transformers import AutoModelForCausalLM

    model, told = AutoModelForCausalLM.from_pretrained(str(folder), dtype=dtype, output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"] and not told["mismatched_keys"]
    return model


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("saved", [("embedding", "head"), ("head",), ()])
def test_the_merged_model_is_base_and_adapter(tmp_path: Path, tied: bool, saved: tuple[str, ...]) -> None:
    from peft import PeftModel

    base = chat_model(tmp_path / "base", tied=tied, layers=3)
    asked = training(layers="first_last", saved=saved, learning_rate=1e-2)
    trained = asked.train(base, pairs(8), tmp_path / "training", 0, silent)
    merged = merge_adapter(base, trained.adapter, tmp_path / "merged")
    adapted = logits(PeftModel.from_pretrained(loaded(base), str(trained.adapter)))
    assert torch.allclose(logits(loaded(merged)), adapted, rtol=0, atol=1e-5)
    assert (adapted - logits(loaded(base))).abs().max() > 0.1
    old, new = load_file(base / "model.safetensors"), load_file(merged / "model.safetensors")
    assert old.keys() == new.keys()  # tied stays tied: no head beside the embedding
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    linear = {name for name in old if ".layers." in name and "norm" not in name and ".layers.1." not in name}
    whole = {EMBEDDING} if tied else {{"embedding": EMBEDDING, "head": HEAD}[each] for each in saved}
    assert changed == linear | (whole if saved else set())
    for name in ("config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"):
        assert (merged / name).read_bytes().strip() == (base / name).read_bytes().strip()


def test_every_layer_is_trained_and_bfloat16_stays(tmp_path: Path) -> None:
    base = chat_model(tmp_path / "base", layers=3, dtype="bfloat16")
    trained = training(learning_rate=1e-2).train(base, pairs(8), tmp_path / "training", 0, silent)
    adapter = load_file(trained.adapter / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in adapter.values()} == {torch.float32}
    merged = merge_adapter(base, trained.adapter, tmp_path / "merged")
    old, new = load_file(base / "model.safetensors"), load_file(merged / "model.safetensors")
    assert {tensor.dtype for tensor in new.values()} == {torch.bfloat16}
    assert all(torch.equal(old[name], new[name]) == ("norm" in name) for name in old)
    assert torch.equal(new[HEAD], adapter[f"base_model.model.{HEAD}"].bfloat16())


def test_autocast_in_bfloat16_keeps_masters_that_move(tmp_path: Path) -> None:
    base = chat_model(tmp_path / "base", dtype="bfloat16")
    asked = training(dtype="bfloat16", learning_rate=1e-6, weight_decay=0.0)
    trained = asked.train(base, pairs(8), tmp_path / "training", 0, silent)
    adapter = load_file(trained.adapter / "adapter_model.safetensors")
    head = adapter[f"base_model.model.{HEAD}"]
    assert head.dtype == torch.float32
    assert not torch.equal(head, load_file(base / "model.safetensors")[HEAD].float())


def test_a_sharded_model_stays_sharded(tmp_path: Path) -> None:
    import json

    base = chat_model(tmp_path / "base")
    tensors = load_file(base / "model.safetensors")
    parts = {"model-00001-of-00002.safetensors": [EMBEDDING], "model-00002-of-00002.safetensors": []}
    parts["model-00002-of-00002.safetensors"] = [name for name in tensors if name != EMBEDDING]
    for file, names in parts.items():
        save_file({name: tensors[name] for name in names}, base / file, metadata={"format": "pt"})
    (base / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {name: file for file, names in parts.items() for name in names}}
    (base / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    trained = training(saved=("head",)).train(base, pairs(4), tmp_path / "training", 0, silent)
    merged = merge_adapter(base, trained.adapter, tmp_path / "merged")
    assert sorted(path.name for path in merged.glob("*.safetensors")) == sorted(parts)
    loaded(merged)


def test_a_killed_training_ends_where_an_undisturbed_one_does(tmp_path: Path) -> None:
    base = chat_model(tmp_path / "base")
    asked = training(epochs=2)
    whole = asked.train(base, pairs(14), tmp_path / "whole", 3, silent)
    killed = tmp_path / "killed"
    done = subprocess.run([sys.executable, "-c", KILLED, str(base), str(killed)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (killed / "checkpoint-6").mkdir()  # the kill came while this one was written
    shutil.rmtree(killed / "epoch_end-4")  # or while that one was
    newest = newest_checkpoint(killed)
    assert newest is not None and newest.name == "checkpoint-4"
    heard: list[str] = []
    resumed = asked.train(base, pairs(14), killed, 3, heard.append)
    assert any("goes on from checkpoint-4" in line for line in heard)
    assert resumed.losses == whole.losses and resumed.steps == whole.steps == 8
    one, other = (load_file(each.adapter / "adapter_model.safetensors") for each in (whole, resumed))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert not list(killed.glob("checkpoint-*")) and [step for step, _ in resumed.epochs()] == [4]
    assert asked.train(base, pairs(14), killed, 3, heard.append) == resumed  # finished: nothing is trained again


def test_the_seed_decides_and_nothing_else_does(tmp_path: Path) -> None:
    base = chat_model(tmp_path / "base")
    torch.manual_seed(1)
    first = training().train(base, pairs(8), tmp_path / "one", 5, silent)
    torch.manual_seed(2)
    assert training().train(base, pairs(8), tmp_path / "two", 5, silent).losses == first.losses
    assert training().train(base, pairs(8), tmp_path / "three", 6, silent).losses != first.losses


def test_training_learns_the_answers(tmp_path: Path) -> None:
    base = chat_model(tmp_path / "base")
    trained = training(learning_rate=1e-2, epochs=4).train(base, pairs(16), tmp_path / "training", 0, silent)
    assert trained.losses[-1] < 0.5 * trained.losses[0]


def test_an_adapter_on_one_side_of_a_tied_model_is_refused(tmp_path: Path) -> None:
    base = chat_model(tmp_path / "base", tied=True)
    trained = training(saved=("head",)).train(base, pairs(4), tmp_path / "training", 0, silent)
    file = trained.adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    tensors[f"base_model.model.{HEAD}"] = tensors[f"base_model.model.{HEAD}"] + 1
    save_file(tensors, file)
    with pytest.raises(UserError, match="trains embedding or head of a tied model alone"):
        merge_adapter(base, trained.adapter, tmp_path / "merged")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rank": 0}, "rank must be above 0"),
        ({"micro_batch": 3}, "batch_size is a multiple of micro_batch"),
        ({"layers": "last"}, 'layers is "all" or "first_last"'),
        ({"dtype": "float16"}, "unknown dtype `float16`"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        training(**changed)
    assert message in caught.value.line()
