"""How long a prompt may be, and what stands in it once.

Right values: ../shared/cases/prompt_as_long_as_the_room.md, system_prompt_twice.md and ../shared/data/authors_wording.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from darumeru.prompts.builder import PromptBuilder, load_tokenizer
from darumeru.runs.config import RunConfig
from darumeru.runs.plan import Planner
from darumeru.tasks.registry import load_registry
from tests.asked import Run
from tests.runs.data_folders import choosing, write_split
from tests.shared_data import ROOT, shared

DEMO = ROOT / "demo" / "darumeru-demo"


def test_a_prompt_exactly_as_long_as_the_room_loses_a_turn() -> None:
    config = RunConfig(model="m", data=str(shared("hub")), max_length=1464)
    planner = Planner(config, PromptBuilder(load_tokenizer(str(DEMO))), "m", None)
    (task,) = planner.plan(load_registry().select(["darumeru/rutie"])).tasks
    lengths = {one.sample.id: len(one.request.prompt) for one in task.samples}
    assert lengths["0-38"] == 1367


def test_a_prompt_without_shots_may_fill_the_room(tiny_model: Path, tmp_path: Path) -> None:
    write_split(tmp_path, "rummlu/test", choosing(["Коротко"]))
    write_split(tmp_path, "rummlu/prompt", choosing(["Пример"], answered=True))
    builder = PromptBuilder(load_tokenizer(str(tiny_model)))
    specs = load_registry().select(["darumeru/rummlu"])

    def shots(num_fewshot: int, more: int) -> list[int]:
        config = RunConfig(model="m", data=str(tmp_path), num_fewshot=num_fewshot)
        (one,) = Planner(config, builder, "m", None).plan(specs).planned
        config = RunConfig(
            model="m", data=str(tmp_path), num_fewshot=num_fewshot, max_length=len(one.request.prompt) + 64 + more
        )
        return [one.shots for one in Planner(config, builder, "m", None).plan(specs).planned]

    assert shots(1, 1) == [1] and shots(1, 0) == [0]
    assert shots(0, 0) == [0] and shots(0, -1) == []


@pytest.mark.parametrize("profile", ["llmtf-2024", "llmtf-head"])
def test_prompts_of_the_authors_have_at_most_4000_tokens(profile: str, tiny_model: Path, tmp_path: Path) -> None:
    write_split(tmp_path, "rummlu/test", choosing(["Коротко"]))
    write_split(tmp_path, "rummlu/prompt", choosing([f"кот {n} " * 300 for n in range(20)], answered=True))
    builder = PromptBuilder(load_tokenizer(str(tiny_model)))
    specs = load_registry(profile).select(["darumeru/rummlu"])

    def longest(profile: str) -> int:
        config = RunConfig(model="m", data=str(tmp_path), num_fewshot=20, max_length=20_000, profile=profile)
        return len(Planner(config, builder, "m", None).plan(specs).planned[0].request.prompt)

    assert 3000 < longest(profile) < 4000 < longest("darumeru")


@pytest.mark.parametrize(("task", "more"), [("darumeru/parus", ()), ("darumeru/multiq", ("--thinking",))])
def test_the_system_prompt_stands_once_in_each_prompt(
    task: str, more: tuple[str, ...], tiny_model: Path, run_of: Run
) -> None:
    rows = run_of(
        tiny_model, task, "--limit", "1", "--num-fewshot", "1", "--system-prompt", "SYSTEM!", "--max-length", "1500",
        "--thinking-tokens", "8", *more,
    )  # fmt: skip
    assert rows and all(row["prompt"].count("SYSTEM!") == 1 for row in rows)


@pytest.mark.parametrize("profile", ["llmtf-2024", "llmtf-head"])
def test_the_subjects_are_called_as_the_authors_call_them(profile: str) -> None:
    with shared("authors_wording", "mmlu_subjects_ru.csv").open(encoding="utf-8") as file:
        theirs = {row["subject"]: row["dative_ru"] for row in csv.DictReader(file)}
    (spec,) = load_registry(profile).select(["nlpcoreteam/rummlu"])
    assert spec.options["subjects"] == theirs and len(theirs) == 57 and not spec.differs
    assert load_registry().specs["nlpcoreteam/rummlu"].differs
