"""vLLM against transformers, both real, on the same float32 weights."""

from __future__ import annotations

import itertools
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from darumeru.engines import Engine, EngineOptions, Generate, LogLikelihood, Request, load_engine
from tests.engines.asking import LETTERS, Prompts, answers, assert_same, mixed
from tests.tiny_models import make_model, make_tokenizer


@pytest.fixture(scope="module")
def reference(tiny_model: Path) -> Engine:
    return load_engine("transformers", EngineOptions(model=str(tiny_model)))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_mixed_stream_gets_the_reference_s_answers(vllm_engine: Engine, reference: Engine, seed: int) -> None:
    requests = mixed(seed)
    assert_same(answers(vllm_engine, requests), answers(reference, requests), 1e-3)


def test_a_warm_cache_changes_nothing(vllm_engine: Engine) -> None:
    requests = mixed(2)
    assert_same(answers(vllm_engine, requests), answers(vllm_engine, requests), 1e-4)


def test_the_answers_differ_between_prompts(reference: Engine) -> None:
    """Otherwise agreement would say nothing."""
    prompts = Prompts(3)
    got = answers(reference, [Request(prompts.prompt(30), LETTERS) for _ in range(20)])
    assert len({max(one.probabilities or {}, key=(one.probabilities or {}).__getitem__) for one in got}) == 3


@pytest.mark.parametrize("penalty", [1.05, 1.5])
def test_repetition_is_punished_as_transformers_does(
    vllm_engine: Engine, reference: Engine, tiny_model: Path, penalty: float
) -> None:
    """Beside transformers' own generate, of one prompt at a time; without it random models go round in circles."""
    network = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    prompts = Prompts(6)
    requests = [Request(prompts.prompt(size), Generate(24, repetition_penalty=penalty)) for size in (4, 9, 30)]
    plain = [Request(one.prompt, Generate(24)) for one in requests]
    right = []
    for one in requests:
        ids = torch.tensor([one.prompt])
        made = network.generate(ids, max_new_tokens=24, do_sample=False, repetition_penalty=penalty)[0].tolist()
        ended = set(network.generation_config.eos_token_id if isinstance(network.generation_config.eos_token_id, list)
                    else [network.generation_config.eos_token_id])  # fmt: skip
        right.append(tuple(token for token in made[len(one.prompt) :] if token not in ended))
    for engine in (vllm_engine, reference):
        assert [one.tokens for one in answers(engine, [*plain, *requests])][3:] == right
        assert [one.tokens for one in answers(engine, plain)] != right


@pytest.mark.parametrize("total", [2047, 2048])
def test_prompt_and_continuation_may_fill_the_context(vllm_engine: Engine, reference: Engine, total: int) -> None:
    prompts = Prompts(4)
    context = prompts.prompt(2000)
    requests = [Request(context, LogLikelihood(prompts.ids(total - 2000))), Request(prompts.prompt(total - 1), LETTERS)]
    assert_same(answers(vllm_engine, requests), answers(reference, requests), 1e-3)


def test_what_does_not_fit_is_an_error_and_the_others_are_answered(vllm_engine: Engine, reference: Engine) -> None:
    prompts = Prompts(5)
    context = prompts.prompt(2000)
    requests = [
        Request(prompts.prompt(2048), LETTERS),
        Request(context, LogLikelihood(prompts.ids(49))),
        Request((), Generate(4)),
        Request(prompts.prompt(5), LETTERS),
    ]
    for engine in (vllm_engine, reference):
        got = answers(engine, requests)
        assert [one.error for one in got] == [
            "needs 2049 tokens, the engine's context has 2048",
            "needs 2049 tokens, the engine's context has 2048",
            "the prompt has no token ids",
            None,
        ]


def test_a_generation_ends_where_the_context_does(vllm_engine: Engine, reference: Engine) -> None:
    request = Request(Prompts(6).prompt(2040), Generate(100))
    ours, theirs = answers(vllm_engine, [request])[0], answers(reference, [request])[0]
    assert_same([ours], [theirs], 0)
    assert (len(ours.tokens or ()), ours.finish_reason) == (8, "length")


def test_every_way_a_text_can_end(reference: Engine, tiny_model: Path, tmp_path: Path) -> None:
    """At any end token of the generation config, at a stop string (cut out of text and tokens alike), at the budget."""
    tokenizer = make_tokenizer()
    prompts = Prompts(7)
    starts = [prompts.prompt(12) for _ in range(40)]
    free = answers(reference, [Request(prompt, Generate(40)) for prompt in starts])
    common = Counter(token for answer in free for token in answer.tokens or ()).most_common(1)[0][0]
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": [tokenizer.eos_token_id, common]}))
    stops = (" ", "о", "r")
    requests = [Request(prompt, Generate(40, stop)) for prompt, stop in itertools.product(starts, ((), stops))]
    expected = answers(load_engine("transformers", EngineOptions(model=str(model))), requests)
    engine = load_engine("vllm", EngineOptions(model=str(model)))
    ours = answers(engine, requests)
    engine.close()
    assert_same(ours, expected, 0)
    endings = set()
    for request, answer in zip(requests, ours, strict=True):
        assert isinstance(request.kind, Generate) and answer.text is not None and answer.tokens is not None
        assert common not in answer.tokens
        assert not any(stop in answer.text for stop in request.kind.stop)
        decoded = tokenizer.decode(answer.tokens, skip_special_tokens=True)
        assert answer.text.startswith(decoded) if request.kind.stop else answer.text == decoded
        endings.add((bool(request.kind.stop), answer.finish_reason, len(answer.tokens) == 40))
    assert endings >= {(False, "stop", False), (False, "length", True), (True, "stop", False)}


def test_sentencepiece_models_agree_too(tmp_path: Path) -> None:
    """A tied head, and a tokenizer whose decoding drops the first word's space."""
    model = str(make_model(tmp_path / "model", kind="sentencepiece", tied=True, seed=5))
    requests = mixed(8) + [Request(Prompts(seed).prompt(9), Generate(30, (" ", "a"))) for seed in range(20)]
    expected = answers(load_engine("transformers", EngineOptions(model=model)), requests)
    engine = load_engine("vllm", EngineOptions(model=model))
    try:
        assert_same(answers(engine, requests), expected, 1e-3)
    finally:
        engine.close()


def test_an_adapter_is_applied_in_both(tiny_model: Path, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(tiny_model)
    adapted = get_peft_model(plain, LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"]))
    generator = torch.Generator().manual_seed(0)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            weight.data = 0.3 * torch.randn(weight.shape, generator=generator)
    adapted.save_pretrained(tmp_path)
    requests = [request for request in mixed(9) if len(request.prompt) < 130]
    options = EngineOptions(model=str(tiny_model), lora=str(tmp_path))
    expected = answers(load_engine("transformers", options), requests)
    base = answers(load_engine("transformers", EngineOptions(model=str(tiny_model))), requests)
    engine = load_engine("vllm", options)
    try:
        assert_same(answers(engine, requests), expected, 1e-3)
    finally:
        engine.close()
    assert [one.text for one in base] != [one.text for one in expected]
