"""What one evaluation in the middle of a training costs: live weights, a checkpoint and a new engine, transformers.

    python -m benchmarks.live_speed --model demo/darumeru-demo --samples 256

Every way answers the same requests on the same weights. overhead: all seconds but those of asking. The push alone is
measured on a random Llama of --push-million parameters.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Way:
    """saving, starting, pushing, asking: seconds; scoring belongs to asking."""

    name: str
    saving: float
    starting: float
    pushing: float
    asking: float

    @property
    def overhead(self) -> float:
        return self.saving + self.starting + self.pushing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo/darumeru-demo")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--push-million", type=int, default=58)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="live-speed-") as folder:
        ways = measure(arguments.model, arguments.samples, Path(folder))
        push = measure_push(arguments.push_million, Path(folder))
    if arguments.json:
        print(json.dumps({"ways": [asdict(way) | {"overhead": way.overhead} for way in ways], "push": push}, indent=2))
        return
    for way in ways:
        ratio = way.overhead / ways[0].overhead
        print(
            f"{way.name:34} saving {way.saving:6.2f}  starting {way.starting:6.2f}  pushing {way.pushing:6.3f}  "
            f"asking {way.asking:6.2f} s   overhead {way.overhead:6.2f} s ({ratio:.1f} times live)"
        )
    for name, one in push.items():
        print(
            f"push of {one['gigabytes']:.2f} GB, {name}: {one['seconds']:.2f} s, "
            f"{one['gigabytes'] / one['seconds']:.2f} GB/s"
        )


def measure(model: str, samples: int, folder: Path) -> list[Way]:
    """Live (second push: the first starts the engine), checkpoint and new engine, transformers on the live model."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from darumeru.engines import EngineOptions, load_engine
    from darumeru.engines.transformers_engine import TransformersEngine
    from darumeru.training.config import LiveOptions
    from darumeru.training.live_engine import LiveEngine
    from darumeru.training.live_plan import LivePlan

    network, tokenizer = AutoModelForCausalLM.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    context = network.config.max_position_embeddings
    evaluation = LivePlan(questions(samples, tokenizer, context), "live", tokenizer, context)
    length = evaluation.session.plan.max_length

    def asked(engine: Any, name: str) -> float:
        started = time.perf_counter()
        evaluation.run(engine, folder / name, 0)
        return time.perf_counter() - started

    live = LiveEngine(LiveOptions(), folder, length)
    asked(live.push(network, tokenizer, evaluation.canary), "warm")
    started = time.perf_counter()
    engine: Any = live.push(network, tokenizer, evaluation.canary)
    pushing = time.perf_counter() - started
    ways = [Way("live weights", 0, 0, pushing, asked(engine, "live"))]
    live.close()

    started = time.perf_counter()
    network.save_pretrained(folder / "checkpoint")
    tokenizer.save_pretrained(folder / "checkpoint")
    saving = time.perf_counter() - started
    for own_process in (False, True):
        started = time.perf_counter()
        engine = load_engine(
            "vllm",
            EngineOptions(str(folder / "checkpoint"), max_model_len=length, own_process=own_process),
        )
        starting = time.perf_counter() - started
        asking = asked(engine, "saved")
        started = time.perf_counter()
        engine.close()
        where = "new engine in a process" if own_process else "new engine"
        ways.append(Way(f"checkpoint and {where}", saving, starting + time.perf_counter() - started, 0, asking))
    ways.append(
        Way("transformers, live model", 0, 0, 0, asked(TransformersEngine.from_model(network, tokenizer, length), "hf"))
    )
    print(
        f"{len(evaluation.session.plan.planned)} samples of {len(evaluation.session.plan.tasks)} tasks", file=sys.stderr
    )
    return ways


def questions(samples: int, tokenizer: Any, context: int) -> Any:
    """A LiveConfig: all 17 tasks of the bundled data, as many records of each as make at most so many samples."""
    from darumeru.training.config import LiveConfig
    from darumeru.training.live_plan import LivePlan

    for limit in range(-(-samples // 17), 0, -1):
        config = LiveConfig(data="bundled", limit=limit, num_fewshot=0, every_steps=1)
        if len(LivePlan(config, "live", tokenizer, context).session.plan.planned) <= samples:
            break
    return config


def measure_push(million: int, folder: Path) -> dict[str, dict[str, float]]:
    """Median of three pushes after the one that starts the engine, in this process and into a child."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from darumeru.training.config import LiveOptions
    from darumeru.training.live_engine import LiveEngine

    tokenizer = AutoTokenizer.from_pretrained("demo/darumeru-demo")
    hidden, vocabulary = 512, 32_000
    layers = max(1, round((million * 1e6 - 2 * hidden * vocabulary) / (hidden * hidden * 4 + 3 * hidden * 1536)))
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=1536,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=512,
    )
    network = LlamaForCausalLM(config)
    found = {}
    for own_process in (False, True):
        place = folder / f"push-{own_process}"
        live = LiveEngine(LiveOptions(own_process=own_process), place, 512)
        for _ in range(4):
            live.push(network, tokenizer)
        seconds, size = sorted(live.pushes[1:])[1]
        found["child process" if own_process else "this process"] = {"seconds": seconds, "gigabytes": size / 1e9}
        live.close()
        shutil.rmtree(place, ignore_errors=True)
    return found


if __name__ == "__main__":
    main()
