"""A training loop without a Trainer, scored while it runs: the three lines with `evaluation`.

python examples/accelerate_loop.py --model demo/darumeru-demo --output runs/loop
"""

from __future__ import annotations

import argparse

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer

from darumeru import LiveEvaluation

TEXTS = ["Кошка спит на окне.", "Собака лежит у двери.", "Вчера вечером шёл дождь.", "Дети читали книги."]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo/darumeru-demo")
    parser.add_argument("--output", default="runs/loop")
    parser.add_argument("--tasks", default="darumeru/parus,darumeru/cp_sent_ru")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--mixed-precision", default="bf16")
    arguments = parser.parse_args()
    accelerator = Accelerator(mixed_precision=arguments.mixed_precision)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype="float32")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    data = DataLoader([tokenizer(text, return_tensors="pt")["input_ids"][0] for text in TEXTS * arguments.steps])
    model, optimizer, data = accelerator.prepare(model, optimizer, data)

    evaluation = LiveEvaluation(arguments.tasks, data="bundled", limit=8, output=arguments.output)
    for step, ids in zip(range(1, arguments.steps + 1), data, strict=False):
        accelerator.backward(model(input_ids=ids, labels=ids).loss)
        optimizer.step()
        optimizer.zero_grad()
        if step % 2 == 0:
            scores = evaluation.score(model, tokenizer, step)
            accelerator.print(f"step {step}: mean {scores['mean']:.3f}")
    evaluation.close()


if __name__ == "__main__":
    main()
