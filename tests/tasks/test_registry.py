"""Choosing tasks by name, group and glob; task files that are wrong; profiles."""

from __future__ import annotations

from pathlib import Path

import pytest

from darumeru.core.errors import UserError
from darumeru.tasks.profiles import PROFILES
from darumeru.tasks.registry import load_registry
from darumeru.tasks.validation import read_tasks

GOOD = """
name: mine/task
group: Mine
description: One question.
method: multiple_choice
format: standard
source: {repository: me/mine}
choices: ["1", "2"]
metrics: [acc]
score: [acc]
"""


def test_the_benchmark_has_17_tasks_in_five_groups_and_others_beside() -> None:
    registry = load_registry()
    groups = [spec.group for spec in registry.select(["darumeru"])]
    assert [groups.count(g) for g in ("DaruMMLU", "DaruMERA", "DaruSum", "DaruCopy-EN", "DaruCopy-RU")] == [
        3,
        8,
        2,
        2,
        2,
    ]
    beside = {spec.name.rsplit("/", 1)[-1] for spec in registry.specs.values() if not spec.leaderboard}
    assert beside == {"rutie", "cp_doc_ru", "ruscibench_grnti_ru", "flores_ru_en", "flores_en_ru", "gazeta"}


def test_names_groups_and_globs_select() -> None:
    registry = load_registry()
    assert [s.name for s in registry.select(["parus"])] == ["darumeru/parus"]
    assert len(registry.select(["DaruCopy-RU"])) == 2 and len(registry.select(["darumera"])) == 8
    assert len(registry.select(["darumeru/cp_sent_*", "darumeru/cp_sent_ru"])) == 2
    assert len(registry.select(["all"])) == 23


@pytest.mark.parametrize("wrong", ["darumeru/parsu", "DaruMER", "parsu"])
def test_a_wrong_name_gets_the_nearest_ones(wrong: str) -> None:
    with pytest.raises(UserError) as caught:
        load_registry().select([wrong])
    assert "did you mean" in caught.value.line()


def test_profiles_change_what_the_specification_says_they_change() -> None:
    def scores(task: str) -> dict[str, tuple[str, ...]]:
        return {profile: load_registry(profile).specs[task].score for profile in PROFILES}

    assert scores("daru/treewayabstractive") == {
        "darumeru": ("rouge12_recall",),
        "paper": ("rouge12_recall",),
        "llmtf-2024": ("rouge12_f1",),
        "llmtf-head": ("rougeL_f1",),
    }
    assert scores("darumeru/cp_para_ru")["llmtf-2024"] == ("exact_copy_rate_2024",)
    headlines = {p: load_registry(p).specs["nlpcoreteam/rummlu"].options["zero_shot_headline"] for p in PROFILES}
    assert headlines == {"darumeru": True, "paper": True, "llmtf-2024": False, "llmtf-head": True}


def test_an_unknown_profile_is_named() -> None:
    with pytest.raises(UserError, match="did you mean llmtf-2024"):
        load_registry("llmtf-2025")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("method: multiple_choice", "method: multiple_chioce", "is not one of multiple_choice"),
        ("group: Mine\n", "", "`group` is missing"),
        ("score: [acc]", "score: [mcc]", "not among `metrics`"),
        ("metrics: [acc]", "metrcs: [acc]", "did you mean metrics"),
        ("metrics: [acc]\nscore: [acc]", "metrics: [acu]\nscore: [acu]", "did you mean acc"),
        ('choices: ["1", "2"]', 'choices: ["1"]', "at least two"),
        ("name: mine/task", "name: [", "is not YAML"),
        ("format: standard", "format: standart", "format"),
        ("description: One question.", "description: 5", "must be of type str"),
    ],
)
def test_a_wrong_task_file_is_named_with_the_field(tmp_path: Path, old: str, new: str, said: str) -> None:
    from darumeru.tasks.formats import sample_maker

    path = tmp_path / "task.yaml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(UserError) as caught:
        for spec in read_tasks(str(path), "darumeru"):
            sample_maker(spec.format, str(path))
    assert said in caught.value.line() and "task" in caught.value.line()


def test_two_tasks_of_one_name_are_an_error(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(GOOD)
    with pytest.raises(UserError, match="defined twice"):
        load_registry(include=[str(tmp_path)])


def test_an_included_task_is_selected_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(GOOD)
    assert load_registry(include=[str(tmp_path)]).select(["Mine"])[0].name == "mine/task"
