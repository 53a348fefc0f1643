"""`make torture`: the figures of docs/reliability.md.

    python -m tests.torture [--kills 100] [--seed 1] [--short]

Prints one line a kind, n of n, and every failure; exit code 1 when there is one. --short: a tenth of it.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.torture import disks, inputs, kills, servers
from tests.torture.command import darumeru
from tests.torture.strange_server import MODES, strange_server

Outcome = tuple[str, str]
# Tests of the suite that belong to these figures: kills of pipelines, trainings and writers of models, and hostile
# texts in a real browser.
TESTS = (
    "tests/adaptation/test_pipeline.py::test_kills_in_a_step_in_an_evaluation_and_sigterm_lose_nothing",
    "tests/calibration/test_lora.py::test_a_killed_training_ends_where_an_undisturbed_one_does",
    "tests/calibration/test_synthesis.py::test_a_killed_synthesis_goes_on_and_asks_nothing_twice",
    "tests/training/test_pretraining.py::test_a_killed_training_goes_on_to_the_same_losses_and_weights",
    "tests/live/test_live_engine.py::test_a_killed_training_goes_on_to_the_same_curve",
    "tests/lep/test_checkpoint.py::test_a_killed_writer_leaves_no_config_in_its_temporary_folder",
    "tests/runs/test_kill.py",
    "tests/leaderboards/test_html_board.py::test_names_can_contain_anything_and_run_nothing",
    "tests/leaderboards/test_html_report.py::test_texts_can_contain_anything_and_run_nothing",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="a tenth of it")
    given = parser.parse_args()
    share = 10 if given.short else 1
    with tempfile.TemporaryDirectory() as place, servers.fake_server(seconds=7200) as fake:
        folder = Path(place)
        good = folder / "good"
        darumeru(*servers.words(fake.url("normal"), good, servers.PATIENT))
        right = servers.scores(good)
        failed = [
            _count("server modes", _servers(fake, folder, right, share)),
            _count("full disks", _disks(fake, folder, right, share)),
            _count("kills", _kills(fake, folder, right, given.kills // share, given.seed)),
            _count("bad inputs", _inputs(good, folder, given.seed, share)),
            _count("kills of pipelines and trainings, hostile texts in a browser", [] if given.short else _tests()),
        ]
    return 1 if any(failed) else 0


def _count(kind: str, outcomes: Iterable[Outcome]) -> int:
    began, good, total = time.monotonic(), 0, 0
    for name, wrong in outcomes:
        total += 1
        good += not wrong
        if wrong:
            print(f"  {kind}: {name}: {wrong}", flush=True)
    print(f"{kind}: {good} of {total} ({time.monotonic() - began:.0f} s)", flush=True)
    return total - good


def _servers(fake: servers.FakeServer, folder: Path, right: servers.Scores, share: int) -> Iterator[Outcome]:
    for mode in servers.fake_modes()[::share]:
        yield mode, servers.check(fake, mode, folder / "modes" / mode, right)
    with strange_server() as strange:
        strange.mend("good")
        more = ("--tokenizer", str(servers.TOKENIZER))
        darumeru(*servers.words(strange.url("good"), folder / "strange", servers.PATIENT, *more))
        by_tokens = servers.scores(folder / "strange")
        for mode in MODES[::share]:
            yield mode, servers.check(strange, mode, folder / "modes" / mode, by_tokens, *more)


def _disks(fake: servers.FakeServer, folder: Path, right: servers.Scores, share: int) -> Iterator[Outcome]:
    for writes in range(0, 45, share):
        yield f"after {writes} writes", disks.check(fake, writes, folder / "disks" / str(writes), right)


def _kills(fake: servers.FakeServer, folder: Path, right: servers.Scores, count: int, seed: int) -> Iterator[Outcome]:
    killer = kills.Killer(fake, folder / "kills", right, seed)
    killer.folder.mkdir()
    verbs = ("run", "run", "run", "score", "leaderboard", "report")
    tries = 0
    while killer.hits < count and tries < 5 * count:
        verb, before = verbs[tries % len(verbs)], killer.hits
        tries += 1
        wrong = killer.kill(verb)
        if killer.hits > before:
            yield f"{verb} {killer.hits}", wrong
    yield "the undisturbed commands", killer.end()


def _inputs(run: Path, folder: Path, seed: int, share: int) -> Iterator[Outcome]:
    rng = random.Random(seed)
    yield from list(inputs.cases(run, folder / "cases"))[::share]
    for words in inputs.WORDS[::share]:
        yield " ".join(words)[:60], inputs.check_words(words, folder / "words")
    for number in range(80 // share):
        yield f"header {number}", inputs.check_header(rng, folder / "model")
        yield f"task file {number}", inputs.check_task_file(rng, folder / "task")
        yield f"file of a run {number}", inputs.check_row(rng, run, folder / "damaged")


def _tests() -> Iterator[Outcome]:
    for name in TESTS:
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", name], capture_output=True, text=True, check=False)
        skipped = "skipped" in done.stdout
        yield name, "" if done.returncode == 0 and not skipped else done.stdout.strip().splitlines()[-1]


if __name__ == "__main__":
    sys.exit(main())
