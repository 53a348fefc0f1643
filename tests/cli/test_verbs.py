"""What the verbs print, and that nothing heavy is imported for it."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

from tests.cli.command import darumeru
from tests.shared_data import ROOT

HEAVY = {
    "torch",
    "transformers",
    "vllm",
    "datasets",
    "lm_eval",
    "pandas",
    "scipy",
    "sklearn",
    "matplotlib",
    "trl",
    "peft",
}


def _imported(words: list[str]) -> set[str]:
    code = (
        "import sys\nfrom darumeru.cli.main import main\n"
        f"sys.argv = ['darumeru', *{words!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(eval(done.stderr.strip().splitlines()[-1]))


@pytest.mark.parametrize("words", [["tasks", "list"], ["tasks", "show", "parus"]])
def test_lists_import_nothing_heavy(words: list[str]) -> None:
    assert not HEAVY & _imported(words)


@pytest.mark.parametrize("words", [["run", "--help"], ["watch", "--help"], ["--version"]])
def test_help_imports_nothing_that_reads_values(words: list[str]) -> None:
    assert not (HEAVY | {"yaml", "numpy"}) & _imported(words)


def test_all_verbs_are_made_without_pydantic() -> None:
    """Typer itself takes it for the words after a verb."""
    assert not (HEAVY | {"pydantic", "yaml", "numpy"}) & _imported(["--help"])


def test_help_takes_less_than_the_blink_of_an_eye() -> None:
    """0.4 s of the processor on the slowest machine at hand; the best of three, since others use it too."""
    assert min(_seconds() for _ in range(3)) < 0.4


def _seconds() -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "darumeru", "--help"], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_the_package_imports_nothing_heavy() -> None:
    code = "import sys, darumeru; print(sorted(m for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(eval(done.stdout))


def test_tasks_are_listed_for_people_and_machines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = json.loads(darumeru(capsys, monkeypatch, "tasks", "list", "--json").out)
    files = [
        path for path in (ROOT / "tasks").glob("*/*.yaml") if path.parent.name not in ("lm_eval", "rubrics", "suites")
    ]
    assert len(listed) == len(files) >= 23 and sum(task["leaderboard"] for task in listed) == 17
    text = darumeru(capsys, monkeypatch, "tasks", "list").out
    assert all(task["name"] in text for task in listed)
    english = json.loads(darumeru(capsys, monkeypatch, "tasks", "list", "--json", "--language", "en").out)
    assert {task["language"] for task in english} == {"en"}


def test_show_names_the_metrics_and_the_data(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = darumeru(capsys, monkeypatch, "tasks", "show", "darumeru/parus")
    assert "acc_both_orders" in said.out and "RefalMachine/darumeru/parus" in said.out
    shown = json.loads(darumeru(capsys, monkeypatch, "tasks", "show", "parus", "--json").out)
    assert shown["choices"] == ["1", "2"]
    several = json.loads(darumeru(capsys, monkeypatch, "tasks", "show", "DaruCopy-EN", "--json").out)
    assert [one["name"] for one in several] == ["darumeru/cp_para_en", "darumeru/cp_sent_en"]


def test_validate_accepts_the_projects_own_tasks_with_the_bundled_data(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = darumeru(capsys, monkeypatch, "tasks", "path").out.strip()
    said = darumeru(capsys, monkeypatch, "tasks", "validate", f"{folder}/darumeru/cp_sent_ru.yaml", "--data", "bundled")
    assert said.code == 0 and "valid: darumeru/cp_sent_ru" in said.out


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert darumeru(capsys, monkeypatch, "--version").out.startswith("darumeru 0.")
