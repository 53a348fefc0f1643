"""The reference engine, checked against plain forward passes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from darumeru.core.errors import UserError
from darumeru.engines import EngineDied, EngineOptions, Generate, LogLikelihood, MultipleChoice, Request, load_engine
from darumeru.engines.transformers_engine import TransformersEngine
from tests.engines.asking import LETTERS, Prompts, answers, assert_same, mixed
from tests.tiny_models import make_tokenizer


@pytest.fixture
def model(tiny_model: Path) -> torch.nn.Module:
    model: torch.nn.Module = AutoModelForCausalLM.from_pretrained(tiny_model, attention_dropout=0.5)
    return model


def _logprobs(model: torch.nn.Module, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].double().log_softmax(-1)


def test_scores_are_those_of_a_plain_forward_pass(model: torch.nn.Module) -> None:
    engine = TransformersEngine.from_model(model.eval(), make_tokenizer(), 2048)
    prompts = Prompts(40)
    requests = [Request(prompts.prompt(length), LETTERS) for length in (2, 5, 70)]
    context = prompts.prompt(50)
    requests += [Request(context, LogLikelihood(prompts.ids(length))) for length in (1, 2, 9, 30)]
    for request, answer in zip(requests, answers(engine, requests), strict=True):
        if isinstance(request.kind, MultipleChoice):
            last = _logprobs(model, list(request.prompt))[-1]
            expected = [max(float(last[token]) for token in ids) for ids in LETTERS.token_ids]
            assert answer.probabilities is not None
            got = [math.log(value) for value in answer.probabilities.values()]
        else:
            assert isinstance(request.kind, LogLikelihood) and answer.logprobs is not None
            rows = _logprobs(model, [*request.prompt, *request.kind.continuation])[len(request.prompt) - 1 :]
            expected = [float(rows[at, token]) for at, token in enumerate(request.kind.continuation)]
            got = list(answer.logprobs)
        assert got == pytest.approx(expected, abs=1e-4)


def test_greedy_text_is_the_most_probable_token_each_time(model: torch.nn.Module) -> None:
    engine = TransformersEngine.from_model(model.eval(), make_tokenizer(), 2048)
    prompt = Prompts(41).prompt(11)
    answer = answers(engine, [Request(prompt, Generate(12))])[0]
    ids = list(prompt)
    for token in answer.tokens or ():
        assert int(_logprobs(model, ids)[-1].argmax()) == token
        ids.append(token)
    assert len(answer.tokens or ()) == 12


def test_padding_changes_nothing(tiny_model: Path) -> None:
    requests = mixed(42)
    padded = load_engine("transformers", EngineOptions(model=str(tiny_model)))
    alone = load_engine("transformers", EngineOptions(model=str(tiny_model), batch_size=1))
    assert_same(answers(padded, requests), answers(alone, requests), 1e-4)


def test_only_the_top_k_count(model: torch.nn.Module) -> None:
    engine = TransformersEngine.from_model(model.eval(), make_tokenizer(), 2048)
    prompt = Prompts(43).prompt(20)
    ranked = _logprobs(model, list(prompt))[-1].argsort(descending=True).tolist()
    choice = MultipleChoice(("third", "fourth"), ((ranked[2],), (ranked[3],)), top_k=3)
    got = answers(engine, [Request(prompt, choice)])[0].probabilities
    assert got is not None and got["third"] > 0 and got["fourth"] == 0


def test_a_model_in_training_is_left_in_training(model: torch.nn.Module) -> None:
    """Dropout is off while answering; modes, gradients and weights are as they were; new weights count at once."""
    model.train()
    model.model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    engine = TransformersEngine.from_model(model, make_tokenizer(), 2048)
    requests = mixed(44)
    first = answers(engine, requests)
    assert_same(answers(engine, requests), first, 0)
    iterator = engine.answer(requests)
    next(iterator)
    assert torch.is_grad_enabled() and [module.training for module in model.modules()] == modes
    iterator.close()
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())
    with torch.no_grad():
        model.lm_head.weight.mul_(0.5)
    assert [one.text for one in answers(engine, requests)] != [one.text for one in first] or any(
        one.probabilities != other.probabilities for one, other in zip(answers(engine, requests), first, strict=True)
    )


def test_a_failing_device_is_the_engine_s_death(model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("out of memory\nmore")

    engine = TransformersEngine.from_model(model, make_tokenizer(), 2048)
    monkeypatch.setattr(model, "forward", fail)
    with pytest.raises(EngineDied, match=r"OutOfMemoryError: out of memory$"):
        answers(engine, [Request((1, 2), LETTERS)])


def test_what_transformers_refuses_is_one_line(tiny_model: Path) -> None:
    with pytest.raises(UserError, match="transformers cannot load the model") as caught:
        load_engine("transformers", EngineOptions(model=str(tiny_model), extra={"no_such_argument": 1}))
    assert "\n" not in caught.value.line()
