"""A secret planted on every way in is in no file and in no line (cases/keys_published.md)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from darumeru.core.secrets import redacted, secret_values
from tests.torture.command import Said, darumeru
from tests.torture.servers import PATIENT, TOKENIZER, FakeServer, fake_server
from tests.torture.strange_server import strange_server

SECRET = "Planted-7f3a9c51e2"
TASKS = ("--data", "bundled", "--tasks", "darumeru/rcb,darumeru/multiq", "--limit", "4")


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeServer]:
    with fake_server() as server:
        yield server


def run(url: str, folder: Path, arguments: object = PATIENT, *more: str, **environment: str) -> Said:
    words = ("run", "--model", url, *TASKS, "--engine-args", json.dumps(arguments), "--output", str(folder), *more)
    return darumeru(*words, environment=environment)


def leaks(folder: Path, *said: Said) -> list[str]:
    """Where the secret stands: files, with every page and board that can be made of the run, and printed text."""
    run_folder = folder / "run"
    pages = ["--format", "markdown"], ["--format", "json"], ["--format", "csv"], ["--format", "latex"], ["--model-card"]
    printed = [*said, darumeru("score", str(run_folder)), darumeru("score", str(run_folder), "--json")]
    printed += [darumeru("leaderboard", str(run_folder), "--allow-partial", *page) for page in pages]
    printed += [darumeru("leaderboard", str(run_folder), "--allow-partial", "--output", str(folder / "board.html"))]
    printed += [darumeru("report", str(run_folder), "--allow-partial", "--output", str(folder / "report.html"))]
    assert [one.text for one in printed if "Traceback" in one.text] == []
    found = [str(path) for path in folder.rglob("*") if path.is_file() and SECRET in path.read_text("utf-8", "replace")]
    return found + [one.text for one in printed if SECRET in one.text]


WAYS = {
    "engine_args": ("normal", {"api_key": SECRET}, {}),
    "environment": ("normal", {}, {"OPENAI_API_KEY": SECRET}),
    "body": ("normal", {"body": {"user_token": SECRET, "headers": {"Authorization": f"Bearer {SECRET}"}}}, {}),
    "echoed": ("500_some", {}, {"OPENAI_API_KEY": SECRET}),
    "hub_token": ("normal", {"body": {"note": f"x {SECRET}"}}, {"HF_TOKEN": SECRET}),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_secret_of_a_run_is_nowhere(fake: FakeServer, way: str, tmp_path: Path) -> None:
    mode, arguments, environment = WAYS[way]
    said = run(fake.url(mode), tmp_path / "run", {**PATIENT, **arguments}, **environment)
    again = run(fake.url(mode), tmp_path / "run", {**PATIENT, **arguments, "timeout": 5}, **environment)
    assert (tmp_path / "run" / "results.json").is_file()
    assert leaks(tmp_path, said, again) == []


def test_user_and_password_of_an_address(fake: FakeServer, tmp_path: Path) -> None:
    url = fake.url("normal").replace("//", f"//user:{SECRET}@")
    assert leaks(tmp_path, run(url, tmp_path / "run"), run(url + "x", tmp_path / "other")) == []
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text("utf-8"))
    assert fake.url("normal") in manifest["command"]


@pytest.mark.parametrize("given", [{"api_key": SECRET}, {}])
def test_a_server_that_repeats_the_key_in_its_refusal(fake: FakeServer, given: dict[str, str], tmp_path: Path) -> None:
    environment = {} if given else {"OPENAI_API_KEY": SECRET}
    said = run(fake.url("401_echoes_key"), tmp_path / "run", {**PATIENT, **given}, **environment)
    assert said.code == 2 and "Incorrect API key provided: Bearer ***" in said.err and SECRET not in said.text


def test_a_server_that_repeats_the_key_in_an_answer(tmp_path: Path) -> None:
    with strange_server() as server:
        url = server.url("key_in_answer")
        said = run(url, tmp_path / "run", PATIENT, "--tokenizer", str(TOKENIZER), OPENAI_API_KEY=SECRET.lower())
        assert said.code == 0
    texts = [path.read_text("utf-8") for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".npz"]
    assert any("ваш ключ ***" in text for text in texts) and not any(SECRET.lower() in text for text in texts)


def test_an_escaped_name_in_the_command_line_hides_nothing(fake: FakeServer, tmp_path: Path) -> None:
    escaped = json.dumps({**PATIENT, "api_key": SECRET}).replace("api_key", "api\\u005fkey")
    said = darumeru(
        "run", "--model", fake.url("normal"), *TASKS, "--engine-args", escaped, "--output", str(tmp_path / "run")
    )
    assert said.code == 0 and leaks(tmp_path, said) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer ***"),
        ("see http://h/v1?api_key=abcdef&x=1", "see http://h/v1?api_key=***&x=1"),
        ("https://user:pw@host/v1", "https://host/v1"),
        ('{"hf_token": "abc"}', '{"hf_token": "***"}'),
        ("key sk-abcdefghijklmnop1234 is wrong", "key *** is wrong"),
        ("max_tokens: 5, tokenizer: \"x\"", "max_tokens: 5, tokenizer: \"x\""),
        ("Да: 0.5 — без ключей", "Да: 0.5 — без ключей"),
    ],
)  # fmt: skip
def test_what_is_hidden_in_a_text(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_secret_values_of_arguments() -> None:
    """EMPTY is what servers without a key are given; it is no secret."""
    given = {"api_key": "abcdef1", "url": "http://u:passw0rd@h", "body": {"headers": {"Cookie": ["c00kie!"]}}, "x": "y"}
    assert secret_values(given) == {"abcdef1", "passw0rd", "c00kie!"}
    assert secret_values({"api_key": "EMPTY"}) == set()


def test_numbers_with_a_point_are_no_secrets() -> None:
    """`symbols_per_token` of results.json and `best_token` of answers end in a word that names keys."""
    numbers = {"symbols_per_token": 2.43, "use_token": True, "best_token": 23}
    assert redacted(numbers) == numbers
    assert redacted({"password": 123456, "hf_token": "23"}) == {"password": "***", "hf_token": "***"}
    assert redacted({"token": "abcdef123", "password": 123456}) == {"token": "***", "password": "***"}
