"""What initializers cost: `mean`, `omp` and the like on checkpoints of true shape, `distill` by the token of text."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

PIECES = 4
"""Old tokens of a new one."""


def initialize(folder: Path, methods: list[str]) -> dict[str, Any]:
    """Seconds from the command to the complete checkpoint: the base's embeddings with the donor's vocabulary."""
    from lep_plugins.conversion import ConversionMatrix, Origin
    from lep_plugins.initialization import initialize_embeddings

    found = {}
    for method in methods:
        shutil.rmtree(folder / "out", ignore_errors=True)
        began, cpu = time.perf_counter(), time.process_time()
        output = initialize_embeddings(folder / "base", folder / "donor", folder / "out", method)
        found[method] = {
            "seconds": time.perf_counter() - began,
            "cpu_seconds": time.process_time() - cpu,
            "new_tokens": len(ConversionMatrix.load(output).ids(Origin.MEAN)),
        }
    return {"initialization": found}


def distill(network: Any, layer: int, rounds: int = 6, batch: int = 16, length: int = 50) -> dict[str, Any]:
    """The steps of `distill` on windows of random ids, without search and optimizer (their share is small).

    tokens_per_second: old tokens of snippets. seconds_per_token: of a new token with 25 snippets."""
    import torch

    from lep_plugins.initialization.distiller import distance

    known, width = network.get_input_embeddings().weight.shape
    distiller, given = random_distillation(network, layer, batch, length)
    times, cpu = [], []
    for _ in range(rounds + 1):
        began, spent = time.perf_counter(), time.process_time()
        distance(distiller, given).backward()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
        cpu.append(time.process_time() - spent)
    seconds = min(times[1:])
    parameters = sum(one.numel() for one in distiller.network.parameters()) - (known + batch) * width
    return {
        "distill": {
            "layer": layer,
            "tokens_per_second": batch * length / seconds,
            "tokens_per_cpu_second": batch * length / min(cpu[1:]),
            "seconds_per_token": seconds / batch * 25,
            "gflops": 6 * parameters * batch * (length + 1) / seconds / 1e9,
        }
    }


def random_distillation(network: Any, layer: int, batch: int, length: int) -> tuple[Any, Any]:
    """A distiller of `batch` new tokens and a batch with one random snippet of each."""
    import numpy as np
    import torch

    from lep_plugins.initialization.distill import Batches
    from lep_plugins.initialization.distiller import Distiller
    from lep_plugins.initialization.snippets import Snippet

    known, width = network.get_input_embeddings().weight.shape
    rng, begin = np.random.default_rng(0), length // 2
    snippets = [
        Snippet(place, rng.integers(0, known, length), begin, begin + PIECES, np.array([place]))
        for place in range(batch)
    ]
    rows = torch.randn(batch, width, generator=torch.Generator().manual_seed(0)) * 0.1
    distiller = Distiller(network, rows, torch.empty(0, width), layer)
    return distiller, Batches(snippets, known + np.arange(batch), 0).batch(range(batch))
