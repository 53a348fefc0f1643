"""What scores cost a real trl training: the callback in SFTTrainer as it comes (float32 weights, bf16 autocast).

    python -m benchmarks.live_training --model .venv/real/SmolLM2-135M-Instruct --samples 256
    python -m benchmarks.live_training --model .venv/real/SmolLM2-135M-Instruct --samples 256 --overhead

Two training steps, scored before the first and after each, beside what the trainer's own checkpoint and a new engine
on it cost; and the memory of this process before the first evaluation and between evaluations. --overhead: the same
without a question and without a training step, in seconds of the clock and of the processor, for a busy machine.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from transformers import TrainerCallback

from benchmarks.live_speed import questions

TEXT = "Кошка спит на окне, а собака лежит у двери и ждёт хозяина. " * 8
STEPS = 2


@dataclass(frozen=True)
class Cost:
    """Seconds: first, of the evaluation that starts the engine; overhead and asked, medians of the later ones; step, of
    a training step; saving and starting, of a checkpoint and a new engine. MiB: held, between evaluations more than
    before the first; cache, of them for keys and values; freed, given back at the engine's end."""

    samples: int
    parameters: int
    dtype: str
    first: float
    overhead: float
    asked: float
    step: float
    saving: float
    starting: float
    held: float
    cache: float
    freed: float

    def lines(self) -> list[str]:
        times = (self.saving + self.starting) / self.overhead
        return [
            f"{self.samples} samples, {self.parameters / 1e6:.0f} M parameters, engine in {self.dtype}",
            f"a training step {self.step:.2f} s, the first evaluation {self.first:.1f} s",
            f"later ones: overhead {self.overhead:.2f} s, asking and scoring {self.asked:.1f} s",
            f"checkpoint {self.saving:.2f} s and new engine {self.starting:.1f} s: {times:.1f} times the overhead",
            f"held between evaluations {self.held:.0f} MiB ({self.cache:.0f} of them cache), "
            f"given back at the end {self.freed:.0f}",
        ]


class Probe(TrainerCallback):  # type: ignore[misc]
    """Goes before the callback that it watches. memory: MiB when training begins and at each step's beginning."""

    def __init__(self) -> None:
        self.memory: list[float] = []
        self.steps: list[float] = []
        self._began = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.memory.append(resident())

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.memory.append(resident())
        self._began = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.steps.append(time.perf_counter() - self._began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo/darumeru-demo")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--overhead", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.overhead:
        with tempfile.TemporaryDirectory(prefix="live-training-") as folder:
            overhead(arguments.model, arguments.samples, Path(folder))
        return
    with tempfile.TemporaryDirectory(prefix="live-training-") as folder:
        cost = measure(arguments.model, arguments.samples, Path(folder))
    print(json.dumps(asdict(cost), indent=2) if arguments.json else "\n".join(cost.lines()))


def measure(model: str, samples: int, folder: Path) -> Cost:
    from darumeru.engines import EngineOptions, load_engine

    probe, (trainer, callback) = Probe(), made(model, samples, folder)
    trainer.callback_handler.callbacks.insert(0, probe)
    before_end: list[Any] = []
    close = callback.on_train_end
    callback.on_train_end = lambda *given, **named: (before_end.append(_look(callback)), close(*given, **named))
    trainer.train()
    (cache, length), resting = before_end[0], resident()
    first, *later = (point.extra for point in callback.points)
    started = time.perf_counter()
    trainer.save_model(str(folder / "saved"))
    saving = time.perf_counter() - started
    started = time.perf_counter()
    load_engine("vllm", EngineOptions(str(folder / "saved"), dtype=first["dtype"], max_model_len=length)).close()
    starting = time.perf_counter() - started
    return Cost(
        samples=len(callback.evaluation.plan.session.plan.planned),
        parameters=trainer.model.num_parameters(),
        dtype=first["dtype"],
        first=first["seconds"],
        overhead=median(each["push_seconds"] for each in later),
        asked=median(each["seconds"] - each["push_seconds"] for each in later),
        step=median(probe.steps),
        saving=saving,
        starting=starting,
        held=probe.memory[1] - probe.memory[0],
        cache=cache,
        freed=probe.memory[-1] - resting,
    )


def made(model: str, samples: int, folder: Path) -> tuple[Any, Any]:
    """trl's SFTTrainer with its defaults, and the callback in it."""
    from datasets import Dataset
    from transformers import AutoConfig, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    from darumeru import DarumeruCallback
    from darumeru.runs.config import config_as

    tokenizer = AutoTokenizer.from_pretrained(model)
    config = questions(samples, tokenizer, AutoConfig.from_pretrained(model).max_position_embeddings)
    callback = config_as(DarumeruCallback, config, live=config.live)
    arguments = SFTConfig(
        str(folder), max_steps=STEPS, save_strategy="no", use_cpu=True, report_to=[], disable_tqdm=True
    )
    data = Dataset.from_list([{"text": TEXT}] * 8 * STEPS)
    return SFTTrainer(
        model, args=arguments, train_dataset=data, processing_class=tokenizer, callbacks=[callback]
    ), callback


def overhead(model: str, samples: int, folder: Path) -> None:
    """Prints what an evaluation costs beside its questions, on float32 weights under bf16 autocast."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from darumeru.engines import EngineOptions, load_engine
    from darumeru.training.config import LiveOptions
    from darumeru.training.live_engine import LiveEngine
    from darumeru.training.live_plan import LivePlan

    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForCausalLM.from_pretrained(model, dtype="float32")
    context = network.config.max_position_embeddings
    plan = LivePlan(questions(samples, tokenizer, context), "live", tokenizer, context)
    length = plan.session.plan.max_length
    live = LiveEngine(LiveOptions(), folder / "live", length, cache_tokens=plan.tokens)
    before = resident()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for name in ("first push, with the engine's start", "second push", "third push"):
            with timed(name):
                live.push(network, tokenizer, plan.canary)
    print(f"held {resident() - before:.0f} MiB, for {plan.tokens} tokens", flush=True)
    live.close()
    print(f"held after its end {resident() - before:.0f} MiB", flush=True)
    with timed("checkpoint"):
        network.save_pretrained(folder / "saved")
        tokenizer.save_pretrained(folder / "saved")
    with timed("new engine"):
        load_engine("vllm", EngineOptions(str(folder / "saved"), dtype="bfloat16", max_model_len=length)).close()


@contextmanager
def timed(name: str) -> Iterator[None]:
    clock, processor = time.perf_counter(), time.process_time()
    yield
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    print(f"{name}: {clock:.2f} s, {processor:.2f} s of the processor", flush=True)


def _look(callback: Any) -> tuple[float, int]:
    """MiB of the engine's cache of keys and values, and its length of prompts."""
    engine = callback.evaluation.engine.engine
    return engine.llm_engine.vllm_config.cache_config.kv_cache_memory_bytes / 2**20, engine.max_model_len


def resident() -> float:
    """MiB of this process."""
    return float(psutil.Process().memory_info().rss) / 2**20


if __name__ == "__main__":
    main()
