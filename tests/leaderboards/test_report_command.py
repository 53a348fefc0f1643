"""`darumeru report`: the file it writes, and one clear line for what it cannot use."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.command import Said, darumeru
from tests.leaderboards.made_runs import chosen, copied, make_run, rewrite

Report = Callable[..., Said]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rows = [chosen("darumeru/letters", str(n), "A", "AB"[n % 2], f"Вопрос {n}?") for n in range(5)]
    return make_run(tmp_path / "run", [*rows, copied("darumeru/copies", "0", "да", "да", tokens=(3, 4))])


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Report:
    def call(run: Path, *more: str) -> Said:
        output = () if "--output" in more else ("--output", str(tmp_path / "report.html"))
        return darumeru(capsys, monkeypatch, "report", str(run), *output, *more)

    return call


def refused(said: Said, *parts: str) -> None:
    assert said.code == 2 and said.out == ""
    assert said.err.count("\n") == 1 and said.err.startswith("error: ")
    for part in parts:
        assert part in said.err


def test_the_page_holds_every_sample_and_is_the_same_each_time(run: Path, report: Report, tmp_path: Path) -> None:
    said = report(run)
    page = tmp_path / "report.html"
    assert (
        (said.code, said.out) == (0, "") and said.err.startswith(f"{page}: 6 samples, ") and said.err.endswith(" kB\n")
    )
    text = page.read_text(encoding="utf-8")
    chunks = re.findall(r'<script type="application/octet-stream" id="chunk-\d+">([^<]*)</script>', text)
    samples = [sample for chunk in chunks for sample in json.loads(gzip.decompress(base64.b64decode(chunk)))]
    assert [sample["prompt"] for sample in samples] == [*(f"Вопрос {n}?" for n in range(5)), "Повтори."]
    assert samples[1]["answer"] == {"probabilities": [["B", 0.75], ["A", 0.125]], "chosen": "B"}
    assert report(run).code == 0
    assert page.read_text(encoding="utf-8") == text
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_is_not_a_run_is_refused(report: Report, tmp_path: Path) -> None:
    refused(report(tmp_path / "nowhere"), "no such run folder")
    refused(report(tmp_path), "is not the folder of a run: manifest.json is missing")


def test_an_unfinished_run_needs_a_flag_and_is_marked(run: Path, report: Report, tmp_path: Path) -> None:
    rewrite(run / "manifest.json", {"status": "interrupted"})
    refused(report(run), "the run is not finished")
    assert report(run, "--allow-partial").code == 0
    assert 'class="badge unfinished"' in (tmp_path / "report.html").read_text(encoding="utf-8")
    (run / "results.json").unlink()
    refused(report(run, "--allow-partial"), "has no results.json yet", "darumeru score")


def test_a_newer_schema_is_refused(run: Path, report: Report) -> None:
    rewrite(run / "results.json", {"schema": 99}, checksum=True)
    refused(report(run), "results.json: has schema 99")
    rewrite(run / "manifest.json", {"schema": 98})
    refused(report(run), "manifest.json: has schema 98")


def test_scores_edited_by_hand_are_refused(run: Path, report: Report) -> None:
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    results["tasks"]["darumeru/letters"]["score"]["value"] = 1.0
    rewrite(run / "results.json", {"tasks": results["tasks"]})
    refused(report(run), "results.json: was edited by hand")


def test_a_manifest_edited_by_hand_is_refused(run: Path, report: Report) -> None:
    rewrite(run / "manifest.json", {"model": {"name": "better-model"}})
    refused(report(run), "manifest.json: was edited by hand: its model differs")


def test_answers_edited_by_hand_are_refused(run: Path, report: Report) -> None:
    file = run / "questions" / "darumeru__letters.jsonl"
    file.write_text(file.read_text(encoding="utf-8").replace('"target":"A"', '"target":"B"', 1), encoding="utf-8")
    refused(report(run), "questions/darumeru__letters.jsonl: differs from what results.json was computed from")


def test_an_output_that_cannot_be_written_is_refused_first(run: Path, report: Report, tmp_path: Path) -> None:
    refused(report(run, "--output", str(tmp_path / "no" / "report.html")), "no such folder", "choose another --output")
    refused(report(run, "--output", str(tmp_path)), "is a folder")
    (tmp_path / "file").write_text("")
    refused(report(run, "--output", str(tmp_path / "file" / "report.html")), "no such folder")


def test_a_curve_that_is_none_is_refused(run: Path, report: Report, tmp_path: Path) -> None:
    refused(report(run, "--curve", str(tmp_path / "curve.jsonl")), "no such learning curve")
    (tmp_path / "curve.jsonl").write_text('{"step": "later"}\n')
    refused(report(run, "--curve", str(tmp_path / "curve.jsonl")), "curve.jsonl:1: is not a point of a learning curve")


def test_another_tokenizer_is_refused(run: Path, report: Report, tokenizer_folder: Path, tmp_path: Path) -> None:
    refused(report(run, "--tokenizer", str(tokenizer_folder)), "is not the tokenizer of this run")
    refused(report(run, "--tokenizer", str(tmp_path / "nowhere")), "nowhere")


def test_without_its_model_folder_a_run_has_a_report_without_tokens(report: Report, tmp_path: Path) -> None:
    command = ["darumeru", "run", "--model", str(tmp_path / "gone"), "--data", "bundled"]
    run = make_run(tmp_path / "run", [chosen("darumeru/letters", "0", "A", "A")], command=command)
    said = report(run)
    assert said.code == 0 and "tokens" not in said.err
