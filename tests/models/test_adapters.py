"""LoRA adapters are judged by their files: what they change, what they store, whether they fit the model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from darumeru.core.errors import UserError
from darumeru.models.adapters import read_adapter
from darumeru.models.model_files import find_model, fingerprint_folder

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def trained(model: Path, folder: Path, added: int = 0, **settings: Any) -> Path:
    """An adapter as PEFT saves it, on the model with `added` more embedding rows."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(model)
    if added:
        network.resize_token_embeddings(600 + added)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", **settings)
    get_peft_model(network, config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def plain(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tiny_model, tmp_path_factory.mktemp("adapters") / "plain")


@pytest.fixture
def adapter(plain: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(plain, tmp_path / "adapter"))


def edit(folder: Path, **changes: object) -> None:
    path = folder / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_plain_adapter(plain: Path, tiny_model: Path) -> None:
    found = read_adapter(plain)
    assert (found.path, found.base, found.rank) == (plain, str(tiny_model), 4)
    assert (found.target_modules, found.modules_to_save, found.rows) == (("q_proj", "v_proj"), (), None)
    assert found.fingerprint == fingerprint_folder(plain) and len(found.pairs) == 4 and not found.other
    found.require_rows(find_model(str(tiny_model)).embedding_rows)


def test_stored_embeddings_of_more_rows_than_the_model(tiny_model: Path, tmp_path: Path) -> None:
    """The case "adapter_with_added_tokens": a base of 600 rows, resized to 602, embedding and head saved whole."""
    folder = trained(tiny_model, tmp_path / "a", 2, modules_to_save=["embed_tokens", "lm_head"])
    found = read_adapter(folder)
    assert found.modules_to_save == ("embed_tokens", "lm_head") and found.rows == 602
    with pytest.raises(UserError, match=r"the adapter stores embeddings of 602 rows, the model has 600 .*merge it"):
        found.require_rows(find_model(str(tiny_model)).embedding_rows)


def test_low_rank_changes_of_the_embedding_have_its_rows(tiny_model: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(tiny_model)
    config = LoraConfig(r=4, target_modules=["embed_tokens", "lm_head"], rank_pattern={"lm_head": 16})
    get_peft_model(network, config).save_pretrained(tmp_path / "a", save_embedding_layers=False)
    found = read_adapter(tmp_path / "a")
    assert (found.rows, found.rank, found.modules_to_save) == (600, 16, ())


def test_the_fingerprint_is_that_of_the_content(adapter: Path) -> None:
    before = read_adapter(adapter).fingerprint
    edit(adapter, base_model_name_or_path="/elsewhere")
    assert read_adapter(adapter).fingerprint == before
    edit(adapter, lora_alpha=16)
    assert read_adapter(adapter).fingerprint != before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("r", 0), ("r", "x"), ("r", 2.5), ("lora_alpha", "x"), ("lora_alpha", float("nan"))],
        *[("target_modules", 5), ("target_modules", [5]), ("modules_to_save", "lm_head"), ("rank_pattern", [4])],
        *[("rank_pattern", {"q_proj": "x"}), ("alpha_pattern", {"q_proj": None}), ("peft_type", 5)],
        *[("base_model_name_or_path", ["x"]), ("use_dora", "no")],
    ],
)
def test_fields_of_a_wrong_kind_are_named(adapter: Path, field: str, value: object) -> None:
    edit(adapter, **{field: value})
    with pytest.raises(UserError, match=rf"adapter_config\.json: {field} must be") as caught:
        read_adapter(adapter)
    assert "\n" not in caught.value.line()


def test_weights_that_do_not_belong_together(adapter: Path) -> None:
    tensors = load_file(adapter / WEIGHTS)
    name = next(name for name in tensors if "lora_A" in name)
    save_file({key: value for key, value in tensors.items() if key != name}, adapter / WEIGHTS)
    with pytest.raises(UserError, match="the adapter has no lora_A for"):
        read_adapter(adapter)
    save_file(tensors | {name: tensors[name][:2].clone()}, adapter / WEIGHTS)
    with pytest.raises(UserError, match=r"lora_A and lora_B of .* differ in rank"):
        read_adapter(adapter)
    save_file(tensors, adapter / WEIGHTS)
    edit(adapter, r=2)
    with pytest.raises(UserError, match=r"adapter_config\.json: r is 2, but lora_A of .* has rank 4"):
        read_adapter(adapter)
    edit(adapter, r=4)
    both = {"model.embed_tokens.weight": torch.zeros(602, 4), "lm_head.weight": torch.zeros(600, 4)}
    save_file(tensors | {f"base_model.model.{key}": value for key, value in both.items()}, adapter / WEIGHTS)
    with pytest.raises(UserError, match="embeddings of 600 and 602 rows"):
        read_adapter(adapter)
    (adapter / WEIGHTS).write_bytes(b"x" * 100)
    with pytest.raises(UserError, match=r"adapter_model\.safetensors: is not a safetensors file"):
        read_adapter(adapter)
    (adapter / CONFIG).write_text("[")
    with pytest.raises(UserError, match=r"adapter_config\.json:1: broken JSON"):
        read_adapter(adapter)
