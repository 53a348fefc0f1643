"""How fast a board over many large runs is built, and in how much memory.

    python -m benchmarks.leaderboard_speed [--runs 50] [--samples 40000] [--resamples 2000] [--folder FOLDER]

Writes synthetic run folders (17 tasks, complete sample lines through the project's own store, scored by its own
scorer), then builds the board with intervals and tied marks in a child process and prints seconds and peak memory.
Making the folders takes minutes and is not counted; folders that are there already are used again.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from darumeru.core.answer import Answer
from darumeru.core.files import to_json
from darumeru.core.row import StoredAnswer
from darumeru.runs.manifest import MANIFEST
from darumeru.runs.score import score_run
from darumeru.runs.store import SampleStore
from darumeru.runs.stored_plan import StoredQuestion, StoredTask, write_questions, write_tasks

GROUPS = {"DaruMMLU": 3, "DaruMERA": 8, "DaruSum": 2, "DaruCopy-EN": 2, "DaruCopy-RU": 2}
TASKS = {f"synthetic/{group}-{number}": group for group, count in GROUPS.items() for number in range(count)}
PROMPT = "Вопрос: какая из столиц стоит на реке? Ответ выбери из предложенных. " * 3


def answers(task: str, count: int, skill: float, model: int) -> Iterator[tuple[StoredAnswer, StoredQuestion]]:
    """Four-choice samples, of hardness that all models share; a model of more skill is right more often."""
    hardness, luck = random.Random(task), random.Random(f"{task} {model}")
    for number in range(count):
        right = luck.random() < min(max(skill + 0.6 * (hardness.random() - 0.5), 0.0), 1.0)
        target = "ABCD"[hardness.randrange(4)]
        wrong = "ABCD".replace(target, "")
        said = target if right else wrong[luck.randrange(3)]
        answer = Answer(probabilities={letter: 0.7 if letter == said else 0.1 for letter in "ABCD"}, seconds=0.01)
        name, key = str(number), f"{model}-{task}-{number}"
        yield StoredAnswer(task, name, key, PROMPT, 60, 0, answer), StoredQuestion(name, key, name, target, {})


def make_run(folder: Path, model: int, samples: int) -> None:
    """One scored run folder of `samples` samples over the 17 tasks."""
    manifest = {
        "schema": 2, "status": "finished", "model": {"name": f"synthetic-{model}", "fingerprint": f"{model:064d}"},
        "spec": {"answers": {}, "scores": {}}, "spec_hash": "0" * 64, "sessions": [],
        "template": {}, "started": "2026-01-01T00:00:00Z", "tokenizer": {"fingerprint": "2" * 64},
        "profile": "darumeru", "engine": {"name": "synthetic"},
        "data": {"source": "synthetic", "tasks": {}}, "seed": 0, "resamples": 100, "versions": {}, "seconds": 1.0,
        "finished": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    tasks = []
    folder.mkdir(parents=True, exist_ok=True)
    with SampleStore(folder) as store:
        for place, (task, group) in enumerate(TASKS.items()):
            count = samples // len(TASKS) + (place < samples % len(TASKS))
            questions = []
            for answer, question in answers(task, count, 0.3 + 0.01 * model, model):
                store.append(answer)
                questions.append(question)
            write_questions(folder, task, questions)
            tasks.append(_task(task, group, count))
    write_tasks(folder, tasks)
    (folder / MANIFEST).write_text(to_json(manifest), encoding="utf-8")
    score_run(folder, manifest)


def _task(task: str, group: str, asked: int) -> StoredTask:
    return StoredTask(
        name=task, group=group, method="multiple_choice", metrics=("acc",), score=("acc",), annotators=(),
        language="ru", leaderboard=True, definition=task, asking={}, num_fewshot=0, limited=False, asked=asked,
        targets="", too_long=(), data={}, error=None,
    )  # fmt: skip


def child(folder: Path, resamples: int) -> None:
    """Build the board of all runs in `folder`; print what it took as JSON."""
    start = time.perf_counter()
    from darumeru.leaderboard.board import BoardOptions, build_board
    from darumeru.leaderboard.board_inputs import load_inputs
    from darumeru.leaderboard.table import Mark

    runs, published = load_inputs([folder])
    table = build_board(runs, published, BoardOptions(resamples=resamples))
    seconds = time.perf_counter() - start
    ties = sum(Mark.TIED in row.cells[table.columns[0].key].marks for row in table.rows)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rows": len(table.rows), "tied": ties, "seconds": round(seconds, 2), "peak_mib": round(peak)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--samples", type=int, default=40_000)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--folder", type=Path, help="Keep the runs here; without it they are removed.")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child, given.resamples)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        for model in range(given.runs):
            run = folder / f"run-{model:03d}"
            if not (run / "results.json").exists():
                make_run(run, model, given.samples)
        again = ["--child", str(folder), "--resamples", str(given.resamples)]
        subprocess.run([sys.executable, "-m", "benchmarks.leaderboard_speed", *again], check=True)


if __name__ == "__main__":
    main()
