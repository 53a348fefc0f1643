"""Servers that misbehave (cases/fake_server.py, cases/server_*.md, cases/malformed_chat_answer.md)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.torture.command import darumeru
from tests.torture.servers import (
    HASTY,
    PATIENT,
    TOKENIZER,
    FakeServer,
    Scores,
    check,
    fake_modes,
    fake_server,
    scores,
    words,
)
from tests.torture.strange_server import MODES, StrangeServer, strange_server

# Of cases/server_logprobs_vanish.md: the scores of the mode `normal`.
NORMAL: Scores = {"darumeru/rwsd": 0.2, "darumeru/multiq": 0.0, "darumeru/rcb": pytest.approx(0.1740741, abs=1e-7)}


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeServer]:
    with fake_server() as server:
        yield server


@pytest.fixture(scope="module")
def strange() -> Iterator[StrangeServer]:
    with strange_server() as server:
        yield server


@pytest.fixture(scope="module")
def strange_scores(strange: StrangeServer, tmp_path_factory: pytest.TempPathFactory) -> Scores:
    folder = tmp_path_factory.mktemp("good")
    strange.mend("good")
    darumeru(*words(strange.url("good"), folder, PATIENT, "--tokenizer", str(TOKENIZER)))
    return scores(folder)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "fake_mode" in metafunc.fixturenames:
        metafunc.parametrize("fake_mode", fake_modes())


def test_a_mode_ends_in_a_score_or_an_error_and_mended_in_the_normal_scores(
    fake: FakeServer, fake_mode: str, tmp_path: Path
) -> None:
    assert check(fake, fake_mode, tmp_path / "run", NORMAL) == ""
    assert fake.elsewhere() == []


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_of_raw_bytes_or_token_ids(
    strange: StrangeServer, mode: str, strange_scores: Scores, tmp_path: Path
) -> None:
    assert check(strange, mode, tmp_path / "run", strange_scores, "--tokenizer", str(TOKENIZER)) == ""


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("logprobs_null", "10 samples failed: the server: the answer has no log-probabilities"),
        ("logprob_positive", "the answer has the log-probability `5.0`"),
        ("finish_content_filter", "the answer ended for the reason `content_filter`"),
        ("deep_json", "the answer is nested too deeply"),
        ("redirect_307", "/steal; give that address"),
        ("redirect_loop", "redirects to itself"),
        ("large_blank", "the answer is larger than 16 MB"),
        ("drip", "no whole answer within 1 s"),
        ("429_forever", "HTTP 429: slow down"),
    ],
)
def test_what_failed_is_named_in_the_results(mode: str, said: str, tmp_path: Path) -> None:
    with fake_server() as fresh:
        began = time.monotonic()
        ended = darumeru(*words(fresh.url(mode), tmp_path, HASTY | {"timeout": 1 if mode == "drip" else 20}))
        assert ended.code == 1 and time.monotonic() - began < 60
    results = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert said in results["tasks"]["darumeru/rwsd"]["error"]
    stored = [*tmp_path.glob("samples/*rwsd*")]
    assert not stored or not stored[0].read_text()


def test_the_line_of_the_readme_runs_without_a_tokenizer(fake: FakeServer, tmp_path: Path) -> None:
    """cases/server_needs_tokenizer.md: what needs none is scored, the rest is named, so is the served model."""
    said = darumeru(
        "run", "--model", fake.url("normal"), "--data", "bundled", "--limit", "2", "--output", str(tmp_path)
    )
    assert said.code == 1 and "Traceback" not in said.text
    results = json.loads((tmp_path / "results.json").read_text("utf-8"))
    lacking = {name for name, task in results["tasks"].items() if "--tokenizer" in (task["error"] or "")}
    copying = {f"darumeru/cp_{what}_{language}" for what in ("sent", "para") for language in ("ru", "en")}
    assert lacking == copying | {"daru/treewayextractive"}
    assert all(task["n"] for name, task in results["tasks"].items() if name not in lacking)
    assert results["manifest"]["model"]["name"] == "fake" and results["manifest"]["engine"]["name"] == "openai"
    assert said.out.startswith("fake, ") and "engine openai" in said.out


def test_more_patience_goes_on_with_the_same_run(tmp_path: Path) -> None:
    """cases/patience_bars_resume.md."""
    with fake_server() as fresh:
        assert darumeru(*words(fresh.url("429_forever"), tmp_path, HASTY)).code == 1
        before = {path: path.read_bytes() for path in tmp_path.glob("samples/*")}
        fresh.mend("429_forever")
        patient = words(fresh.url("429_forever"), tmp_path, {**PATIENT, "api_key": "another-key"})
        assert darumeru(*patient).code == 0
    assert all(path.read_bytes().startswith(kept) for path, kept in before.items())
    assert scores(tmp_path) == NORMAL


def test_a_server_that_fails_at_everything_ends_the_run(tmp_path: Path) -> None:
    """Nothing endless: 10,000 samples are not each waited for."""
    arguments = json.dumps(HASTY | {"concurrency": 2})
    tasks = ("--data", "bundled", "--tasks", "darumeru/rummlu,darumeru/use,darumeru/parus")
    with fake_server() as fresh:
        url = fresh.url("html_502")
        said = darumeru("run", "--model", url, *tasks, "--engine-args", arguments, "--output", str(tmp_path))
    assert said.code == 1 and "the server fails at everything: the server: HTTP 502" in said.err
