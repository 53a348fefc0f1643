"""Adapters: the head that was trained is the head that answers; right values from PEFT itself."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from darumeru.core.errors import UserError
from darumeru.engines import EngineOptions, LogLikelihood, MultipleChoice, Request, check_engine, load_engine
from tests.engines.asking import Prompts, answers
from tests.tiny_models import make_model

CHOICE = MultipleChoice(("a", "b", "c"), ((36,), (37,), (38,)))


def _adapter(base: Path, folder: Path, rows: int | None = None, **config: Any) -> Any:
    """A trained adapter in `folder` (all its weights drawn anew); returns PEFT's own model, loaded from there."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    def loaded() -> Any:
        model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
        if rows is not None:
            model.resize_token_embeddings(rows, mean_resizing=False)
        return model

    adapted = get_peft_model(loaded(), LoraConfig(r=4, **config))
    generator = torch.Generator().manual_seed(0)
    for weight in adapted.parameters():
        if weight.requires_grad:
            weight.data = (0.2 * torch.randn(weight.shape, generator=generator)).to(weight.dtype)
    adapted.save_pretrained(folder)
    return PeftModel.from_pretrained(loaded(), folder).eval()


def _expected(model: Any, ids: tuple[int, ...]) -> Any:
    import torch

    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float().log_softmax(-1)


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-4), ("float16", 0.02), ("bfloat16", 0.1)])
@pytest.mark.parametrize(
    "config",
    [
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        {"target_modules": ["q_proj", "embed_tokens"]},
    ],
    ids=["lora-head", "saved-head", "lora-embeddings"],
)
def test_the_head_that_the_adapter_trained_answers(
    tmp_path: Path, config: dict[str, Any], dtype: str, bound: float, tied: bool
) -> None:
    base = _stored_as(make_model(tmp_path / "base", tied=tied, seed=3), dtype)
    peft = _adapter(base, tmp_path / "adapter", **config)
    _assert_equal(base, tmp_path / "adapter", peft, bound, extra=())


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_an_adapter_with_added_rows_answers_as_peft_does(tmp_path: Path, tied: bool) -> None:
    """cases/adapter_with_added_tokens.md: the base grows to the rows that the adapter stores."""
    base = make_model(tmp_path / "base", tied=tied, seed=4)
    rows = _rows(base) + 2
    saved = {"target_modules": ["q_proj", "v_proj"], "modules_to_save": ["embed_tokens", "lm_head"]}
    peft = _adapter(base, tmp_path / "adapter", rows, **saved)
    _assert_equal(base, tmp_path / "adapter", peft, 1e-4, extra=(rows - 2, rows - 1))


def test_vllm_refuses_whole_modules_before_loading(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", seed=4)
    rows = _rows(base)
    options = EngineOptions(model=str(base), lora=str(tmp_path / "adapter"))
    _adapter(base, tmp_path / "adapter", rows + 2, target_modules=["q_proj"], modules_to_save=["embed_tokens"])
    grown = rf"adapter: the adapter stores embeddings of {rows + 2} rows \(the model has {rows}\) in modules_to_save"
    with pytest.raises(UserError, match=f"{grown}; vLLM takes none .*--engine transformers, or merge"):
        check_engine("vllm", options)
    check_engine("transformers", options)
    _adapter(base, tmp_path / "adapter", None, target_modules=["q_proj"], modules_to_save=["lm_head"])
    with pytest.raises(UserError, match=r"the adapter stores whole modules \(lm_head\) in modules_to_save"):
        load_engine("vllm", options)


def test_vllm_refuses_a_kind_of_adapter_that_it_does_not_compute(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", seed=4)
    _adapter(base, tmp_path / "adapter", None, target_modules=["q_proj"], use_dora=True)
    with pytest.raises(UserError, match="DoRA"):
        load_engine("vllm", EngineOptions(model=str(base), lora=str(tmp_path / "adapter")))


def _rows(base: Path) -> int:
    import json

    return int(json.loads((base / "config.json").read_text())["vocab_size"])


def _stored_as(folder: Path, dtype: str) -> Path:
    import torch
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).save_pretrained(folder)
    return folder


def _assert_equal(base: Path, adapter: Path, peft: Any, bound: float, extra: tuple[int, ...]) -> None:
    prompts = Prompts(11)
    asked = [(*prompts.prompt(12), *extra), prompts.prompt(30)]
    tail = (*prompts.ids(5), *extra)
    requests = [Request(ids, kind) for ids in asked for kind in (CHOICE, LogLikelihood(tail))]
    engine = load_engine("transformers", EngineOptions(model=str(base), lora=str(adapter)))
    got = answers(engine, requests)
    for number, ids in enumerate(asked):
        chosen, continued = got[2 * number : 2 * number + 2]
        row = _expected(peft, ids)[-1]
        assert chosen.probabilities is not None and continued.logprobs is not None
        for label, token in zip("abc", (36, 37, 38), strict=True):
            assert math.log(chosen.probabilities[label]) == pytest.approx(float(row[token]), abs=bound)
        rows = _expected(peft, (*ids, *tail))[len(ids) - 1 :]
        right = [float(row[token]) for row, token in zip(rows, tail, strict=False)]
        assert continued.logprobs == pytest.approx(right, abs=bound)
    plain = load_engine("transformers", EngineOptions(model=str(base)))
    assert answers(plain, [Request(asked[1], CHOICE)])[0].probabilities != got[2].probabilities
