"""Runs `darumeru run`'s work in forked children and kills them; used by test_kill.py and by hand with any engine.

    python -m tests.runs.kill_driver MODEL DATA OUTPUT ENGINE KILLS SEED

Children are forked after the heavy imports, so that each start costs little. Prints JSON: how many kills hit, and the
exit code of the last, undisturbed child.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time

from tests.forked import forked, stored_lines


def work(model: str, data: str, output: str, engine: str) -> None:
    from darumeru.runs import evaluate
    from darumeru.runs.config import RunConfig
    from tests.runs.data_folders import SUITE

    # Small batches, so that answers come one after another and not all at once.
    evaluate.run(
        RunConfig(
            model=model,
            output=output,
            tasks=SUITE,
            data=data,
            engine=engine,
            batch_size=4,
            max_length=2048,
            resamples=200,
        )
    )


def stored(output: str) -> int:
    return stored_lines(output, "samples/*.jsonl")


def main() -> None:
    model, data, output, engine, kills, seed = sys.argv[1:]
    __import__("darumeru.engines.vllm_engine" if engine == "vllm" else "transformers")
    import torch

    torch.set_num_threads(1)
    rng = random.Random(int(seed))
    hits = 0
    for _ in range(int(kills)):
        pid = forked(lambda: work(model, data, output, engine))
        before, wait = stored(output), rng.randint(0, 3)
        pause = rng.random() * 0.02
        ended = False
        while stored(output) < before + wait and not ended:
            ended = os.waitpid(pid, os.WNOHANG)[0] == pid
            time.sleep(0.001)
        time.sleep(pause)
        if not ended:
            os.kill(pid, signal.SIGKILL)
            ended_by = os.waitpid(pid, 0)[1]
            hits += os.WIFSIGNALED(ended_by)
    last = os.waitpid(forked(lambda: work(model, data, output, engine)), 0)[1]
    print(json.dumps({"kills": hits, "exit": os.waitstatus_to_exitcode(last), "stored": stored(output)}))


if __name__ == "__main__":
    main()
