"""kill -9 at twenty random moments: the same command ends with the scores of an undisturbed run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from darumeru.runs.run import load_run
from tests.runs.data_folders import SUITE, small_suite
from tests.runs.kill_driver import work
from tests.shared_data import ROOT, json_lines


def test_twenty_kills_lose_nothing_and_ask_nothing_twice(tiny_model: Path, tmp_path: Path) -> None:
    data = str(small_suite(tmp_path / "data", records=80))
    command = [sys.executable, "-m", "tests.runs.kill_driver", str(tiny_model), data, str(tmp_path / "killed")]
    done = subprocess.run(
        [*command, "transformers", "20", "7"], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    report = json.loads(done.stdout)
    work(str(tiny_model), data, str(tmp_path / "whole"), "transformers")
    killed, whole = load_run(tmp_path / "killed"), load_run(tmp_path / "whole")
    assert report["exit"] == 0 and report["kills"] >= 15
    for name in SUITE:
        assert killed.results.tasks[name].to_dict() == whole.results.tasks[name].to_dict()
        lines = json_lines(tmp_path / "killed" / "samples" / f"{name.replace('/', '__')}.jsonl")
        keys = [(line["id"], line["key"]) for line in lines]
        assert len(keys) == len(set(keys)), "a stored sample was asked again"
