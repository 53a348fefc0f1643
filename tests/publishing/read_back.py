"""`python -m tests.publishing.read_back TOOL PATH...`: what another tool makes of an export; in a process of its
own with the packages of `make readers`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.leaderboards.browser import HOSTILE
from tests.shared_data import ROOT

READERS = Path(sys.prefix) / "readers"


def with_readers(*words: str, **environment: str) -> str:
    """Output of `python -m WORDS` with the readers' packages before all others; the test is skipped without them."""
    if not READERS.is_dir():
        pytest.skip("needs `make readers`")
    path = os.pathsep.join((str(ROOT), str(READERS)))
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, timeout=180,
                          env={**os.environ, "PYTHONPATH": path, **environment})  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def inspect(letters: str, copies: str) -> None:
    from inspect_ai.log import read_eval_log, read_eval_log_sample_summaries

    one, other = read_eval_log(letters), read_eval_log(copies)
    assert (one.status, one.eval.task, one.eval.model) == ("success", "darumeru/letters", "darumeru/owner/my-model")
    assert one.results and one.results.scores[0].metrics["value"].value == 0.5
    assert [sample.scores["acc"].value for sample in one.samples] == [1.0, 0.0] * 10
    assert [sample.metadata["id"] for sample in other.samples] == [*HOSTILE, "cut"]
    assert [sample.output.completion for sample in other.samples[:-1]] == list(HOSTILE)
    assert other.samples[-1].output.stop_reason == "max_tokens"
    header = read_eval_log(letters, header_only=True)
    assert header.results.completed_samples == 20 and len(read_eval_log_sample_summaries(letters)) == 20


def mlflow() -> None:
    import mlflow

    (one,) = mlflow.search_runs(experiment_names=["darumeru"], output_format="list")
    assert one.data.metrics["darumeru/letters"] == 0.5 and one.data.params["model"] == "my-model"
    assert one.info.status == "FINISHED"


def trackio() -> None:
    from trackio.sqlite_storage import SQLiteStorage

    (line,) = SQLiteStorage.get_logs("darumeru", "my-model")
    assert line["darumeru/letters"] == 0.5


if __name__ == "__main__":
    {"inspect": inspect, "mlflow": mlflow, "trackio": trackio}[sys.argv[1]](*sys.argv[2:])
