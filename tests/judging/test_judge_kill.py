"""kill -9 between the answers of a judge: the same command ends with what an undisturbed judge says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from darumeru.runs.run import load_run
from tests.judging.conftest import RECORDS, TASK
from tests.shared_data import ROOT, json_lines


def test_a_judge_killed_again_and_again_loses_nothing_and_asks_nothing_twice(
    run: Path, tiny_model: Path, tmp_path: Path
) -> None:
    whole = Path(shutil.copytree(run, tmp_path / "whole"))
    done = subprocess.run(
        [sys.executable, "-m", "tests.judging.kill_driver", str(run), str(whole), str(tiny_model)],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    report = json.loads(done.stdout)
    assert report["exit"] == 0 and report["kills"] >= 6
    (killed, undisturbed) = (next((one / "judges").iterdir()) for one in (run, whole))
    (lines,) = (json_lines(path) for path in killed.glob("samples/*.jsonl"))
    keys = [line["key"] for line in lines if "part" not in line]
    assert len(keys) == len(set(keys)) == RECORDS, "a stored verdict was asked for again"
    for name in ("answer", "key"):
        (right,) = ({line["id"]: line[name] for line in json_lines(p)} for p in undisturbed.glob("samples/*.jsonl"))
        assert {line["id"]: line[name] for line in lines} == right
    scores = [load_run(one).results.tasks[TASK].to_dict() for one in (run, whole)]
    assert scores[0] == scores[1] and scores[0]["score"]["value"] is not None
