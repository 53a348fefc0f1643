"""A LoRA adapter as a donor: split and applied, it gives what merging it first gives (invariant 23)."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from darumeru.core.errors import UserError
from lep_plugins.propagation import propagate
from tests.lep.lep_models import Folders, edit_json, generator, make_folders, weights

pytest.importorskip("peft")
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
CASES: dict[str, dict[str, Any]] = {
    "whole matrices": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
    "low rank": {"target_modules": ["embed_tokens", "lm_head"], "lora_alpha": 16},
    "rank-stabilized, patterns": {
        "target_modules": ["embed_tokens", "lm_head"],
        "use_rslora": True,
        "rank_pattern": {"lm_head": 2},
        "alpha_pattern": {"embed_tokens": 3},
    },
}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Folders]:
    return {
        tied: make_folders(tmp_path_factory.mktemp("lora"), tied=tied, dtype=torch.float32) for tied in (False, True)
    }


def adapter(folders: Folders, place: Path, layers: bool = False, **settings: Any) -> tuple[Path, Path]:
    """(adapter folder, merged model folder): LoRA on the donor with random weights where it trains."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folders.donor, dtype=torch.float32)
    trained = get_peft_model(model, LoraConfig(**({"r": 4, "task_type": "CAUSAL_LM"} | settings)))
    source = generator(3)
    with torch.no_grad():
        for name, parameter in trained.named_parameters():
            if parameter.requires_grad and (layers or "q_proj" not in name):
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=source))
    trained.save_pretrained(place / "adapter", save_embedding_layers=False)
    edit_json(place / "adapter" / "adapter_config.json", base_model_name_or_path=str(folders.donor))
    trained.merge_and_unload().save_pretrained(place / "merged")
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(folders.donor / file, place / "merged" / file)
    return place / "adapter", place / "merged"


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("method", ["conversion", "swap"])
def test_an_adapter_of_embeddings_is_what_it_merges_to(
    both: dict[bool, Folders], tmp_path: Path, case: str, method: str
) -> None:
    folders = both[False]
    split, merged = adapter(folders, tmp_path, **CASES[case])
    assert not torch.equal(weights(merged)[EMBEDDING], weights(folders.donor)[EMBEDDING])
    results = []
    for donor in (split, merged):
        output = tmp_path / f"out-{donor.name}"
        propagate(folders.base, folders.target, donor, output, method)
        results.append(weights(output))
    assert results[0].keys() == results[1].keys()
    for name in results[0]:
        assert torch.allclose(results[0][name], results[1][name], rtol=1e-5, atol=1e-6), name
    for name in results[0].keys() - {EMBEDDING, HEAD}:
        assert torch.equal(results[0][name], weights(folders.target)[name])


def test_layer_parts_are_added_to_the_target(both: dict[bool, Folders], tmp_path: Path) -> None:
    folders = both[False]
    settings = {"target_modules": ["q_proj", "down_proj"], "modules_to_save": ["embed_tokens", "lm_head"]}
    split, merged = adapter(folders, tmp_path, layers=True, **settings)
    propagate(folders.base, folders.target, split, tmp_path / "out")
    result, target = weights(tmp_path / "out"), weights(folders.target)
    before, after = weights(folders.donor), weights(merged)
    moved = 0
    for name in result.keys() - {EMBEDDING, HEAD}:
        expected = target[name].float() + (after[name] - before[name].float())
        assert torch.allclose(result[name].float(), expected, rtol=2**-8, atol=1e-6), name
        moved += not torch.equal(after[name], before[name].float())
    assert moved == 4  # two layers, q_proj and down_proj


def test_a_tied_model_takes_an_adapter_of_whole_matrices_that_keeps_it_tied(
    both: dict[bool, Folders], tmp_path: Path
) -> None:
    folders = both[True]
    options = {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}
    split, merged = adapter(folders, tmp_path, **options)
    for donor in (split, merged):
        propagate(folders.base, folders.target, donor, tmp_path / f"out-{donor.name}")
    one, other = weights(tmp_path / "out-adapter"), weights(tmp_path / "out-merged")
    assert HEAD not in one
    assert torch.allclose(one[EMBEDDING], other[EMBEDDING], rtol=1e-5, atol=1e-6)


def test_a_tied_model_takes_a_low_rank_adapter_that_keeps_it_tied(both: dict[bool, Folders], tmp_path: Path) -> None:
    """Against the definition: merging such an adapter in PEFT adds the change twice, once a module."""
    folders = both[True]
    split, _ = adapter(folders, tmp_path, target_modules=["embed_tokens"], ensure_weight_tying=True)
    parts = load_file(str(split / "adapter_model.safetensors"))
    assert any("lm_head.lora_B" in name for name in parts)
    name = "base_model.model.model.embed_tokens.lora_embedding_"
    expected = weights(folders.donor)[EMBEDDING] + (parts[f"{name}B"] @ parts[f"{name}A"]).T * 2  # alpha 8 / r 4
    propagate(folders.base, folders.target, split, tmp_path / "out", "swap")
    assert torch.allclose(weights(tmp_path / "out")[EMBEDDING][:520], expected[:520], atol=1e-5)


def refuse(folders: Folders, message: str) -> None:
    with pytest.raises(UserError) as caught:
        propagate(folders.base, folders.target, folders.donor, folders.output)
    assert message in caught.value.line() and not folders.output.exists()


def test_adapters_that_cannot_be_split_are_refused(both: dict[bool, Folders], tmp_path: Path) -> None:
    split, _ = adapter(both[False], tmp_path, target_modules=["q_proj", "lm_head"])
    folders = replace(both[False], donor=split, output=tmp_path / "out")
    file, config = split / "adapter_model.safetensors", split / "adapter_config.json"
    plain, tensors = config.read_text(), load_file(str(file))
    for settings, message in (
        ({"use_dora": True}, "adapter of kind DoRA"),
        ({"peft_type": "IA3"}, "adapter of kind IA3"),
        ({"base_model_name_or_path": str(tmp_path / "nowhere")}, "nowhere"),
        ({"base_model_name_or_path": None}, "base_model_name_or_path names no model"),
        ({"base_model_name_or_path": 5}, "base_model_name_or_path must be text"),
    ):
        edit_json(config, **settings)
        refuse(folders, message)
        config.write_text(plain)
    prefix = "base_model.model."
    for name, message in (
        ("model.embed_tokens.trainable_tokens_delta", "trainable_tokens_delta is not supported"),
        ("model.norm.weight", "stores the whole of model.norm.weight"),
        ("model.layers.7.self_attn.q_proj.lora_A.weight", "no lora_B for model.layers.7.self_attn.q_proj"),
    ):
        save_file(tensors | {prefix + name: torch.zeros((4, 4))}, str(file))
        refuse(folders, message)
    head = f"{prefix}lm_head.lora_B.weight"
    save_file(tensors | {head: torch.zeros((5, 4))}, str(file))
    refuse(folders, "does not fit shape [576, 32]")
    file.unlink()
    refuse(folders, "no adapter_model.safetensors")


@pytest.mark.parametrize("alone", ["embed_tokens", "lm_head"])
def test_an_adapter_that_unties_a_tied_model_is_refused(both: dict[bool, Folders], tmp_path: Path, alone: str) -> None:
    split, _ = adapter(both[False], tmp_path, target_modules=[alone])
    edit_json(split / "adapter_config.json", base_model_name_or_path=str(both[True].donor))
    folders = replace(both[True], donor=split, output=tmp_path / "out")
    refuse(folders, "the adapter trains embedding or head of a tied model alone")


def test_base_and_target_must_be_whole_models(both: dict[bool, Folders], tmp_path: Path) -> None:
    split, _ = adapter(both[False], tmp_path, target_modules=["q_proj"])
    refuse(replace(both[False], target=split, output=tmp_path / "out"), "the target is an adapter")
    assert json.loads((split / "adapter_config.json").read_text())["r"] == 4
