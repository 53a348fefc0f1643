"""Tokens a second of the pre-training loop beside transformers.Trainer, on the same model, blocks and threads.

    python -m benchmarks.pretraining_speed --steps 12 --threads 2

A random Llama of about 3 million parameters in float32, every weight trained with AdamW. Contestants take turns, each
in `--rounds` trainings; the first 2 steps of a training are not counted. Prints one JSON object: tokens/s of the best
round of each and their ratio.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WARM = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--block", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--vocabulary", type=int, default=3072)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    shape = (options.steps, options.batch, options.block)
    ids = torch.randint(6, options.vocabulary, shape, generator=torch.Generator().manual_seed(0))
    contestants: dict[str, Callable[[Any, Any, Path], list[float]]] = {"ours": run_loop, "trainer": run_trainer}
    tokens = (options.steps - WARM) * options.batch * options.block
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(options.rounds):
        for name, contestant in contestants.items():
            with tempfile.TemporaryDirectory() as folder:
                times = contestant(random_model(options.vocabulary), ids, Path(folder))
            rates[name].append(tokens / (times[-1] - times[WARM - 1]))
            print(f"{name}: {rates[name][-1]:,.0f} tokens/s", file=sys.stderr)
    best = {name: max(found) for name, found in rates.items()}
    found = {
        "parameters": sum(one.numel() for one in random_model(options.vocabulary).parameters()),
        "tokens_per_second": {name: round(rate, 1) for name, rate in best.items()},
        "rounds": {name: [round(rate, 1) for rate in each] for name, each in rates.items()},
        "ratio": round(best["ours"] / best["trainer"], 3),
        **vars(options),
    }
    print(json.dumps(found))


def random_model(vocabulary: int) -> Any:
    """The architecture of recipes/nano.yaml."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=192,
            intermediate_size=480,
            num_hidden_layers=4,
            num_attention_heads=6,
            num_key_value_heads=6,
            max_position_embeddings=2048,
        )
    )


def run_loop(model: Any, ids: Any, folder: Path) -> list[float]:
    """When each step ended, in seconds."""
    from lep_plugins.training.training_loop import LoopSettings, TrainingLoop

    times: list[float] = []
    settings = LoopSettings(len(ids), 1e-3, 1, 0.1, 0.1, save_every=len(ids) + 1)
    loop = TrainingLoop(
        model,
        lambda step: [{"input_ids": ids[step], "labels": ids[step]}],
        settings,
        folder,
        {},
        lambda text: None,
        lambda step, trained: times.append(time.perf_counter()),
    )
    list(loop.run())
    return times


def run_trainer(model: Any, ids: Any, folder: Path) -> list[float]:
    """When each step ended, in seconds."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    times: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *given: Any, **named: Any) -> None:
            times.append(time.perf_counter())

    arguments = TrainingArguments(
        str(folder),
        per_device_train_batch_size=ids.shape[1],
        max_steps=len(ids),
        learning_rate=1e-3,
        weight_decay=0.1,
        optim="adamw_torch_fused",
        lr_scheduler_type="cosine",
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    rows = [{"input_ids": row, "labels": row} for row in ids.flatten(0, 1)]
    Trainer(model, arguments, train_dataset=rows, callbacks=[Clock()]).train()
    return times


if __name__ == "__main__":
    main()
