"""Runs in the formats of other tools, read by those tools where they are installed, else by their own schemas."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from darumeru.core.files import file_hash
from darumeru.runs.run import load_run
from tests.cli.command import Said, darumeru
from tests.leaderboards.browser import HOSTILE
from tests.leaderboards.made_runs import chosen, copied, make_run
from tests.publishing.read_back import with_readers

SCHEMAS = Path(__file__).parent / "schemas"
LETTERS, COPIES = "darumeru/letters", "darumeru/copies"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """20 choices, half of them right; copies of hostile texts under hostile ids, and one that was cut."""
    rows = [chosen(LETTERS, str(n), "A", "AB"[n % 2]) for n in range(20)]
    rows += [copied(COPIES, text, text, text, text) for text in HOSTILE]
    rows.append(copied(COPIES, "cut", "да", "нет…"))
    of_hub = {"repository": "RefalMachine/darumeru", "config": "letters", "split": "test", "revision": "f" * 40}
    return make_run(tmp_path / "run", rows, "owner/my-model", data={"source": "hub", "tasks": {LETTERS: of_hub}})


def export(capsys: Any, monkeypatch: Any, *words: Any) -> Said:
    return darumeru(capsys, monkeypatch, "export", *map(str, words))


def test_inspect_reads_its_logs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, run: Path, tmp_path: Path
) -> None:
    said = export(capsys, monkeypatch, run, "--to", "inspect", "--output", tmp_path / "out")
    with_readers("tests.publishing.read_back", "inspect", *said.out.split())


def test_inspect_logs_hold_what_their_format_names(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, run: Path
) -> None:
    """Names of the members, ids and required fields as in inspect_ai 0.3.285 (log/_recorders/eval.py, log/_log.py)."""
    paths = export(capsys, monkeypatch, run, "--to", "inspect").out.split()
    assert paths == [str(run / "inspect" / f"darumeru__{name}.eval") for name in ("letters", "copies")]
    before = [file_hash(Path(path)) for path in paths]
    with zipfile.ZipFile(paths[0]) as archive:
        names = archive.namelist()
        header = json.loads(archive.read("header.json"))
        sample = json.loads(archive.read("samples/000002_epoch_1.json"))
        summaries = json.loads(archive.read("summaries.json"))
    assert {"_journal/start.json", "header.json", "summaries.json"} < set(names) and len(names) == 23
    assert header["version"] == 2 and {"created", "task", "dataset", "model", "config"} <= set(header["eval"])
    assert header["eval"]["dataset"]["name"] == "RefalMachine/darumeru"
    assert header["results"]["scores"][0]["metrics"]["value"]["value"] == 0.5
    assert (sample["target"], sample["output"]["completion"], sample["choices"]) == ("A", "B", ["B", "A"])
    assert [one["id"] for one in summaries] == [f"{n:06}" for n in range(1, 21)]
    export(capsys, monkeypatch, run, "--to", "inspect")
    assert [file_hash(Path(path)) for path in paths] == before


def test_every_eval_ever_accepts_what_is_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, run: Path, tmp_path: Path
) -> None:
    """The schemas of every-eval-ever 0.3.0, and by hand: the numbers of results.json."""
    said = export(capsys, monkeypatch, run, "--to", "every-eval-ever", "--output", tmp_path)
    whole, samples = map(Path, said.out.split())
    document = json.loads(whole.read_text("utf-8"))
    lines = [json.loads(line) for line in samples.read_text("utf-8").split("\n")[:-1]]
    for schema, values in (("eval", [document]), ("instance_level_eval", lines)):
        found = json.loads((SCHEMAS / f"{schema}.schema.json").read_text("utf-8"))
        for value in values:
            jsonschema.Draft7Validator(found).validate(value)
    assert whole.parent == tmp_path / "data" / "darumeru" / "owner" / "my-model"
    details = document["detailed_evaluation_results"]
    assert tmp_path / details["file_path"] == samples and details["checksum"] == file_hash(samples)
    assert details["total_rows"] == len(lines) == 28
    first = document["evaluation_results"][0]
    score = load_run(run).results.tasks[LETTERS].score
    assert first["evaluation_name"] == LETTERS and first["metric_config"]["metric_name"] == "acc"
    assert first["source_data"]["hf_repo"] == "RefalMachine/darumeru" and first["score_details"]["score"] == 0.5
    interval = first["score_details"]["uncertainty"]["confidence_interval"]
    assert (interval["lower"], interval["upper"]) == (score.low, score.high)
    assert document["evaluation_results"][1]["source_data"]["source_type"] == "other"
    assert sum(line["evaluation"]["is_correct"] for line in lines[:20]) == 10


def test_its_own_validator_accepts_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, run: Path, tmp_path: Path
) -> None:
    command = shutil.which("every_eval_ever")
    if command is None:
        pytest.skip("needs every-eval-ever (Python 3.12)")
    paths = export(capsys, monkeypatch, run, "--to", "every-eval-ever", "--output", tmp_path).out.split()
    done = subprocess.run([command, "validate", *(str(Path(path).relative_to(tmp_path)) for path in paths)],
                          cwd=tmp_path, capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_no_key_is_exported(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = "sk-SECRET1234567890abcdef"
    rows = [copied(COPIES, "1", "да", f"мой ключ {key}"), copied(COPIES, "2", "да", "да")]
    made = make_run(tmp_path / "run", rows, "owner/m")
    for form in ("inspect", "every-eval-ever"):
        for path in map(Path, export(capsys, monkeypatch, made, "--to", form, "--output", tmp_path / form).out.split()):
            text = path.read_bytes()
            if path.suffix == ".eval":
                with zipfile.ZipFile(path) as archive:
                    text = b"".join(archive.read(name) for name in archive.namelist())
            assert key.encode() not in text


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--to", "inspekt"), "did you mean inspect"), ((), "nothing is asked for"),
     (("--log-to", "wandbb"), "did you mean wandb"), (("--to", "inspect", "--output", "/proc/x"), "cannot be written"),
     (("--to", "lm-eval", "--output", "x"), "own writer")],
)  # fmt: skip
def test_bad_input_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, run: Path, words: tuple[str, ...], said: str
) -> None:
    found = export(capsys, monkeypatch, run, *words)
    assert found.code == 2 and said in found.err and found.err.count("\n") == 1
