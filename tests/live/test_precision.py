"""The live engine follows the precision of training, and wrong weights are found in each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from darumeru.core.errors import UserError
from darumeru.models.live_weights import checkpoint_weights
from darumeru.training import live_engine
from darumeru.training.live_engine import LiveEngine, LiveOptions
from darumeru.training.precision import computing_dtype, computing_in
from tests.tiny_models import TEXTS, make_model, make_tokenizer

Weights = dict[str, torch.Tensor]
PROMPT = tuple(make_tokenizer()(" ".join(TEXTS))["input_ids"])
# Weights, autocast, and the type in which matrices are multiplied then.
PRECISIONS = [
    ("float32", None, "float32"),
    ("float32", "bfloat16", "bfloat16"),
    ("float32", "float16", "float16"),
    ("bfloat16", None, "bfloat16"),
    ("float16", None, "float16"),
]


def autocast(dtype: str | None) -> AbstractContextManager[Any]:
    return torch.autocast("cpu", dtype=getattr(torch, dtype)) if dtype else nullcontext()


def transposed_head(new: Weights, old: Weights) -> Weights:
    name = "lm_head.weight" if "lm_head.weight" in new else "model.embed_tokens.weight"
    return new | {name: new[name].T.reshape(new[name].shape)}


def old_layer(new: Weights, old: Weights) -> Weights:
    return new | {name: one for name, one in old.items() if "layers.1." in name}


def old_norm_and_down_projection(new: Weights, old: Weights) -> Weights:
    return new | {name: one for name, one in old.items() if "layers.0.mlp.down_proj" in name or "0.input_lay" in name}


def keep_head(stale: torch.Tensor, model: Any) -> None:
    """What a packed copy of tied embeddings does when nobody refreshes it."""
    model.lm_head.weight = torch.nn.Parameter(stale.to(model.lm_head.weight.dtype), requires_grad=False)
    model.lm_head.quant_method.process_weights_after_loading(model.lm_head)


def trained(network: Any, tokenizer: Any, dtype: str | None) -> None:
    """A few steps, with a scaler where float16 needs one."""
    embeddings = network.get_input_embeddings().weight
    others = [one for one in network.parameters() if one is not embeddings]
    # Embeddings move by 2 %: much less would be lost in bfloat16's own 0.4 %.
    optimizer = torch.optim.SGD([{"params": others}, {"params": [embeddings], "lr": 0.2}], lr=0.02)
    scaler = torch.amp.GradScaler("cpu", enabled=dtype == "float16")
    for text in TEXTS[:6]:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with autocast(dtype):
            loss = network(input_ids=ids, labels=ids).loss
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()


def loaded(folder: Path, **settings: Any) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(make_model(folder, **settings))


def copies(network: Any) -> Weights:
    return {name: tensor.clone() for name, tensor in checkpoint_weights(network)}


@pytest.mark.parametrize("tied", [False, True], ids=["own head", "tied"])
@pytest.mark.parametrize(("weights", "cast", "computing"), PRECISIONS, ids=lambda one: str(one))
def test_wrong_weights_are_found_in_every_precision(
    weights: str, cast: str | None, computing: str, tied: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right ones before and after a few steps of training pass; a head read the wrong way round, a layer, parts of a
    layer and a tied head that stayed behind are found."""
    tokenizer = make_tokenizer()
    network = loaded(tmp_path / "model", tied=tied, dtype=weights)
    live = LiveEngine(LiveOptions(), tmp_path / "live", 512, pytest.fail)
    with autocast(cast):
        live.push(network, tokenizer, PROMPT)
    old = copies(network)
    trained(network, tokenizer, cast)
    new = copies(network)
    assert live.dtype == computing == str(live.engine.llm_engine.vllm_config.model_config.dtype).removeprefix("torch.")

    def agrees(pushed: Weights) -> bool:
        with monkeypatch.context() as patched, autocast(cast):
            patched.setattr(live_engine, "checkpoint_weights", lambda _: iter(pushed.items()))
            live._push(network, tokenizer)
            return live._agrees(network, tokenizer, PROMPT)

    assert agrees(new)
    mistakes: list[Callable[[Weights, Weights], Weights]] = [transposed_head, old_layer, old_norm_and_down_projection]
    for mistake in mistakes:
        assert not agrees(mistake(new, old)), mistake.__name__
        assert agrees(new), mistake.__name__
    if tied:
        stale = old["model.embed_tokens.weight"]
        monkeypatch.setattr("darumeru.engines.vllm_head._refresh_tied_head", partial(keep_head, stale))
        assert not agrees(new), "new embeddings, the head of the push before"
    live.close()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_model_computes_in_another_type_without_being_touched(dtype: str, tmp_path: Path) -> None:
    """As the model that is cast for good does (its head in float32, as engines have it)."""
    network = loaded(tmp_path / "model", tied=True, dtype="bfloat16").eval()
    kept = {name: (one.data_ptr(), one.dtype) for name, one in network.named_parameters()}
    ids = torch.tensor([PROMPT[:40]])
    with torch.no_grad():
        with computing_in(network, dtype):
            here = network(input_ids=ids).logits
        assert {name: (one.data_ptr(), one.dtype) for name, one in network.named_parameters()} == kept
        cast = type(network).from_pretrained(tmp_path / "model", dtype=dtype).eval()
        hidden = cast.model(input_ids=ids).last_hidden_state.float()
        assert torch.equal(here, hidden @ cast.lm_head.weight.float().T)


@pytest.mark.usefixtures("new_accelerate")
def test_the_type_of_a_model_that_accelerate_prepared(tmp_path: Path) -> None:
    from accelerate import Accelerator

    network = loaded(tmp_path / "model")
    assert computing_dtype(network) == "float32"
    prepared = Accelerator(cpu=True, mixed_precision="bf16").prepare(network)
    assert computing_dtype(prepared) == "bfloat16"
    assert prepared.training is network.training
    with torch.no_grad(), computing_in(prepared, "float32"):
        inside = prepared(input_ids=torch.tensor([PROMPT[:8]])).logits
    assert torch.equal(inside, loaded(tmp_path / "model").eval()(input_ids=torch.tensor([PROMPT[:8]])).logits)


@pytest.fixture
def live_in_float32(tmp_path: Path) -> Iterator[LiveEngine]:
    live = LiveEngine(LiveOptions(dtype="float32"), tmp_path / "live", 512, pytest.fail)
    yield live
    live.close()


def test_a_stated_type_is_kept(live_in_float32: LiveEngine, tmp_path: Path) -> None:
    network = loaded(tmp_path / "model", dtype="bfloat16")
    engine: Any = live_in_float32.push(network, make_tokenizer(), PROMPT)
    assert engine.llm_engine.vllm_config.model_config.dtype == torch.float32 and live_in_float32.dtype == "float32"


@pytest.mark.parametrize("options", [{"dtype": "bf16"}, {"engine": "vlm"}, {"between": "sleeps"}])
def test_unknown_live_options_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(UserError, match="unknown"):
        LiveOptions(**options)  # type: ignore[arg-type]
