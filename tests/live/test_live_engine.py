"""The live engine: pushes, restarts, its own process; gathering of sharded models; kills and two ranks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from darumeru.engines import Generate, LogLikelihood, MultipleChoice, Request
from darumeru.engines.vllm_reload import ReloadFailed
from darumeru.leaderboard.curve import read_curve
from darumeru.models.live_weights import checkpoint_weights, signature
from darumeru.training.live_engine import LiveEngine, LiveOptions
from tests.shared_data import ROOT
from tests.tiny_models import make_model, make_tokenizer

PROMPT = tuple(range(10, 160))
REQUESTS = [
    Request(PROMPT, LogLikelihood(tuple(range(100, 140))), ""),
    Request(PROMPT, MultipleChoice(("a", "b"), ((20, 21), (30,)), None), ""),
    Request(PROMPT, Generate(12, ()), ""),
]


def model(folder: Path, **settings: Any) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(make_model(folder, **settings))


def assert_follows(engine: Any, network: Any) -> None:
    """The engine answers as the model itself does."""
    from darumeru.engines.transformers_engine import TransformersEngine

    own = TransformersEngine.from_model(network, make_tokenizer(), 512)
    got, expected = dict(engine.answer(REQUESTS)), dict(own.answer(REQUESTS))
    assert got[0].logprobs == pytest.approx(expected[0].logprobs, abs=1e-3)
    assert got[1].probabilities == pytest.approx(expected[1].probabilities, abs=1e-4)
    assert got[2].tokens == expected[2].tokens


def test_the_engine_follows_weights_and_vocabulary(tmp_path: Path) -> None:
    said: list[str] = []
    live = LiveEngine(LiveOptions(), tmp_path / "live", 512, said.append)
    tokenizer = make_tokenizer()
    for tied in (False, True):
        network = model(tmp_path / f"first-{tied}", tied=tied)
        first = live.push(network, tokenizer, PROMPT)
        assert_follows(first, network)
        other = model(tmp_path / f"second-{tied}", tied=tied, seed=1)
        assert live.push(other, tokenizer, PROMPT) is first
        assert_follows(first, other)
    larger = model(tmp_path / "larger", vocab=640)
    second = live.push(larger, tokenizer, PROMPT)
    assert second is not first
    assert_follows(second, larger)
    live.close()
    assert not said
    assert len(live.pushes) == 5
    assert not list((tmp_path / "live" / "model").glob("*.safetensors"))


def test_the_cache_is_as_large_as_the_questions(tiny_model: Path, tmp_path: Path) -> None:
    """Room for so many tokens (two heads of 16 in two layers, float32), at least for one whole sequence."""
    from darumeru.engines.protocol import EngineOptions
    from darumeru.engines.vllm_setup import _cpu_cache_bytes
    from darumeru.models.files import read_json

    config = read_json(tiny_model / "config.json")
    token = 2 * 4 * config["num_hidden_layers"] * config["num_key_value_heads"] * config["head_dim"]
    options = EngineOptions(str(tiny_model), dtype="float32", max_model_len=2048, cache_tokens=400_000)
    assert _cpu_cache_bytes(options, config) == 400_000 * token
    assert _cpu_cache_bytes(replace(options, dtype="bfloat16"), config) == 200_000 * token
    assert _cpu_cache_bytes(replace(options, cache_tokens=None), config) == 128 * (2048 + 128) * token


def test_memory_is_given_back_between_evaluations(tmp_path: Path) -> None:
    live = LiveEngine(LiveOptions(between="close"), tmp_path / "live", 512)
    network = model(tmp_path / "model")
    first = live.push(network, make_tokenizer(), PROMPT)
    live.rest()
    assert live.engine is None
    second = live.push(network, make_tokenizer(), PROMPT)
    assert second is not first
    assert_follows(second, network)
    live.close()


def test_an_engine_that_differs_is_started_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push that loses a tensor silently is noticed by the canary."""
    from darumeru.training import live_engine

    said: list[str] = []
    live = LiveEngine(LiveOptions(), tmp_path / "live", 512, said.append)
    network = model(tmp_path / "model")
    engine = live.push(network, make_tokenizer(), PROMPT)
    other = model(tmp_path / "other", seed=3)
    lossless = live_engine.checkpoint_weights
    with monkeypatch.context() as patched:
        losing = (pair for pair in lossless(other) if "layers.1.mlp.down_proj" not in pair[0])
        calls = iter([losing])
        patched.setattr(live_engine, "checkpoint_weights", lambda model: next(calls, None) or lossless(model))
        again = live.push(other, make_tokenizer(), PROMPT)
    assert again is not engine
    assert_follows(again, other)
    assert "differs from the model in training" in said[0]
    live.close()


def test_an_engine_in_a_process_of_its_own(tmp_path: Path) -> None:
    live = LiveEngine(LiveOptions(own_process=True), tmp_path / "live", 512)
    engine: Any = None
    for seed in (0, 1):
        network = model(tmp_path / f"model-{seed}", seed=seed, tied=True)
        engine = live.push(network, make_tokenizer(), PROMPT)
        assert_follows(engine, network)
    children = psutil.Process().children(recursive=True)
    with pytest.raises(ReloadFailed, match="refused"):
        engine.reload([("model.embed_tokens.weight", network.get_input_embeddings().weight[:5])])
    live.close()
    assert not [child for child in children if child.is_running() and "spawn_main" in " ".join(child.cmdline())]
    assert not list(Path("/dev/shm").glob("darumeru-*"))


def test_weights_of_adapters_are_merged_in_copies(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    network = model(tmp_path / "model")
    names = signature(network)
    adapted = get_peft_model(
        network, LoraConfig(r=4, target_modules="all-linear", modules_to_save=["embed_tokens"], init_lora_weights=False)
    )
    before = {name: tensor.clone() for name, tensor in adapted.state_dict().items()}
    live = {name: tensor.clone() for name, tensor in checkpoint_weights(adapted)}
    assert signature(adapted) == names
    assert all(tensor.equal(before[name]) for name, tensor in adapted.state_dict().items())
    merged = adapted.merge_and_unload().state_dict()
    assert live.keys() == merged.keys()
    assert all(live[name].sub(merged[name]).abs().max() < 1e-6 for name in live)


def test_sharded_weights_are_gathered_on_the_first_rank(tiny_model: Path) -> None:
    """FSDP of both kinds, with and without adapters; fsdp1-flat: without the original parameters."""
    cases = ["fsdp2", "fsdp2+lora", "fsdp1", "fsdp1+lora", "fsdp1-flat"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    done = subprocess.run(
        [*command, "tests.live.gathering", str(tiny_model), *cases],
        capture_output=True, text=True, env=environment(), cwd=ROOT, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert all(f"{case} on {rank}" in done.stdout for case in cases for rank in (0, 1))


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def driver(model: Path, output: Path, launcher: Sequence[str] = ("-m",), **settings: Any) -> list[str]:
    return [sys.executable, *launcher, "tests.live.training", str(model), str(output), json.dumps(settings)]


def test_two_ranks_train_and_one_evaluates(tiny_model: Path, tmp_path: Path) -> None:
    """accelerate launch with two processes; vLLM in a child of the first."""
    # With --cpu accelerate starts one process, whatever --num_processes says; --multi_gpu starts them through torchrun.
    launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--num_machines=1"]
    launcher += ["--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=29611"]
    output = tmp_path / "out"
    command = driver(tiny_model, output, [*launcher, "--module"])
    surroundings = environment() | {"ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, capture_output=True, text=True, env=surroundings, cwd=ROOT, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(path.name for path in output.glob("rank-*")) == ["rank-0-of-2", "rank-1-of-2"]
    points = read_curve(output / "darumeru" / "curve.jsonl")
    assert [point.step for point in points] == [0, 2, 4, 6, 8, 10, 12]
    assert {point.extra["engine"] for point in points} == {"vllm"}
    assert len(json.loads((output / "losses.json").read_text())) == 12


def test_a_killed_training_goes_on_to_the_same_curve(tiny_model: Path, tmp_path: Path) -> None:
    settings = {"engine": "transformers"}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(driver(tiny_model, whole, **settings), env=environment(), cwd=ROOT, check=True, capture_output=True)
    for number in (signal.SIGKILL, signal.SIGTERM):
        process = subprocess.Popen(
            driver(tiny_model, killed, **settings), env=environment(), cwd=ROOT, stderr=subprocess.DEVNULL
        )
        # In the middle of an evaluation: some answers of step 4 (then 8) are stored, not all.
        step = {signal.SIGKILL: 4, signal.SIGTERM: 8}[number]
        samples = killed / "darumeru" / "steps" / f"step-{step:08d}" / "samples"
        while process.poll() is None and not list(samples.glob("*.jsonl")):
            time.sleep(0.002)
        process.send_signal(number)
        process.wait()
    subprocess.run(driver(tiny_model, killed, **settings), env=environment(), cwd=ROOT, check=True, capture_output=True)
    assert json.loads((killed / "losses.json").read_text()) == json.loads((whole / "losses.json").read_text())
    ours, theirs = (read_curve(folder / "darumeru" / "curve.jsonl") for folder in (killed, whole))
    assert [(point.step, point.scores) for point in ours] == [(point.step, point.scores) for point in theirs]
