"""Choosing tasks by name, group and glob; task files that are wrong; profiles."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import pytest

from darumeru.core.errors import UserError
from darumeru.core.registry import PluginWarning
from darumeru.tasks.formats import format_registry
from darumeru.tasks.profiles import PROFILES
from darumeru.tasks.registry import folder_registry, load_registry
from darumeru.tasks.validation import read_tasks
from tests.shared_data import ROOT, case

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


def command(arguments: Sequence[str], path: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (path, ROOT)))}
    line = [sys.executable, "-m", "darumeru", *arguments]
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60, cwd=ROOT)


FIELD = 69
"""Tasks of the authors' present benchmark (docs/field.md)."""


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
    others = [spec for spec in registry.specs.values() if not spec.leaderboard]
    assert sum(spec.group.startswith("ruField") for spec in others) == FIELD
    beside = {spec.name.rsplit("/", 1)[-1] for spec in others if not spec.group.startswith("ruField")}
    assert beside == {
        *("rutie", "cp_doc_ru", "ruscibench_grnti_ru", "flores_ru_en", "flores_en_ru", "gazeta"),
        *("text_ru", "text_en"),  # bits per byte
    }


def test_names_groups_and_globs_select() -> None:
    registry = load_registry()
    assert [s.name for s in registry.select(["parus"])] == ["darumeru/parus"]
    assert len(registry.select(["DaruCopy-RU"])) == 2 and len(registry.select(["darumera"])) == 8
    assert len(registry.select(["darumeru/cp_sent_*", "darumeru/cp_sent_ru"])) == 2
    assert registry.select(["darucopy-*"]) == registry.select(["DaruCopy-EN", "DaruCopy-RU"])
    assert {task.group for task in registry.select(["ruField*"])} == {g for g in registry.groups if g[:7] == "ruField"}
    assert len(registry.select(["all"])) == 25 + FIELD


@pytest.mark.parametrize("wrong", ["darumeru/parsu", "DaruMER", "parsu"])
def test_a_wrong_name_gets_the_nearest_ones(wrong: str) -> None:
    with pytest.raises(UserError) as caught:
        load_registry().select([wrong])
    assert "did you mean" in caught.value.line()


def test_the_arena_s_answers_are_made_as_published_in_its_profile() -> None:
    """SPEC-field, 39: 4,096 new tokens, greedy, repetition penalty 1.05."""
    published = load_registry("llmtf-head").specs["field/arena_ru"]
    assert (published.max_new_tokens, published.temperature, published.repetition_penalty) == (4096, None, 1.05)
    assert load_registry().specs["field/arena_ru"].repetition_penalty is None


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
    ("old", "new", "line", "said"),
    [
        (
            "method: multiple_choice",
            "method: multiple_chioce",
            5,
            "one of multiple_choice, generate, loglikelihood.*did you mean multiple_choice",
        ),
        ("group: Mine\n", "", 2, "needs `group`"),
        ("score: [acc]", "score: [mcc]", 10, "not among `metrics`"),
        ("metrics: [acc]", "metrcs: [acc]", 9, "no field `metrcs`; did you mean metrics"),
        ("metrics: [acc]\nscore: [acc]", "metrics: [acu]\nscore: [acu]", 9, "did you mean acc"),
        ('choices: ["1", "2"]', 'choices: ["1"]', 8, "`choices` .*at least two"),
        ('choices: ["1", "2"]', 'choices: ["1", "1"]', 8, "`choices` .*differ"),
        ('choices: ["1", "2"]', "choices: [true, false]", 8, "`choices` .*each text"),
        ("name: mine/task", "name: [", 4, "is not YAML"),
        ("format: standard", "format: standart", 6, "unknown record format `standart`; did you mean standard"),
        ("format: standard", "format: mmlu", 2, "format mmlu needs `language`"),
        ("score: [acc]", "score: [acc]\noptions: {targt: text}", 11, "no option `targt`; did you mean target"),
        ("score: [acc]", "score: [acc]\noptions: {target: texts}", 11, "`target` .*one of label, label_first, text"),
        ("description: One question.", "description: 5", 4, "`description` .*text, not a whole number .5."),
        ("name: mine/task", "name: a,b", 2, "`name` must hold"),
        ("name: mine/task", "name: /etc/passwd", 2, "`name` must hold"),
        ("group: Mine", 'group: ""', 3, "`group` must not be empty"),
        ("{repository: me/mine}", "{repository: me/mine, tset: x}", 7, "no field `tset`; did you mean test"),
        ("{repository: me/mine}", "{repository: mine}", 7, "`repository` must be OWNER/NAME"),
        ("{repository: me/mine}", "{repository: me/mine, config: ../x}", 7, "`config` must hold no `..`"),
        ("{repository: me/mine}", "{test: x}", 7, "`source` needs `repository`"),
        ("{repository: me/mine}", "me/mine", 7, "`source` .*mapping"),
        ("score: [acc]", "score: [acc]\nmax_length: 64", 11, "`max_length` 64 leaves no room"),
        ("score: [acc]", "score: [acc]\nfew_shot: 1", 11, "`few_shot` .*true or false"),
        ("score: [acc]", "score: [acc]\nmax_new_tokens: 8.5", 11, "`max_new_tokens` .*whole number"),
        ("score: [acc]", "score: [acc]\nprofiles: {papre: {}}", 11, "unknown profile `papre`; did you mean paper"),
        (
            "score: [acc]",
            "score: [acc]\nprofiles:\n  darumeru:\n    first_shot: -1",
            13,
            "`first_shot` .*at least 0",
        ),
    ],
)
def test_a_wrong_task_file_is_named_with_line_and_field(
    tmp_path: Path, old: str, new: str, line: int, said: str
) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(UserError) as caught:
        read_tasks(str(path), "darumeru")
    assert re.fullmatch(rf"{re.escape(str(path))}:{line}: .*{said}.*", caught.value.line()), caught.value.line()


NONSENSE = {
    "first_shot_negative": "11: `first_shot` of the task must be at least 0, not -3",
    "max_length_3": "11: `max_length` of the task must be at least 16, not 3",
    "max_new_tokens_negative": "7: `max_new_tokens` of the task must be at least 1, not -5",
    "most_records_negative": "11: `most_records` of the task must be at least 1, not -1",
    "name_300": "1: `name` may have 200 characters, has 300",
    "name_climbs": "1: `name` must hold no `..`",
    "name_empty": "1: `name` must not be empty",
    "name_with_line_feed": "1: `name` must hold no control characters",
    "number_of_10000_digits": "11: a number of 10000 digits",
    "profiles_number": "11: `darumeru` of `profiles` must be a mapping of fields",
    "repository_climbs": "6: `repository` must be OWNER/NAME",
    "repository_number": "6: `repository` of `source` must be text, not a whole number",
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_refused_with_its_field_and_range(name: str) -> None:
    """Right values: nonsense_accepted.md, ranges by meaning."""
    done = command(["tasks", "validate", str(case(f"nonsense_task_files/{name}.yaml"))])
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert f"{name}.yaml:{NONSENSE[name]}" in line


def test_older_spellings_go_on_to_work(tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    older = GOOD.replace("multiple_choice", "choice").replace('["1", "2"]', "[1, 2]")
    path.write_text(older + "options: {gold: text}\n")
    (spec,) = read_tasks(str(path), "darumeru")
    assert (spec.method, spec.choices, spec.options) == ("multiple_choice", ("1", "2"), {"target": "text"})
    path.write_text(GOOD.replace("multiple_choice", "continue"))
    assert read_tasks(str(path), "darumeru")[0].method == "loglikelihood"


def test_names_that_differ_in_a_sign_are_three_tasks() -> None:
    specs = read_tasks(str(case("task_names_share_a_file")), "darumeru")
    assert [spec.name for spec in specs] == ["a/b", "a__b", "a:b"]


def test_a_definition_is_what_asks_and_what_scores() -> None:
    spec = load_registry().specs["darumeru/rcb"]
    assert not set(spec.asking()) & set(spec.scoring()) - {"options"}
    # To the run, or to nobody, unless a task says otherwise.
    left = {"prompt_limit", "num_fewshot", "judge", "temperature", "top_p", "top_k", "num_samples"}
    left |= {"repetition_penalty"}
    assert set(spec.definition()) == {f.name for f in fields(spec)} - {"name", "description", "differs"} - left
    assert json.loads(json.dumps(spec.definition())) == spec.definition()
    other = replace(spec, metrics=("acc",), description="other", most_records=3)
    assert spec.asking() == other.asking() and spec.scoring() != other.scoring()
    assert replace(spec, stop=("x",)).asking() != spec.asking()
    assert replace(spec, source=replace(spec.source, revision="abc")).definition() == spec.definition()


def distribution(folder: Path, name: str, points: str) -> Path:
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)
    return folder


def test_a_plugin_whose_module_is_missing_is_one_line_and_the_tasks_are_listed() -> None:
    """Right value: broken_task_plugin/README.md."""
    done = command(["tasks", "list"], path=case("broken_task_plugin/site"))
    assert done.returncode == 0 and "darumeru/multiq" in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("warning: ") and "`broken` of broken" in line and "no_such_module" in line


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("json", "is a module, not a folder"),
        ("json:loads", "TypeError"),
        ("sys:maxsize", "is a int, not a folder"),
        ("sys:version", "no such folder"),
    ],
)
def test_an_entry_point_that_is_no_folder_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, said: str
) -> None:
    monkeypatch.syspath_prepend(str(distribution(tmp_path, "wrong", f"[darumeru.tasks]\nmine = {target}\n")))
    folder_registry.cache_clear()
    with pytest.warns(PluginWarning, match=f"`mine` of wrong is left out: .*({said})"):
        assert len(load_registry().specs) == 25 + FIELD
    folder_registry.cache_clear()


def test_a_plugin_brings_tasks_and_formats_and_its_wrong_file_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = "[darumeru.tasks]\nmine = plugin_of_test:tasks\n[darumeru.formats]\nupside_down = plugin_of_test:FORMAT\n"
    distribution(tmp_path, "plugin-of-test", points)
    (tmp_path / "plugin_of_test.py").write_text(
        "from pathlib import Path\n"
        "from darumeru.tasks.formats.protocol import RecordFormat\n"
        "tasks = Path(__file__).parent / 'their_tasks'\n"
        "FORMAT = RecordFormat(lambda spec, test, shots, wanted: [])\n"
    )
    (tmp_path / "their_tasks").mkdir()
    (tmp_path / "their_tasks" / "good.yaml").write_text(GOOD.replace("standard", "upside_down"))
    (tmp_path / "their_tasks" / "bad.yaml").write_text("name: mine/bad\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    folder_registry.cache_clear()
    format_registry.cache_clear()
    with pytest.warns(PluginWarning, match="of plugin-of-test is left out: .*bad.yaml:1: the task needs `group`"):
        registry = load_registry()
    assert registry.select(["mine/task"])[0].format == "upside_down"
    assert registry.origins["mine/task"] == "plugin-of-test"
    folder_registry.cache_clear()
    format_registry.cache_clear()


def test_two_tasks_of_one_name_are_an_error(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(GOOD)
    with pytest.raises(UserError, match="defined twice"):
        load_registry(include=[str(tmp_path)])


def test_an_included_task_is_selected_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(GOOD)
    assert load_registry(include=[str(tmp_path)]).select(["Mine"])[0].name == "mine/task"


def test_what_a_task_leaves_to_the_run_is_no_part_of_its_definition() -> None:
    spec = load_registry().specs["darumeru/rcb"]
    own = replace(spec, num_fewshot=3, prompt_limit=4000)
    assert own.asking() == {**spec.asking(), "num_fewshot": 3, "prompt_limit": 4000}
    joined = replace(spec, source=replace(spec.source, config=None, configs=("one", "two")))
    assert joined.asking()["source"]["configs"] == ["one", "two"] and "configs" not in spec.asking()["source"]
