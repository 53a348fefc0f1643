"""The index of lm-eval's tasks: lm-eval's own names, cached, and `darumeru tasks list --source lm-eval`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from darumeru.core.errors import UserError
from darumeru.lm_eval_bridge import catalogue, print_tasks
from darumeru.lm_eval_bridge.catalogue import own_catalogue, read_folder
from darumeru.lm_eval_bridge.versions import tasks_root
from tests.lm_eval_bridge.local_tasks import GROUPS, TASKS, write_tasks
from tests.shared_data import shared

KINDS = {"TASK": "task", "PY_TASK": "python", "GROUP": "group", "TAG": "tag"}


@pytest.fixture(scope="module")
def own(own_cache: Path) -> catalogue.Catalogue:
    return own_catalogue()


def test_names_kinds_and_members_are_those_of_lm_evals_index(own: catalogue.Catalogue) -> None:
    from lm_eval.tasks import TaskManager

    parts = [tasks_root() / name for name in ("belebele", "mmlu", "squadv2", "libra", "xwinograd")]
    for part in parts:
        theirs = TaskManager(include_path=str(part), include_defaults=False).task_index
        mine = read_folder(part).names
        assert mine.keys() == theirs.keys()
        for name, entry in theirs.items():
            assert mine[name].kind == KINDS[entry.kind.name] == own.names[name].kind
            assert mine[name].path == (str(entry.yaml_path) if entry.yaml_path else None)
            assert entry.kind.name != "TAG" or set(mine[name].members) == entry.tags


def test_the_index_is_read_from_the_cache_the_second_time(
    own: catalogue.Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "read_folder", lambda root: pytest.fail("the YAML files were read again"))
    assert own_catalogue() == own


def test_a_broken_cache_is_made_again(
    own: catalogue.Catalogue, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = (own_cache / "darumeru").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:1000])
    monkeypatch.setattr(catalogue, "read_folder", lambda root: own)
    assert own_catalogue() == own
    assert json.loads(file.read_bytes()) == json.loads(whole)


def test_russian_tasks_are_listed(own: catalogue.Catalogue, capsys: pytest.CaptureFixture[str]) -> None:
    print_tasks("ru", True)
    listed = {task["name"]: task for task in json.loads(capsys.readouterr().out)}
    assert listed["lm_eval:belebele_rus_Cyrl"]["dataset"] == "facebook/belebele"
    assert listed["lm_eval:libra_question_answering_and_multiple_choice"]["kind"] == "group"
    assert "lm_eval:belebele_deu_Latn" not in listed and "lm_eval:belebele" not in listed


def test_no_russian_task_that_people_know_is_missing(
    own: catalogue.Catalogue, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shared("task_lists", "russian_tasks.csv").read_text(encoding="utf-8").splitlines()
    wanted = {f"lm_eval:{line.split(',')[1]}" for line in lines if line.startswith("lm-eval,")}
    print_tasks("ru", True)
    assert not wanted - {task["name"] for task in json.loads(capsys.readouterr().out)}


def test_a_folder_of_ones_own_is_read_with_the_others_and_may_hold_darumerus_tasks(
    own: catalogue.Catalogue, tmp_path: Path
) -> None:
    folder = write_tasks(tmp_path)
    (folder / "darumerus.yaml").write_text("name: x/y\ngroup: group_of_mine\nmethod: multiple_choice\n")
    (folder / "in_json.yaml").write_text(json.dumps({"task": "in_json", "output_type": "generate_until"}))
    found = catalogue.catalogue([str(folder)]).names
    assert found.keys() >= {*TASKS, *GROUPS, "in_json", "belebele_rus_Cyrl"}
    assert "group_of_mine" not in found
    assert found["python_task"].kind == "python"


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("task: broken\ndoc_to_text: [a\nmetric_list:\n", 3, "is not YAML"),
        ("task: broken\ndataset_path: json\ninclude: nothing.yaml\n", 3, "includes nothing.yaml, which does not exist"),
        ("task: broken\ninclude: broken.yaml\n", 2, "includes itself"),
    ],
)
def test_a_broken_file_of_ones_own_is_named_with_its_line(
    own: catalogue.Catalogue, tmp_path: Path, text: str, line: int, reason: str
) -> None:
    (tmp_path / "broken.yaml").write_text(text)
    with pytest.raises(UserError, match=reason) as error:
        catalogue.catalogue([str(tmp_path)])
    assert error.value.where == f"{tmp_path / 'broken.yaml'}:{line}"
