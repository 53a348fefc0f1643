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
from pathlib import Path


def work(run: str, model: str) -> None:
    from darumeru.judging.config import JudgeConfig
    from darumeru.judging.judge import judge_run

    judge_run(JudgeConfig(run=run, judge=model, engine="transformers", batch_size=1, resamples=50))


def stored(run: str) -> int:
    return sum(path.read_bytes().count(b"\n") for path in Path(run).glob("judges/*/samples/*.jsonl"))


def child(run: str, model: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    try:
        work(run, model)
    except BaseException:
        os._exit(1)
    os._exit(0)


def main() -> None:
    run, whole, model = sys.argv[1:]
    import torch

    torch.set_num_threads(1)
    work(whole, model)
    kills = 0
    rng = random.Random(7)
    while True:
        wanted, pid = stored(run) + rng.randint(1, 5), child(run, model)
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
