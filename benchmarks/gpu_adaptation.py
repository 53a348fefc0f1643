"""The adaptation's part of `gpu_check`: Learned Embedding Propagation and Token Distillation on a GPU.

Propagation agrees with the processor's on a small shape and is measured at the shape of LLaMA-3-8B (9 GB of synthetic
checkpoints, written first); distillation agrees on a small model and is measured on random weights of 8B.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

PRODUCTS = ("Gram matrix", "right-hand side", "residual", "solving", "applying")
PRODUCT_SECONDS = 2.0
ROUNDED_OTHERWISE = 0.01
"""Share of bfloat16 numbers that may round to the neighbour: sums in another order."""


def propagation_agrees(model: str, folder: Path) -> list[Any]:
    """The rows of a result on the GPU beside those of the processor."""
    import torch

    from benchmarks.gpu_line import Line
    from benchmarks.synthetic_checkpoint import EMBEDDING, HEAD, Shape, write_models
    from darumeru.models.checkpoint import open_checkpoint
    from lep_plugins import propagate

    base, target, donor = write_models(folder, Shape(512, 8192, 9000, extended=True, neighbour_bytes=1 << 20))
    for device in ("cpu", "cuda"):
        propagate(base, target, donor, folder / device, device=device)
    lines = []
    for name in (EMBEDDING, HEAD):
        one, other = (open_checkpoint(folder / device).rows(name).float() for device in ("cpu", "cuda"))
        differ = float((one != other).float().mean())
        far = float(((one - other).abs() / one.abs().clamp(min=1e-6)).max())
        good = differ < ROUNDED_OTHERWISE and bool(torch.isfinite(other).all())
        lines.append(Line(f"lep on the GPU, {name}", f"{differ:.2%} round otherwise, at most by {far:.1e}", good))
    return lines


def propagation_8b(model: str, folder: Path) -> list[Any]:
    """From the command to the complete checkpoint at the shape of LLaMA-3-8B, 46,560 tokens added."""
    import time

    from benchmarks.gpu_line import Line
    from benchmarks.synthetic_checkpoint import Shape, write_models
    from lep_plugins import propagate

    base, target, donor = write_models(folder, Shape(rows_donor=174_816, extended=True))
    began = time.perf_counter()
    report = propagate(base, target, donor, folder / "out", device="cuda")
    seconds = time.perf_counter() - began
    products = sum(cost.seconds for name, cost in report.costs.items() if name in PRODUCTS)
    parts = ", ".join(f"{name} {cost.seconds:.1f}" for name, cost in report.costs.items())
    return [
        Line("lep, LLaMA-3-8B shape, seconds", f"{seconds:.1f}: {parts}"),
        Line("of these products", f"{products:.2f} (goal: under {PRODUCT_SECONDS:g})", products < PRODUCT_SECONDS),
    ]


def distillation(model: str, folder: Path) -> list[Any]:
    """The loss of random snippets on the GPU beside the processor's, then the speed at 8B."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from benchmarks.gpu_line import Line, loaded
    from benchmarks.init_cost import distill, random_distillation
    from lep_plugins.initialization.distiller import distance

    found = []
    for device in ("cpu", "cuda"):
        distiller, batch = random_distillation(loaded(model, "float32", device), -1, 8, 32)
        found.append(float(distance(distiller, batch).detach()))
    good = abs(found[0] - found[1]) <= 1e-3 * found[0]
    shape = LlamaConfig(
        vocab_size=128_256, hidden_size=4096, intermediate_size=14_336, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8, dtype="bfloat16",
    )  # fmt: skip
    with torch.device("cuda"):
        network = LlamaForCausalLM(shape).to(torch.bfloat16)
    cost = distill(network, -1)["distill"]
    speed = f"{cost['tokens_per_second']:.0f} tokens of text a second, {cost['gflops'] / 1000:.0f} TFLOP/s"
    return [
        Line("distill: loss on the processor and the GPU", f"{found[0]:.6g}, {found[1]:.6g}", good),
        Line("distill at 8B, full depth", f"{speed}, {cost['seconds_per_token'] * 1000:.0f} ms for a new token"),
    ]
