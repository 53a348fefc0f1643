"""The authors' two configurations by name, and every task of the field with its bundled records."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from darumeru.core.errors import UserError
from darumeru.leaderboard.aggregate import make_aggregate
from darumeru.prompts.builder import PromptBuilder, load_tokenizer
from darumeru.runs.config import RunConfig
from darumeru.runs.plan import Planner
from darumeru.tasks.formats import sample_maker
from darumeru.tasks.records import load_split
from darumeru.tasks.registry import load_registry
from darumeru.tasks.spec import TaskSpec
from darumeru.tasks.suites import read_suites
from tests.shared_data import ROOT, json_lines, shared

FIELD = [spec for spec in load_registry().specs.values() if spec.group.startswith("ruField")]


@pytest.mark.parametrize(("suite", "column"), [("balanced", "balanced"), ("instruct", "instruct")])
def test_a_suite_is_the_authors_configuration(suite: str, column: str) -> None:
    """Shots, prompt limits, budgets, numbers of records and sampling of benchmarks.csv, as a multiset."""
    with shared("field", "benchmarks.csv").open(encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row[column] == "yes"]
    right = sorted(
        (
            *(
                row["num_fewshot"],
                row["prompt_limit"],
                row["max_samples"] or "all",
                row["max_new_tokens"],
                row["method"],
            ),
            *(float(row["temperature"]), int(row["num_samples_per_prompt"])),
        )
        for row in rows
    )
    specs = load_registry("llmtf-head").select([f"suite:{suite}"])
    mine = sorted(
        (
            str(spec.num_fewshot),
            str(spec.prompt_limit),
            str(spec.most_records or "all"),
            str(spec.max_new_tokens),
            spec.method,
            spec.temperature or 0.0,
            spec.num_samples or 1,
        )
        for spec in specs
    )
    assert mine == right and len({spec.name for spec in specs}) == len(specs)
    assert not any(spec.leaderboard for spec in specs)
    greedy = load_registry().select([f"suite:{suite}"])
    assert not any(spec.temperature for spec in greedy) and all("greedily" in spec.differs[-1] for spec in greedy)


def test_a_suites_categories_are_the_authors() -> None:
    with shared("field", "benchmarks.csv").open(encoding="utf-8") as lines:
        right = Counter(row["category"] for row in csv.DictReader(lines))
    assert Counter(spec.group for spec in load_registry().select(["suite:instruct"])) == right


def test_the_mean_of_categories_is_the_authors_board() -> None:
    """Boards of the authors' program: the unweighted mean of category means, of scores rounded to three decimals."""
    with shared("field", "benchmarks.csv").open(encoding="utf-8") as lines:
        categories = {row["run_name"]: row["category"] for row in csv.DictReader(lines)}
    boards = [one for one in json_lines(shared("field", "parity", "boards.jsonl")) if one["by_category"]]
    for board in boards:
        for line in board["table"][2:]:
            name, mean, *_ = (cell.strip() for cell in line.strip("|").split("|"))
            scores = {task: float(text.split()[0]) for task, text in board["scores"][name].items()}
            groups = {task: categories.get(task, "Other") for task in scores}
            weights = make_aggregate("groups", groups, {}).weights
            found = sum(weights[task] * score for task, score in scores.items())
            assert found == pytest.approx(float(mean.split()[0]), abs=1e-3)
    assert len(boards) == 5


def test_a_suite_that_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean suite:balanced"):
        load_registry().select(["suite:balance"])
    folder = tmp_path / "suites"
    folder.mkdir()
    (folder / "mine.yaml").write_text(
        "name: mine\ndescription: d\nparts:\n- {tasks: [darumeru/parsu], category: Long, shots: 3}\n"
    )
    with pytest.raises(UserError, match=r"mine.yaml:4: a part of the suite has no field `shots`|parameter `shots`"):
        read_suites(tmp_path)
    (folder / "mine.yaml").write_text(
        "name: mine\ndescription: d\nparts:\n- {tasks: [darumeru/parsu], category: Long}\n"
    )
    with pytest.raises(UserError, match="`darumeru/parsu`, which is not known; did you mean darumeru/parus"):
        list(read_suites(tmp_path)["mine"].specs(load_registry().specs, "darumeru"))


@pytest.mark.parametrize("task", FIELD, ids=lambda task: task.name)
def test_every_task_has_twelve_bundled_records(task: TaskSpec) -> None:
    test = load_split(task.source, task.source.test, "bundled").records
    shots = load_split(task.source, task.source.shots, "bundled").records if task.source.shots else ()
    made = sample_maker(task.format)(task, test, shots, 0)
    assert len(made) >= 12 and len({sample.id for sample in made}) == len(made)
    assert all(sample.conversation(sample.most)[-1].content for sample in made)


def test_a_suite_keeps_its_own_numbers_of_examples_and_room_for_prompts() -> None:
    """Two settings of MMLU are two tasks. The named entities have three examples, whatever the run says, and 8,000
    tokens for a prompt beside the answer's, of which a shorter context leaves less."""
    builder = PromptBuilder(load_tokenizer(str(ROOT / "demo" / "darumeru-demo")))
    names = ["suite:balanced"]
    asked = RunConfig(model="m", data="bundled", tasks=names, limit=1, num_fewshot=1, profile="llmtf-head")
    specs = [
        spec
        for spec in load_registry("llmtf-head").select(names)
        if spec.name.startswith(("field/nerel", "nlpcoreteam", "libra/passkey"))
    ]
    plan = Planner(asked, builder, "m", 40_000).plan(specs)
    shots = {task.spec.name: (task.num_fewshot, task.samples[0].shots) for task in plan.tasks}
    assert shots == {
        "field/nerel_json_few_shot": (3, 3),
        "field/nerel_in_place_few_shot": (3, 3),
        "field/nerel_bio_json_few_shot": (3, 3),
        "field/nerel_bio_in_place_few_shot": (3, 3),
        "nlpcoreteam/rummlu_zero_shot": (0, 0),
        "nlpcoreteam/enmmlu_zero_shot": (0, 0),
        "nlpcoreteam/rummlu_few_shot": (5, 5),
        "nlpcoreteam/enmmlu_few_shot": (5, 5),
        "libra/passkey": (0, 0),
        "libra/passkey_with_librusec": (0, 0),
    }
    assert plan.max_length == 32_016
    assert Planner(asked, builder, "m", 4_096).plan(specs).max_length == 4_096


def test_a_prompt_that_does_not_fit_is_counted() -> None:
    builder = PromptBuilder(load_tokenizer(str(ROOT / "demo" / "darumeru-demo")))
    asked = RunConfig(model="m", data="bundled", tasks=["libra/librusec_history"])
    specs = load_registry().select(["libra/librusec_history"])
    (task,) = Planner(asked, builder, "m", 200).plan(specs).tasks
    assert len(task.too_long) + len(task.samples) == 12 and task.too_long
