"""What a user can do wrong with lm-eval's tasks: one clear line, before any weights are loaded."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import pytest

from darumeru.core.errors import UserError
from darumeru.engines.protocol import Engine, EngineOptions
from darumeru.lm_eval_bridge import lm_eval_model, print_tasks
from darumeru.runs import evaluate
from darumeru.runs.config import RunConfig
from tests.lm_eval_bridge.local_tasks import TASKS, write_tasks


def no_engine(name: str, options: EngineOptions) -> Engine:
    pytest.fail("weights were loaded")


def refused(model: Path, folder: Path, task: str, **more: Any) -> UserError:
    include = (str(folder / "tasks"),) if (folder / "tasks").exists() else ()
    options = RunConfig(
        model=str(model), output=str(folder / "run"), tasks=(f"lm_eval:{task}",), include=include, **more
    )
    with pytest.raises(UserError) as error:
        evaluate.run(options, load_engine=no_engine)
    return error.value


@pytest.fixture
def found_version(monkeypatch: pytest.MonkeyPatch) -> Any:
    def pretend(version: str | None) -> None:
        def answer(name: str) -> str:
            if version is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return version

        monkeypatch.setattr("darumeru.lm_eval_bridge.versions.version", answer)

    return pretend


@pytest.mark.parametrize(("version", "said"), [(None, "not installed"), ("0.4.2", "0.4.2"), ("0.5.0", "0.5.0")])
def test_a_missing_or_untested_lm_eval_is_named(found_version: Any, version: str | None, said: str) -> None:
    found_version(version)
    for use in (lambda: print_tasks("ru", False), lambda: lm_eval_model(None)):  # type: ignore[arg-type]
        with pytest.raises(UserError, match=said) as error:
            use()
        assert "pip install 'lm-eval>=0.4.13,<0.5'" in error.value.mend


def test_an_unknown_task_gets_the_nearest_names(tiny_model: Path, own_cache: Path, tmp_path: Path) -> None:
    error = refused(tiny_model, tmp_path, "belebele_rus_cyrl")
    assert "lm_eval:belebele_rus_Cyrl" in error.near
    assert not refused(tiny_model, tmp_path, "nothing_like_this_*").near


def test_a_broken_file_is_named_with_its_line(tiny_model: Path, own_cache: Path, tmp_path: Path) -> None:
    folder = write_tasks(tmp_path / "tasks", {"cloze": TASKS["cloze"]})
    (folder / "broken.yaml").write_text("task: broken\noutput_type: [\nmetric_list: x\n")
    error = refused(tiny_model, tmp_path, "cloze")
    assert error.where.endswith("broken.yaml:3") and "not YAML" in error.what


def test_a_function_that_is_not_there_is_named(tiny_model: Path, own_cache: Path, tmp_path: Path) -> None:
    write_tasks(tmp_path / "tasks", {"lost": TASKS["cloze"] | {"process_results": "!function local_code.nowhere"}})
    error = refused(tiny_model, tmp_path, "lost")
    assert "nowhere" in error.what and error.where.endswith("lost.yaml")


def test_a_task_that_runs_generated_code_is_refused(tiny_model: Path, own_cache: Path, tmp_path: Path) -> None:
    write_tasks(tmp_path / "tasks", {"unsafe": TASKS["rouge"] | {"unsafe_code": True}})
    assert "runs generated code" in refused(tiny_model, tmp_path, "unsafe").what
    assert "runs generated code" in refused(tiny_model, tmp_path, "humaneval").what


def test_data_that_only_the_network_has_are_named(
    tiny_model: Path, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    error = refused(tiny_model, tmp_path, "belebele_rus_Cyrl")
    assert "facebook/belebele" in error.what and "local `dataset_path`" in error.mend


def test_missing_data_files_are_named(tiny_model: Path, own_cache: Path, tmp_path: Path) -> None:
    write_tasks(tmp_path / "tasks", {"cloze": TASKS["cloze"]})
    (tmp_path / "tasks" / "test.jsonl").unlink()
    assert "json cannot be loaded" in refused(tiny_model, tmp_path, "cloze").what


def test_an_answer_without_room_for_a_prompt_is_refused(tiny_model: Path, own_cache: Path, tmp_path: Path) -> None:
    long = TASKS["rouge"] | {"generation_kwargs": {"until": ["."], "max_gen_toks": 900}}
    write_tasks(tmp_path / "tasks", {"long": long})
    error = refused(tiny_model, tmp_path, "long", max_length=512)
    assert "needs 900 tokens" in error.what and error.where == "--max-length"


def test_a_task_asked_for_twice_with_other_settings_is_refused(
    tiny_model: Path, own_cache: Path, tmp_path: Path
) -> None:
    folder = write_tasks(tmp_path / "tasks", {"letters": TASKS["letters"]})
    (folder / "both.yaml").write_text("group: both\ntask:\n  - {task: letters, num_fewshot: 1}\n")
    options = RunConfig(
        model=str(tiny_model),
        output=str(tmp_path / "run"),
        tasks=("lm_eval:letters", "lm_eval:both"),
        include=(str(folder),),
    )
    with pytest.raises(UserError, match="asked for twice"):
        evaluate.run(options, load_engine=no_engine)


def test_without_network_lm_evals_command_says_one_line_that_names_its_own_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Right value: lm_eval_offline.md; `--metadata` is an option of lm_eval, `--data` is not."""
    from darumeru.lm_eval_bridge.task_adapter import DarumeruTask

    def task(data: str) -> DarumeruTask:
        config = {"task": "t", "darumeru_task": "darumeru/parus", "metadata": {"data": data}}
        return DarumeruTask(config)

    assert len(task("bundled").test_docs()) > 5
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/lm_eval"])
    with pytest.raises(SystemExit) as caught:
        task("hub").test_docs()
    (line,) = capsys.readouterr().err.splitlines()
    assert caught.value.code == 2 and """--metadata '{"data": "bundled"}'""" in line and "--data b" not in line
    monkeypatch.setattr(sys, "argv", ["notebook"])
    with pytest.raises(UserError, match="--metadata"):
        task("hub").test_docs()
