"""Judges a run in forked children and kills each after a few answers that it stores; used by test_judge_kill.py.

    python -m tests.judging.kill_driver RUN WHOLE MODEL

WHOLE is judged first, undisturbed, in this process, so that its children need not import anything.
Prints JSON: how many children were killed, and the exit code of the last one, which ended by itself.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time

from tests.forked import forked, stored_lines


def work(run: str, model: str) -> None:
    from darumeru.judging.config import JudgeConfig
    from darumeru.judging.judge import judge_run

    judge_run(JudgeConfig(run=run, judge=model, engine="transformers", batch_size=1, resamples=50))


def stored(run: str) -> int:
    return stored_lines(run, "judges/*/samples/*.jsonl")


def main() -> None:
    run, whole, model = sys.argv[1:]
    import torch

    torch.set_num_threads(1)
    work(whole, model)
    kills = 0
    rng = random.Random(7)
    while True:
        wanted, pid = stored(run) + rng.randint(1, 5), forked(lambda: work(run, model))
        while stored(run) < wanted:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                print(json.dumps({"kills": kills, "exit": os.waitstatus_to_exitcode(status)}))
                return
            time.sleep(0.001)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        kills += 1


if __name__ == "__main__":
    main()
