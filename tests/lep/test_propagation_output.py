"""What a propagation writes: invariants 19, 20 and 22, the report, the step of a recipe."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from darumeru.adaptation.protocols import Candidate, Step, StepContext
from darumeru.core.errors import UserError
from darumeru.models.checkpoint import open_checkpoint
from lep_plugins.propagation import PropagationStep
from tests.lep.lep_models import (
    ADDED,
    EMBEDDING,
    HEAD,
    Folders,
    assert_rows,
    edit_json,
    embedding,
    ordinary_rows,
    refuse,
    rewrite,
    run,
    tokenizer,
    weights,
    write_json,
)

# Invariant 19: tied models, nested configs, scales


def test_a_tied_model_is_fitted_once_and_keeps_one_matrix(tied: Folders) -> None:
    from transformers import AutoModelForCausalLM

    result, report = run(tied)
    assert len(report.matrices) == 1 and report.tied and HEAD not in result
    model = AutoModelForCausalLM.from_pretrained(tied.output)
    assert model.get_input_embeddings().weight.data_ptr() == model.get_output_embeddings().weight.data_ptr()


def test_a_redundant_head_of_a_tied_target_is_not_written(tied: Folders, tmp_path: Path) -> None:
    target = Path(shutil.copytree(tied.target, tmp_path / "target"))
    rewrite(target, lambda tensors: tensors.update({HEAD: embedding(tensors).clone()}))
    result, _ = run(replace(tied, target=target))
    assert HEAD not in result and json.loads((target / "config.json").read_text())["tie_word_embeddings"]


def test_tied_and_untied_models_do_not_mix(folders: Folders, tied: Folders) -> None:
    refuse(replace(folders, base=tied.base), "base has tied embeddings, target untied")
    refuse(replace(folders, donor=tied.donor), "base has untied embeddings, donor tied")


def test_scales_of_embeddings_must_agree(own: Folders, tmp_path: Path) -> None:
    before, _ = run(own)
    for folder in (own.base, own.target, own.donor):
        edit_json(folder / "config.json", embedding_multiplier=12.0)
    after, _ = run(replace(own, output=tmp_path / "again"))
    assert_rows(after[EMBEDDING], before[EMBEDDING])  # a common factor cancels
    edit_json(own.target / "config.json", embedding_multiplier=6.0)
    refuse(
        replace(own, output=tmp_path / "no"), "embedding scales: embedding_multiplier 12.0 and embedding_multiplier 6.0"
    )


def test_a_head_with_a_bias_is_refused_by_name(own: Folders) -> None:
    rewrite(own.target, lambda tensors: tensors.update({"lm_head.bias": torch.zeros(len(tensors[HEAD])).bfloat16()}))
    refuse(own, "lm_head.bias is not supported")


def test_a_model_with_a_nested_text_config(own: Folders, tmp_path: Path) -> None:
    plain, _ = run(own)
    for folder in (own.base, own.target, own.donor):

        def nest(tensors: dict[str, torch.Tensor]) -> None:
            for name in list(tensors):
                tensors[name.replace("model.", "model.language_model.")] = tensors.pop(name)
            tensors["model.vision_tower.embeddings.weight"] = torch.ones((4, 4))

        config = json.loads((folder / "config.json").read_text())
        file = folder / "model.safetensors"
        tensors = weights(folder)
        nest(tensors)
        save_file(tensors, str(file), metadata={"format": "pt"})
        outer = {"architectures": ["Seeing"], "text_config": config, "image_token_id": config["eos_token_id"]}
        (folder / "config.json").write_text(json.dumps(outer))
    nested, _ = run(replace(own, output=tmp_path / "again"))
    assert_rows(nested["model.language_model.embed_tokens.weight"], plain[EMBEDDING])
    written = json.loads((tmp_path / "again" / "config.json").read_text())
    assert written["text_config"]["vocab_size"] == len(plain[EMBEDDING]) and "vocab_size" not in written
    end = tokenizer(tmp_path / "again").token_to_id("<|im_end|>")
    assert (written["image_token_id"], written["text_config"]["eos_token_id"]) == (end, end)


# Invariant 20: everything else is the target's


def test_every_other_tensor_is_the_targets_byte_for_byte(folders: Folders) -> None:
    result, _ = run(folders)
    target = weights(folders.target)
    assert result.keys() == target.keys()
    for name in result.keys() - {EMBEDDING, HEAD}:
        assert_rows(result[name], target[name])


def test_sharded_in_is_sharded_out(own: Folders, tmp_path: Path) -> None:
    plain, _ = run(own)
    tensors = list(weights(own.target).items())
    (own.target / "model.safetensors").unlink()
    names: dict[str, str] = {}
    for place in range(4):
        file = f"model-{place + 1:05}-of-00004.safetensors"
        part = dict(tensors[place::4])
        names |= dict.fromkeys(part, file)
        save_file(part, str(own.target / file), metadata={"format": "pt"})
    write_json(own.target / "model.safetensors.index.json", {"metadata": {"total_size": 0}, "weight_map": names})
    sharded, _ = run(replace(own, output=tmp_path / "again"))
    assert sharded.keys() == plain.keys()
    assert all(torch.equal(sharded[name], plain[name]) for name in plain)
    assert sorted(path.name for path in (tmp_path / "again").glob("*.safetensors")) == sorted(set(names.values()))
    for name, file in names.items():
        same = {names[EMBEDDING], names[HEAD]}.isdisjoint({file})
        if same:
            assert (tmp_path / "again" / file).read_bytes() == (own.target / file).read_bytes(), name


def test_memory_is_of_the_order_of_the_embeddings_not_of_the_model(own: Folders, tmp_path: Path) -> None:
    big = torch.zeros((2048, 4096), dtype=torch.bfloat16)
    layers = {f"model.layers.9.big_{place}.weight": big.clone() for place in range(8)}
    tensors = weights(own.target)
    save_file(tensors, str(own.target / "small.safetensors"), metadata={"format": "pt"})
    save_file(layers, str(own.target / "large.safetensors"), metadata={"format": "pt"})
    (own.target / "model.safetensors").unlink()
    names = dict.fromkeys(tensors, "small.safetensors") | dict.fromkeys(layers, "large.safetensors")
    write_json(own.target / "model.safetensors.index.json", {"weight_map": names})
    del layers, big
    status = Path("/proc/self/status").read_text()
    before = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))
    _, report = run(own)
    peaks = [cost.peak_bytes for cost in report.costs.values() if cost.peak_bytes is not None]
    assert peaks and max(peaks) - before < 60e6 < (own.target / "large.safetensors").stat().st_size / 2
    assert (own.output / "large.safetensors").stat().st_size == (own.target / "large.safetensors").stat().st_size


# Invariant 22: tokenizer, config and generation config agree by name


def test_ids_are_found_again_by_name(folders: Folders) -> None:
    run(folders)
    result, target = tokenizer(folders.output), tokenizer(folders.target)
    end = result.token_to_id("<|im_end|>")
    assert end != target.token_to_id("<|im_end|>")
    config = json.loads((folders.output / "config.json").read_text())
    generation = json.loads((folders.output / "generation_config.json").read_text())
    old = json.loads((folders.target / "generation_config.json").read_text())
    by_name = [target.id_to_token(token_id) for token_id in old["eos_token_id"]]
    assert isinstance(generation["eos_token_id"], list)
    assert [result.id_to_token(token_id) for token_id in generation["eos_token_id"]] == by_name
    assert config["eos_token_id"] == end
    assert result.id_to_token(config["bos_token_id"]) == "<|begin_of_text|>"
    assert result.id_to_token(generation["pad_token_id"]) == "<|end_of_text|>"
    assert (generation["temperature"], generation["do_sample"]) == (0.6, True)
    unrelated = ("hidden_size", "intermediate_size", "max_position_embeddings", "num_hidden_layers")
    before = json.loads((folders.target / "config.json").read_text())
    assert {key: config[key] for key in unrelated} == {key: before[key] for key in unrelated}


def test_the_tokenizer_is_the_donors_with_the_targets_tokens_and_template(folders: Folders) -> None:
    from transformers import AutoTokenizer

    run(folders)
    loaded, target = (AutoTokenizer.from_pretrained(folder) for folder in (folders.output, folders.target))
    donor = tokenizer(folders.donor)
    text = "Мельник и почтальон.\n\tdef f(x): return 1234"
    assert loaded(text)["input_ids"] == donor.encode(text).ids
    assert (loaded.eos_token, loaded.bos_token) == ("<|im_end|>", "<|begin_of_text|>")
    flags = {token.content: token for token in loaded.added_tokens_decoder.values()}
    assert [(flags[name].special, flags[name].normalized) for name, _ in ADDED] == [(flag, False) for _, flag in ADDED]
    talk = [{"role": "user", "content": "Привет"}]
    rendered = loaded.apply_chat_template(talk, tokenize=False)
    assert rendered == target.apply_chat_template(talk, tokenize=False) == "<|im_start|>Привет<|im_end|>"
    ids = loaded(rendered, add_special_tokens=False)["input_ids"]
    assert ids[0] == loaded.convert_tokens_to_ids("<|im_start|>") and ids[-1] == loaded.eos_token_id


def test_an_id_that_no_token_has_becomes_null_and_is_reported(own: Folders) -> None:
    edit_json(own.target / "generation_config.json", pad_token_id=575, forced_bos_token_id=-1, suppress_tokens=[575])
    _, report = run(own)
    generation = json.loads((own.output / "generation_config.json").read_text())
    assert (generation["pad_token_id"], generation["forced_bos_token_id"], generation["suppress_tokens"]) == (
        None,
        -1,
        [],
    )
    assert "no token of the result stands for pad_token_id: 575 of the target" in report.warnings


def test_report_and_audit_lie_in_the_result(folders: Folders) -> None:
    _, report = run(folders)
    assert json.loads((folders.output / "lep" / "report.json").read_text())["matrices"] == json.loads(
        json.dumps(report.to_json()["matrices"])
    )
    audit = json.loads((folders.output / "lep" / "vocabulary_delta.json").read_text())
    assert audit["counts"] == dict(report.tokens)
    part = report.matrices[0]
    assert len(part.moved) == 10
    donor, result = weights(folders.donor)[EMBEDDING].float(), weights(folders.output)[EMBEDDING].float()
    rows = torch.tensor(ordinary_rows(folders))
    moved = (result - donor[: len(result)])[rows].norm(dim=1)
    assert {token.id for token in part.moved} == set(rows[moved.topk(10).indices].tolist())
    assert part.moved[0].change == pytest.approx(float(moved.max()), rel=1e-2)
    from rich.console import Console

    with Console(width=100, record=True, file=open("/dev/null", "w")) as console:
        console.print(report.render())
    text = console.export_text()
    assert "rank" in text and "32 of 32" in text and "condition number" in text


# The step of a recipe


def test_the_step_yields_one_candidate(folders: Folders, tmp_path: Path) -> None:
    step = PropagationStep(method="overlap")
    assert isinstance(step, Step) and step.name == "lep"
    said: list[str] = []
    context = StepContext(tmp_path / "step", {"base": folders.base, "target": folders.target}, say=said.append)
    candidates = list(step.run(context, Candidate(folders.donor)))
    assert len(candidates) == 1 and candidates[0].path.parent == tmp_path / "step"
    assert candidates[0].parameters == {"method": "overlap", "force": False} and candidates[0].step == "lep"
    assert str(folders.donor) in candidates[0].parents and said
    assert open_checkpoint(candidates[0].path).vocab_rows == 576
    with pytest.raises(UserError, match="needs an input target"):
        list(step.run(StepContext(tmp_path / "other", {"base": folders.base}), Candidate(folders.donor)))
    with pytest.raises(UserError, match="did you mean overlap"):
        PropagationStep(method="overlp")
