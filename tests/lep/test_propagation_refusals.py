"""Bad input to a propagation: one clear line, and nothing is written."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, models

from darumeru.core.errors import UserError
from darumeru.models.checkpoint import open_checkpoint
from lep_plugins.conversion import Origin, conversion_matrix
from tests.lep.lep_models import (
    EMBEDDING,
    HEAD,
    Folders,
    generator,
    make_base,
    refuse,
    rewrite,
    run,
    tokenizer,
)


def test_models_that_do_not_fit_are_refused(own: Folders, tmp_path: Path) -> None:
    qwen = make_base(tmp_path / "qwen", "qwen", False, 32, torch.bfloat16)
    wide = make_base(tmp_path / "wide", "llama3", False, 48, torch.bfloat16)
    refuse(replace(own, target=qwen), "base and target differ in architecture: LlamaForCausalLM and Qwen3ForCausalLM")
    refuse(replace(own, target=wide), "base and target differ in hidden size: 32 and 48")
    refuse(replace(own, donor=wide), "base and donor differ in hidden size: 32 and 48")
    refuse(replace(own, base=tmp_path / "nowhere"), "nowhere")


def test_a_donor_from_another_base_is_refused_unless_forced(own: Folders, tmp_path: Path) -> None:
    def strangers(tensors: dict[str, torch.Tensor]) -> None:
        tensors[EMBEDDING] = torch.randn(tensors[EMBEDDING].shape, generator=generator(5)).bfloat16()

    rewrite(own.donor, strangers)
    refuse(own, "the donor was not made from this base: rows of shared tokens differ")
    run(own, force=True)
    assert open_checkpoint(own.output).vocab_rows == 576


def test_a_donor_without_the_bases_special_tokens_is_refused(own: Folders) -> None:
    text = (own.donor / "tokenizer.json").read_text(encoding="utf-8")
    (own.donor / "tokenizer.json").write_text(text.replace("<|begin_of_text|>", "<|start_of_text|>"), encoding="utf-8")
    refuse(own, "the donor has no token <|begin_of_text|> of the base")


def test_tokens_beyond_the_rows_are_no_tokens_of_the_model(own: Folders, tmp_path: Path) -> None:
    """A padding token that was added to the tokenizers and never got a row: everything else is as without it."""
    before, _ = run(own)
    for role in ("base", "target"):
        folder = getattr(own, role)
        grown, rows = tokenizer(folder), open_checkpoint(folder).vocab_rows
        names = [f"<|extra_{place}|>" for place in range(rows - grown.get_vocab_size())] + ["<|late_pad|>"]
        grown.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
        grown.save(str(folder / "tokenizer.json"))
        assert grown.token_to_id("<|late_pad|>") == rows
    after, report = run(replace(own, output=tmp_path / "again"))
    first = tokenizer(own.donor).get_vocab_size()
    late = tokenizer(tmp_path / "again").token_to_id("<|late_pad|>")
    assert late == first + len(report.appended) - 1 and "<|late_pad|>" in report.appended
    for name in (EMBEDDING, HEAD):
        assert torch.equal(after[name][:first], before[name][:first])
        filled = after[name][late:]  # the token without a row, and padding
        assert torch.equal(filled, filled[:1].expand(len(filled), -1))
        assert torch.isfinite(filled.float()).all()


def test_a_tokenizer_of_an_unknown_kind_is_refused(own: Folders) -> None:
    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(own.donor / "tokenizer.json"))
    refuse(own, "tokenizer of an unknown kind")
    (own.donor / "tokenizer.json").unlink()
    refuse(own, "no tokenizer.json")


def test_no_shared_tokens_for_overlap(own: Folders) -> None:
    """A donor whose every ordinary token is longer than any of the base's."""
    state = json.loads((own.donor / "tokenizer.json").read_text(encoding="utf-8"))
    vocab = {piece * 40: token_id for piece, token_id in state["model"]["vocab"].items()}
    state["model"] |= {"vocab": vocab, "merges": []}
    (own.donor / "tokenizer.json").write_text(json.dumps(state), encoding="utf-8")
    refuse(own, "no shared tokens: nothing to fit", "overlap", force=True)
    run(own, "conversion", force=True)


@pytest.mark.parametrize("role", ["base", "target", "donor"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_are_refused_by_row(own: Folders, role: str, value: float) -> None:
    bad = conversion_matrix(tokenizer(own.base), tokenizer(own.donor)).one_hot(Origin.COPIED)[role != "donor"][40]

    def damage(tensors: dict[str, torch.Tensor]) -> None:
        tensors[HEAD][bad, 3] = value

    rewrite(getattr(own, role), damage)
    refuse(own, f"{HEAD}: NaN or infinity in row {bad}", force=True)


def test_damaged_files_and_used_outputs_are_refused(own: Folders) -> None:
    own.output.mkdir()
    (own.output / "mine").write_text("x")
    with pytest.raises(UserError, match="not empty"):
        run(own)
    assert [path.name for path in own.output.iterdir()] == ["mine"]
    shutil.rmtree(own.output)
    refuse(own, "there are chat_vector, conversion, overlap, swap", "convert")
    (own.donor / "model.safetensors").write_bytes((own.donor / "model.safetensors").read_bytes()[:-7])
    refuse(own, "is cut short")


def test_chat_vector_needs_all_layers(own: Folders) -> None:
    rewrite(own.donor, lambda tensors: tensors.pop("model.norm.weight"))  # type: ignore[arg-type, return-value]
    refuse(own, "no tensor model.norm.weight", "chat_vector")
