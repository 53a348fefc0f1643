"""What Learned Embedding Propagation costs at the shape of an 8B model, phase by phase.

    python -m benchmarks.lep_cost --rows-new 128000 --threads 2
    python -m benchmarks.lep_cost --rows-new 174816 --extended --threads 2 --no-reference
    python -m benchmarks.lep_cost --rows-new 174816 --extended --threads 2 --no-propagate --initialize mean,omp
    python -m benchmarks.lep_cost --threads 1 --no-propagate --distill .venv/real/SmolLM2-135M-Instruct --layer 10

Beside it: the machine's own matrix-product speed, and the reference algorithm (sub-token means in a Python loop,
torch.linalg.lstsq in float64 with driver gelsy), measured on fewer rows and extrapolated by its operation
count. Initializers at the same shape, and what `distill` costs by the token of text on a real model. Each runs in a
process of its own, on as many processor cores as it has threads.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

GIB = 1 << 30


@dataclass(frozen=True)
class PhaseCost:
    """seconds, cpu_seconds: wall and processor time. gflops: 10^9 floating-point operations a second of wall time,
    None where a phase has none to speak of. peak_gib: highest resident memory."""

    seconds: float
    cpu_seconds: float
    gflops: float | None
    peak_gib: float | None


def main() -> None:
    arguments = _arguments()
    if arguments.child:
        _child(arguments)
        return
    if arguments.models:
        result = _measure(arguments, arguments.models)
    else:
        with tempfile.TemporaryDirectory(prefix="lep-cost-", dir=arguments.workdir) as folder:
            result = _measure(arguments, Path(folder))
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        _print(result)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=4096, help="d")
    parser.add_argument("--rows-old", type=int, default=128_256)
    parser.add_argument("--rows-new", type=int, default=128_000)
    parser.add_argument("--extended", action="store_true", help="the donor keeps the base vocabulary and adds to it")
    parser.add_argument("--neighbour-mib", type=int, default=32, help="other tensors in each rewritten shard")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--workdir", type=Path, help="where about 9 GB of models go (default: the temporary folder)")
    parser.add_argument("--models", type=Path, help="keep the models here, for several measurements of one shape")
    parser.add_argument("--reference", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--reference-rows", type=int, help="rows of the reference solve (default 2 d)")
    parser.add_argument("--check", action=argparse.BooleanOptionalAction, default=True, help="against exact float64")
    parser.add_argument("--propagate", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--initialize", default="", help="initializers to measure at this shape: mean,omp")
    parser.add_argument("--distill", type=Path, help="a model on which to measure the steps of distill")
    parser.add_argument("--layer", type=int, default=-1, help="of distill")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from benchmarks.synthetic_checkpoint import Shape, write_models

    shape = Shape(
        arguments.hidden, arguments.rows_old, arguments.rows_new, arguments.extended, arguments.neighbour_mib << 20
    )
    before = os.getloadavg()[0]
    result: dict[str, Any] = {"shape": asdict(shape), "threads": arguments.threads, "load_before": before}
    if arguments.distill:
        _say("measuring distill")
        result |= _run_child(arguments, folder, "distill")
    if not (folder / "base").is_dir() and (arguments.propagate or arguments.initialize):
        _say("writing synthetic models")
        write_models(folder, shape)
    if arguments.initialize:
        _say("initializing")
        result |= _run_child(arguments, folder, "initialize")
    if not arguments.propagate:
        return result
    shutil.rmtree(folder / "out", ignore_errors=True)
    _say("propagating")
    result |= _run_child(arguments, folder, "propagate")
    if arguments.check:
        _say("comparing with the exact float64 solution")
        result |= _run_child(arguments, folder, "check")
    _say("measuring the machine")
    result |= _run_child(arguments, folder, "machine")
    if arguments.reference:
        _say("measuring the reference algorithm")
        result |= _run_child(arguments, folder, "reference")
    return result


def _run_child(arguments: argparse.Namespace, folder: Path, task: str) -> dict[str, Any]:
    environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads), "LEP_COST_TASK": task}
    command = [sys.executable, "-m", "benchmarks.lep_cost", *sys.argv[1:], "--child", str(folder)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


def _child(arguments: argparse.Namespace) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
    from benchmarks.init_cost import distill, initialize
    from benchmarks.lep_reference import check, machine_speed, reference
    from darumeru.models.model_folder import load_model

    width, folder = arguments.hidden, arguments.child
    tasks = {
        "propagate": lambda: _propagate(width, folder),
        "initialize": lambda: initialize(folder, arguments.initialize.split(",")),
        "distill": lambda: distill(load_model(arguments.distill), arguments.layer),
        "check": lambda: check(folder),
        "machine": lambda: machine_speed(width),
        "reference": lambda: reference(folder, width, min(arguments.reference_rows or 2 * width, arguments.rows_new)),
    }
    print(json.dumps(tasks[os.environ["LEP_COST_TASK"]]()))


# The propagation


def _propagate(width: int, folder: Path) -> dict[str, Any]:
    from lep_plugins.propagation import PropagationReport, propagate

    began, cpu = time.perf_counter(), time.process_time()
    report: PropagationReport = propagate(
        folder / "base", folder / "target", folder / "donor", folder / "out", device="cpu"
    )
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    work = _operations(report, width)
    phases = {
        name: asdict(
            PhaseCost(
                cost.seconds,
                cost.cpu_seconds,
                work[name] / cost.seconds / 1e9 if name in work else None,
                cost.peak_bytes / GIB if cost.peak_bytes else None,
            )
        )
        for name, cost in report.costs.items()
    }
    part = report.matrices[0]
    return {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "peak_gib": max((cost["peak_gib"] or 0 for cost in phases.values()), default=0),
        "phases": phases,
        "fitted": part.fit_rows,
        "used": part.used_tokens,
        "solver": part.solver,
        "precision": part.precision,
        "condition": part.condition,
        "residual": part.residual,
        "change": part.change,
    }


def _operations(report: Any, width: int) -> dict[str, float]:
    """Floating-point operations that each phase cannot do without, over all matrices."""
    used, matrices = report.matrices[0].used_tokens, len(report.matrices)
    return {
        "Gram matrix": matrices * used * width**2,
        "right-hand side": matrices * 2 * used * width**2,
        "solving": matrices * (1 / 3 + 2) * width**3,
        "applying": matrices * 2 * report.rows * width**2,
    }


# Output


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console, shape = Console(), result["shape"]
    for method, cost in result.get("initialization", {}).items():
        seconds = f"{cost['seconds']:.1f} s, {cost['cpu_seconds']:.1f} of the processor"
        console.print(f"{method}: {seconds}; {cost['new_tokens']} new tokens of {shape['rows_donor']} rows")
    if "distill" in result:
        cost = result["distill"]
        console.print(
            f"distill, layer {cost['layer']}: {cost['tokens_per_second']:.0f} tokens of text a second "
            f"({cost['tokens_per_cpu_second']:.0f} of the processor), {cost['gflops']:.0f} GFLOP/s, "
            f"{cost['seconds_per_token']:.2f} s for a new token with 25 snippets"
        )
    if "phases" not in result:
        return
    table = Table("phase", "seconds", "cpu seconds", "GFLOP/s", "peak GiB")
    for name, cost in result["phases"].items():
        numbers = [cost["seconds"], cost["cpu_seconds"], cost["gflops"], cost["peak_gib"]]
        table.add_row(name, *("" if number is None else f"{number:.2f}" for number in numbers))
    table.add_section()
    table.add_row("all", f"{result['seconds']:.1f}", f"{result['cpu_seconds']:.1f}", "", f"{result['peak_gib']:.2f}")
    console.print(f"d {shape['hidden']}, {shape['rows_base']} -> {shape['rows_donor']}, {result['threads']} threads")
    console.print(f"{result['used']} base tokens used, {result['fitted']} donor tokens fitted; {result['solver']}")
    console.print(table)
    speeds = ", ".join(f"{name} {speed:.0f}" for name, speed in result["machine_gflops"].items())
    console.print(
        f"matrix products of this machine, GFLOP/s: {speeds}; load before the start {result['load_before']:.1f}"
    )
    if "error_over_rounding_floor" in result:
        ratios = ", ".join(f"{name} {ratio:.4f}" for name, ratio in result["error_over_rounding_floor"].items())
        console.print(f"error over the bf16 rounding floor: {ratios}")
    if "reference" in result:
        reference = result["reference"]
        console.print(
            f"reference: {reference['all_seconds']:.0f} s, from {reference['measured_rows']} rows "
            f"(means {reference['measured_means_seconds']:.1f} s, lstsq {reference['measured_lstsq_seconds']:.1f} s): "
            f"{reference['all_seconds'] / result['seconds']:.1f} times as long"
        )


if __name__ == "__main__":
    main()
