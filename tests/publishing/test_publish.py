"""`darumeru publish` against a server that plays the Hub's endpoint, with the real huggingface_hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

from darumeru.publishing.eval_results import eval_results
from darumeru.runs.run import load_run
from tests.cli.command import darumeru
from tests.leaderboards.made_runs import chosen, copied, make_run
from tests.publishing.hub_server import COMMIT, FakeHub, hub
from tests.shared_data import ROOT

TOKEN = "hf_" + "a1B2c3D4e5" * 4
LETTERS, COPIES, OWN = "darumeru/letters", "darumeru/copies", "own/task"
HUB_DATA = {"repository": "RefalMachine/darumeru", "config": "letters", "split": "test", "revision": COMMIT}
CARD = """---
license: apache-2.0
model-index:
- name: my-model
  results:
  - task: {type: text-generation}
    dataset: {name: Other, type: someone/other}
    metrics: [{type: acc, value: 0.25}]
---

# My model

Written by hand; stays.
"""


def the_run(folder: Path, name: str = "owner/my-model", **data: Any) -> Path:
    """Letters on the Hub's records at a commit, copies on the bundled ones."""
    rows = [chosen(LETTERS, str(n), "A", "AB"[n % 2]) for n in range(20)]
    rows += [copied(COPIES, str(n), "да", "да" if n else "нет") for n in range(4)]
    tasks = {LETTERS: HUB_DATA, COPIES: {**HUB_DATA, "config": "copies", "revision": "bundled"}} | data
    return make_run(folder, rows, name, data={"source": "hub", "tasks": tasks})


@pytest.fixture
def endpoint() -> Iterator[FakeHub]:
    with hub(FakeHub()) as state:
        yield state


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


def publish(endpoint: str, home: Path, *words: str) -> Said:
    """A command of its own: the client reads its endpoint when it is imported."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0",
                   "HF_HOME": str(home), "COLUMNS": "200", "PYTHONPATH": str(ROOT)}  # fmt: skip
    done = subprocess.run([sys.executable, "-m", "darumeru", "publish", *words], capture_output=True, text=True,
                          env=environment, timeout=120)  # fmt: skip
    assert TOKEN not in done.stdout + done.stderr
    return Said(done.returncode, done.stdout, done.stderr)


def test_a_model_gets_its_card_and_eval_results(endpoint: FakeHub, tmp_path: Path) -> None:
    run = the_run(tmp_path / "run")
    repository = endpoint.repositories.setdefault("models/owner/my-model", {"README.md": CARD.encode()})
    words = (str(run), "--to", "model", "--repo", "owner/my-model")
    dry = publish(endpoint.url, tmp_path / "home", *words)
    assert dry.code == 0 and "dry run: 3 files" in dry.err and endpoint.commits == [] and endpoint.created == []
    assert "+++ b/.eval_results/darumeru-RefalMachine--darumeru.yaml" in dry.out and "+  value: 0.5" in dry.out
    assert "note: darumeru/copies is not in .eval_results: bundled sample of the data" in dry.err
    sent = publish(endpoint.url, tmp_path / "home", *words, "--yes")
    assert sent.code == 0 and sent.out.splitlines()[-1].endswith(f"/commit/{COMMIT}")
    assert len(endpoint.commits) == 1 and endpoint.tokens >= {f"Bearer {TOKEN}"}
    card = ModelCard(repository["README.md"].decode())
    assert "Written by hand; stays." in card.text and card.data.license == "apache-2.0"
    named = {(one.dataset_type, one.metric_type): one for one in card.data.eval_results}
    assert named["someone/other", "acc"].metric_value == 0.25
    ours = named["RefalMachine/darumeru", "acc"]
    assert (ours.dataset_config, ours.dataset_split, ours.dataset_revision) == ("letters", "test", COMMIT)
    assert ours.source_url == f"https://huggingface.co/datasets/RefalMachine/darumeru/tree/{COMMIT}"
    bundled = named[COPIES, "exact_copy_rate"]
    assert "bundled sample of the data" in bundled.dataset_name and bundled.source_url is None
    (entry,) = parse_eval_result_entries(
        yaml.safe_load(repository[".eval_results/darumeru-RefalMachine--darumeru.yaml"])
    )
    assert (entry.dataset_id, entry.task_id, entry.value) == ("RefalMachine/darumeru", "letters", 0.5)
    assert entry.dataset_revision == COMMIT and entry.date == "2026-01-02T03:04:05Z"
    assert entry.source_url == "https://huggingface.co/owner/my-model/blob/main/darumeru/results.json"
    assert entry.notes is not None and entry.notes.startswith("acc 0.500 (")
    assert repository["darumeru/results.json"] == (run / "results.json").read_bytes()
    again = publish(endpoint.url, tmp_path / "home", *words, "--yes")
    assert again.code == 0 and "nothing to change" in again.err and len(endpoint.commits) == 1
    assert not any(TOKEN in path.read_text("utf-8", "replace") for path in tmp_path.rglob("*") if path.is_file())


def test_answers_become_a_data_set_that_darumeru_reads(endpoint: FakeHub, tmp_path: Path) -> None:
    run = the_run(tmp_path / "run")
    words = (str(run), "--to", "dataset", "--repo", "owner/answers", "--yes", "--private")
    assert publish(endpoint.url, tmp_path / "home", *words).code == 0
    assert endpoint.created[0]["type"] == "dataset" and endpoint.created[0]["visibility"] == "private"
    files = endpoint.repositories["datasets/owner/answers"]
    copy = tmp_path / "copy"
    for name, content in files.items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(content)
    assert load_run(copy, check_samples=True).results == load_run(run).results
    front = yaml.safe_load(files["README.md"].decode().split("---")[1])
    assert [one["data_files"] for one in front["configs"]] == [
        "samples/darumeru__letters.jsonl", "samples/darumeru__copies.jsonl"
    ]  # fmt: skip
    assert "bundled sample of the data" in files["README.md"].decode()


def test_a_space_is_a_static_page_with_the_board(endpoint: FakeHub, tmp_path: Path) -> None:
    runs = [str(the_run(tmp_path / name, name)) for name in ("a", "b")]
    words = (*runs, "--to", "space", "--repo", "owner/board", "--yes", "--pull-request")
    sent = publish(endpoint.url, tmp_path / "home", *words)
    assert sent.code == 0 and sent.out.splitlines()[-1].endswith("/discussions/1")
    assert endpoint.created[0]["sdk"] == "static"
    files = endpoint.repositories["spaces/owner/board"]
    assert yaml.safe_load(files["README.md"].decode().split("---")[1])["app_file"] == "index.html"
    assert files["index.html"].startswith(b"<!doctype html>") and json.loads(files["board.json"])["rows"]


def test_without_the_hub_a_dry_run_still_shows_all(tmp_path: Path) -> None:
    run = the_run(tmp_path / "run")
    words = (str(run), "--to", "model", "--repo", "owner/my-model")
    dry = publish("http://127.0.0.1:9", tmp_path / "home", *words)
    assert dry.code == 0 and "the Hub was not reached, all is shown as new" in dry.err and "+model-index:" in dry.out
    sent = publish("http://127.0.0.1:9", tmp_path / "home", *words, "--yes")
    assert sent.code == 1 and "the Hub was not reached" in sent.err.splitlines()[-1]


def test_a_refusal_is_one_line_without_the_token(endpoint: FakeHub, tmp_path: Path) -> None:
    endpoint.refuse = 403
    words = (str(the_run(tmp_path / "run")), "--to", "model", "--repo", "owner/my-model", "--yes")
    said = publish(endpoint.url, tmp_path / "home", *words)
    assert said.code == 1 and "the Hub did not take it" in said.err and "Traceback" not in said.err


@pytest.mark.parametrize(
    ("to", "repository", "more", "said"),
    [("modle", "a/b", (), "did you mean model"), ("model", "name", (), "names no owner"),
     ("model", "a/b/c", (), "--repo"), ("model", "a/b", ("--source", "x"), "is not an address")],
)  # fmt: skip
def test_bad_input_is_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    to: str,
    repository: str,
    more: tuple[str, ...],
    said: str,
) -> None:
    run = str(the_run(tmp_path / "run"))
    found = darumeru(capsys, monkeypatch, "publish", run, "--to", to, "--repo", repository, *more)
    assert found.code == 2 and said in found.err and found.err.count("\n") == 1


def test_what_is_no_whole_score_of_the_hubs_records_is_in_no_eval_results(tmp_path: Path) -> None:
    """cases/model_card_names.md: never bundled data without saying so; a subset is another question, too."""
    rows = [chosen(name, str(n), "A", "A") for name in (LETTERS, COPIES, OWN) for n in range(4)]
    data = {LETTERS: HUB_DATA, COPIES: {**HUB_DATA, "revision": "bundled"}, OWN: {}}
    made = make_run(tmp_path / "run", rows, absent=["gone"], data={"source": "hub", "tasks": data})
    found = eval_results(load_run(made), "https://example.org")
    assert found.files == {} and found.left_out == {
        LETTERS: "it is not complete", COPIES: "bundled sample of the data", OWN: "data that are not of the Hub"
    }  # fmt: skip
