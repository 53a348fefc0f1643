"""What the vLLM engine does beside answering rightly."""

from __future__ import annotations

import gc
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from darumeru.core.errors import UserError
from darumeru.engines import EngineDied, EngineOptions, Generate, LogLikelihood, MultipleChoice, Request, load_engine
from darumeru.engines.vllm_setup import engine_args
from tests.engines.asking import LETTERS, Prompts, answers, assert_same, mixed
from tests.tiny_models import make_model


def test_an_iterator_closed_early_leaves_the_engine_usable(vllm_engine: Any) -> None:
    requests = mixed(20)
    expected = answers(vllm_engine, requests)
    iterator = vllm_engine.answer(requests)
    for _ in range(3):
        next(iterator)
    iterator.close()
    assert not vllm_engine.llm_engine.has_unfinished_requests()
    assert_same(answers(vllm_engine, requests), expected, 1e-4)


def test_answers_come_as_they_are_finished(vllm_engine: Any) -> None:
    """A long text is asked first and answered last; more requests than fit the window are no problem."""
    prompts = Prompts(21)
    long = Request(prompts.prompt(20), Generate(300, ("no such text in there",)))
    requests = [long] + [Request(prompts.prompt(8), LETTERS) for _ in range(400)]
    order = [index for index, _ in vllm_engine.answer(requests)]
    assert sorted(order) == list(range(401))
    assert order.index(0) > 200


def test_shared_contexts_are_computed_once(vllm_engine: Any) -> None:
    """Sixteen continuations of one context of 1,024 tokens: the engine computes little more than one of them."""
    prompts = Prompts(22)
    context = prompts.prompt(1024)
    scheduled = 0
    scheduler = vllm_engine.llm_engine.engine_core.engine_core.scheduler
    schedule = scheduler.schedule

    def counting(*arguments: Any, **named: Any) -> Any:
        nonlocal scheduled
        output = schedule(*arguments, **named)
        scheduled += output.total_num_scheduled_tokens
        return output

    scheduler.schedule = counting
    try:
        answers(vllm_engine, [Request(context, LogLikelihood(prompts.ids(10))) for _ in range(16)])
    finally:
        del scheduler.schedule
    assert 1024 <= scheduled < 1024 + 16 * (128 + 10)


def test_starting_it_disturbs_nothing(tiny_model: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    random.seed(1), numpy.random.seed(1), torch.manual_seed(1)
    before = (random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    set_threads, threads = torch.set_num_threads, torch.get_num_threads()
    preload, world = os.environ.get("LD_PRELOAD"), os.environ.get("LOCAL_WORLD_SIZE")
    log = tmp_path / "engine.log"
    engine = load_engine("vllm", EngineOptions(model=str(tiny_model), max_model_len=512, seed=7, log_file=str(log)))
    answers(engine, [Request(Prompts(23).prompt(9), LETTERS), Request(Prompts(23).prompt(9), Generate(5))])
    engine.close()
    engine.close()
    after = (random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    assert after == before
    assert torch.set_num_threads is set_threads and torch.get_num_threads() == threads
    assert (os.environ.get("LD_PRELOAD"), os.environ.get("LOCAL_WORLD_SIZE")) == (preload, world)
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32
    assert gc.get_freeze_count() == 0
    assert capfd.readouterr().out == ""
    assert "Initializing a V1 LLM engine" in log.read_text()


def test_closing_one_engine_leaves_another_alone(vllm_engine: Any, tiny_model: Path) -> None:
    requests = [Request(Prompts(24).prompt(9), LETTERS)]
    expected = answers(vllm_engine, requests)
    load_engine("vllm", EngineOptions(model=str(tiny_model), max_model_len=256)).close()
    gc.collect()
    assert_same(answers(vllm_engine, requests), expected, 1e-5)


def test_nan_is_an_error_and_never_a_number(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model = make_model(tmp_path / "model")
    weights = load_file(model / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    prompts = Prompts(25)
    requests = [
        Request(prompts.prompt(9), LETTERS),
        Request(prompts.prompt(9), MultipleChoice(("x",), ((5,),), top_k=5)),
        Request(prompts.prompt(9), Generate(5)),
        Request(prompts.prompt(9), LogLikelihood(prompts.ids(1))),
        Request(prompts.prompt(9), LogLikelihood(prompts.ids(5))),
    ]
    for name in ("transformers", "vllm"):
        engine = load_engine(name, EngineOptions(model=str(model)))
        got = answers(engine, requests)
        engine.close()
        assert [one.error for one in got] == ["the model's log-probabilities are NaN"] * len(requests), name
        assert all(one.probabilities is None and one.text is None and one.logprobs is None for one in got)


def test_a_failing_step_is_the_engine_s_death_and_finished_answers_stay(tiny_model: Path) -> None:
    engine: Any = load_engine("vllm", EngineOptions(model=str(tiny_model), max_model_len=512))
    steps = engine.llm_engine.step
    calls = 0

    def failing() -> Any:
        nonlocal calls
        calls += 1
        if calls > 6:
            raise RuntimeError("out of memory\nand a long story")
        return steps()

    engine.llm_engine.step = failing
    got = []
    with pytest.raises(EngineDied, match=r"^RuntimeError: out of memory$"):
        for each in engine.answer([Request(Prompts(n).prompt(5), Generate(n)) for n in range(1, 20)]):
            got.append(each)
    engine.close()
    assert sorted(index for index, _ in got) == [0, 1, 2, 3, 4, 5]


def test_half_precision_logits_do_not_tie(tmp_path: Path) -> None:
    """A bfloat16 model gets a float32 head: far fewer equal scores than bfloat16 has room for."""
    model = make_model(tmp_path / "model", dtype="bfloat16")
    every = tuple(range(120))
    choice = MultipleChoice(tuple(map(str, every)), tuple((n,) for n in every))
    request = Request(Prompts(26).prompt(30), choice)
    for name in ("vllm", "transformers"):
        engine = load_engine(name, EngineOptions(model=str(model)))
        got = answers(engine, [request])[0].probabilities
        engine.close()
        assert got is not None and len(set(got.values())) > 115, name


@pytest.fixture
def broken(tiny_model: Path, tmp_path: Path) -> Iterator[Path]:
    yield Path(shutil.copytree(tiny_model, tmp_path / "broken"))


def test_what_vllm_refuses_is_one_line(broken: Path, vllm_engine: Any) -> None:
    text = (broken / "config.json").read_text().replace("LlamaForCausalLM", "NoSuchModel")
    (broken / "config.json").write_text(text.replace('"model_type": "llama"', '"model_type": "nothing_known"'))
    log = broken / "log"
    with pytest.raises(UserError, match="vLLM cannot load the model") as caught:
        load_engine("vllm", EngineOptions(model=str(broken), log_file=str(log)))
    assert "\n" not in caught.value.line() and str(log) in caught.value.mend
    assert "Traceback" in log.read_text()
    assert answers(vllm_engine, [Request(Prompts(27).prompt(9), LETTERS)])[0].error is None


def test_engine_args_are_vllm_s_own_and_others_are_named(tiny_model: Path) -> None:
    options = EngineOptions(
        model=str(tiny_model), extra={"max_num_seqs": 3, "hf_overrides": {"x": 1}}, dtype="bfloat16"
    )
    made = engine_args(options)
    assert made.max_num_seqs == 3
    assert made.hf_overrides == {"head_dtype": "float32", "x": 1}
    with pytest.raises(UserError, match="did you mean max_num_seqs"):
        engine_args(EngineOptions(model=str(tiny_model), extra={"max_num_seq": 3}))


def test_settings_for_the_cpu_are_made_only_there(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm.platforms import current_platform

    options = EngineOptions(model=str(tiny_model), tensor_parallel=4, pipeline_parallel=2, max_model_len=512)
    on_cpu = engine_args(options)
    assert on_cpu.enforce_eager and on_cpu.kv_cache_memory_bytes >= 1 << 26
    monkeypatch.setattr(type(current_platform), "is_cpu", lambda _self: False)
    elsewhere = engine_args(options)
    assert not elsewhere.enforce_eager and elsewhere.kv_cache_memory_bytes is None
    assert (elsewhere.tensor_parallel_size, elsewhere.pipeline_parallel_size) == (4, 2)


def test_float32_weights_stay_float32(tiny_model: Path, tmp_path: Path) -> None:
    half = make_model(tmp_path / "half", dtype="bfloat16")
    assert engine_args(EngineOptions(model=str(tiny_model))).dtype == "float32"
    assert engine_args(EngineOptions(model=str(half))).dtype == "auto"
    assert engine_args(EngineOptions(model=str(tiny_model), dtype="bfloat16")).dtype == "bfloat16"


@pytest.mark.parametrize("tied", [False, True], ids=["own head", "tied"])
def test_a_float32_head_is_packed_once_and_says_what_vllm_says(tied: bool, tmp_path: Path) -> None:
    """On a CPU; beside vLLM's own head, which casts its weights at every step. The bound is that of a sum's order."""
    half = make_model(tmp_path / "half", dtype="bfloat16", tied=tied)
    engine: Any = load_engine("vllm", EngineOptions(model=str(half)))
    model = engine.llm_engine.apply_model(lambda one: one)[0]
    requests = mixed(12)
    packed = answers(engine, requests)
    assert "_apply_head" in vars(model.logits_processor)
    del model.logits_processor._apply_head
    engine.llm_engine.reset_prefix_cache()
    assert_same(packed, answers(engine, requests), 1e-5)
    engine.close()
