"""What needs a GPU and is not run elsewhere, within 6 minutes: needs torch and transformers, and uses no vLLM.

    python -m pip install --no-deps --no-build-isolation -e . && python -m benchmarks.gpu_check

Answers of a model in bf16, fp16 and float32 on the GPU against those of the CPU in float32; the types that autocast
computes in; a short training by transformers' Trainer under bf16, scored while it runs, its loss curve against that of
the same training without; memory that evaluations leave behind; what one costs; weights that another process reads
from this one's GPU memory, as a replica of vLLM does; propagation and distillation (gpu_adaptation). One table; without
a GPU it says so and ends well.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gpu_line import Line, loaded

TASKS = "darumeru/parus,darumeru/rcb,darumeru/cp_sent_ru"
# Mean difference of log-probabilities from the CPU's in float32 that rounding explains.
BOUNDS = {"float32": 0.01, "bfloat16": 0.15, "float16": 0.05}
STEPS = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo/darumeru-demo")
    parser.add_argument("--budget", type=float, default=300, help="no further check begins after so many seconds")
    arguments = parser.parse_args()
    import torch

    from benchmarks.gpu_adaptation import distillation, propagation_8b, propagation_agrees

    if not torch.cuda.is_available():
        print("gpu_check: skipped, torch finds no GPU here")
        return
    began, lines = time.monotonic(), [Line("GPU", torch.cuda.get_device_name())]
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        for check in (answers, autocast, training, handing_over, propagation_agrees, distillation, propagation_8b):
            if time.monotonic() - began > arguments.budget:
                lines.append(Line(check.__name__, "not begun: the time is used up"))
                continue
            lines += guarded(check, arguments.model, Path(folder) / check.__name__)
    lines.append(Line("seconds in all", f"{time.monotonic() - began:.0f}"))
    width = max(len(line.what) for line in lines)
    for line in lines:
        print(f"{line.what:{width}}  {line.found:44}  {'' if line.ok is None else 'ok' if line.ok else 'WRONG'}")
    sys.exit(any(line.ok is False for line in lines))


def guarded(check: Callable[[str, Path], list[Line]], model: str, folder: Path) -> list[Line]:
    """The check's lines; what breaks is a line, so that the other checks are still run."""
    try:
        return check(model, folder)
    except Exception as error:  # of a GPU anything may come
        return [Line(check.__name__, f"{type(error).__name__}: {error}".splitlines()[0][:200], False)]


def logprobs(network: Any, tokenizer: Any) -> Any:
    """Of 64 tokens, by the transformers engine."""
    import numpy

    from darumeru.engines import LogLikelihood, Request
    from darumeru.engines.transformers_engine import TransformersEngine

    text = "Столица России - Москва; Нева течёт через Санкт-Петербург и впадает в Балтийское море. " * 4
    ids = tuple(tokenizer(text)["input_ids"][:65])
    engine = TransformersEngine.from_model(network, tokenizer, 512)
    request = Request(ids[:1], LogLikelihood(ids[1:]), "")
    return numpy.array(next(answer for _, answer in engine.answer([request])).logprobs)


def answers(model: str, folder: Path) -> list[Line]:
    """The engine's numbers in each type, and the same through `computing_in` from float32 weights."""
    import numpy
    from transformers import AutoTokenizer

    from darumeru.training.precision import computing_in

    tokenizer = AutoTokenizer.from_pretrained(model)
    exact = logprobs(loaded(model, "float32", "cpu"), tokenizer)
    weights = loaded(model, "float32", "cuda")
    lines = []
    for dtype, bound in BOUNDS.items():
        cast = numpy.abs(logprobs(loaded(model, dtype, "cuda"), tokenizer) - exact).mean()
        with computing_in(weights, dtype):
            here = numpy.abs(logprobs(weights, tokenizer) - exact).mean()
        found = f"loaded {cast:.4f}, cast {here:.4f} (at most {bound})"
        lines.append(Line(f"{dtype} against float32 on the CPU", found, bool(cast <= bound and here <= bound)))
    return lines


def autocast(model: str, folder: Path) -> list[Line]:
    import torch

    from darumeru.training.precision import computing_dtype

    network, lines = loaded(model, "float32", "cuda"), []
    for dtype in ("bfloat16", "float16"):
        with torch.autocast("cuda", dtype=getattr(torch, dtype)):
            found = computing_dtype(network)
        lines.append(Line(f"autocast of {dtype}", f"computes in {found}", found == dtype))
    return lines


def training(model: str, folder: Path) -> list[Line]:
    """Trainer under bf16, with and without the callback."""
    import torch

    from darumeru import DarumeruCallback, LiveOptions

    live = LiveOptions(engine="transformers")
    callback = DarumeruCallback(TASKS, every_steps=4, limit=16, data="bundled", live=live)
    plain = trained(model, folder / "plain", [])
    memory = torch.cuda.memory_allocated()
    scored = trained(model, folder / "scored", [callback])
    points = callback.points
    seconds = ", ".join(f"{point.extra['seconds']:.1f}" for point in points)
    dtypes = {point.extra["dtype"] for point in points}
    steps = [point.step for point in points]
    return [
        Line("Trainer, bf16: points of the curve", f"steps {steps}", steps == [0, 4, 8, 12]),
        Line("Trainer, bf16: computes in", ", ".join(dtypes), dtypes == {"bfloat16"}),
        Line("losses with and without the callback", f"last {scored[-1]:.4f}, {plain[-1]:.4f}", scored == plain),
        Line("one evaluation of 48 samples, seconds", seconds),
        Line("memory left behind, MB", f"{(torch.cuda.memory_allocated() - memory) / 1e6:.1f}"),
    ]


def handing_over(model: str, folder: Path) -> list[Line]:
    """The carrier that vLLM's "ipc" backend is fed by; a child reads what it hands over with torch alone."""
    import multiprocessing

    from darumeru.engines import EngineOptions
    from darumeru.engines.vllm_transfer import IpcCarrier, suitable_backend
    from darumeru.models.live_weights import checkpoint_weights

    options = EngineOptions(model, own_process=True)
    backend = suitable_backend(options)
    part = {name: tensor.clone() for name, tensor in checkpoint_weights(loaded(model, "bfloat16", "cuda"))}
    started = time.perf_counter()
    buffer, told = IpcCarrier(options).packed(part)
    seconds = time.perf_counter() - started
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    child = context.Process(target=read_over, args=(theirs, told["ipc_handles"], told["tensor_sizes"]))
    child.start()
    theirs.close()
    read = mine.recv()
    child.join()
    sent = [sums(tensor.contiguous().view(-1)) for tensor in part.values()]
    found = f"{len(read)} tensors, {buffer.nbytes / 1e6:.0f} MB, packed in {seconds:.3f} s"
    return [
        Line("way of weights to a child on this GPU", str(backend), backend == "ipc"),
        Line("weights that a child reads from GPU memory", found, read == sent),
    ]


def read_over(pipe: Any, handles: Any, sizes: list[int]) -> None:
    """In the child: sums of the packed tensors' bytes."""
    from torch.multiprocessing.reductions import rebuild_cuda_tensor

    (handle,) = handles.values()
    packed = rebuild_cuda_tensor(*handle)
    pipe.send([sums(piece) for piece in packed.split([*sizes])])


def sums(tensor: Any) -> int:
    import torch

    return int(tensor.view(torch.uint8).to(torch.int64).sum())


def trained(model: str, output: Path, callbacks: list[Any]) -> list[float]:
    """Losses of a short training on deterministic kernels."""
    import torch
    from transformers import AutoTokenizer, Trainer, TrainingArguments

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(model)
    text = "Кошка спит на окне, а собака лежит у двери и ждёт хозяина. " * 8
    ids = tokenizer(text)["input_ids"][:128]
    arguments = TrainingArguments(
        str(output), max_steps=STEPS, per_device_train_batch_size=4, logging_steps=1, report_to=[], bf16=True,
        save_strategy="no", disable_tqdm=True, learning_rate=1e-4,
    )  # fmt: skip
    data = [{"input_ids": ids, "labels": ids}] * (4 * STEPS)
    made = Trainer(
        loaded(model, "float32", "cuda"), arguments, train_dataset=data, processing_class=tokenizer, callbacks=callbacks
    )
    made.train()
    return [entry["loss"] for entry in made.state.log_history if "loss" in entry]


if __name__ == "__main__":
    main()
