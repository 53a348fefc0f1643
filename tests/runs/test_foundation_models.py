"""Models without a chat template: the plain formats and where their answers end.

Right values: ../shared/cases/foundation_models_no_stop.md, ../shared/data/authors_wording/README.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from darumeru.core.message import Message
from darumeru.engines.request import Generate
from darumeru.prompts.builder import PromptBuilder, PromptOptions, load_tokenizer
from darumeru.runs.config import RunConfig
from darumeru.runs.plan import Planner
from darumeru.tasks.registry import load_registry
from tests.asked import Run
from tests.cli.command import Said
from tests.tiny_models import make_model
from tests.zoo_members import member

STOPS = {
    "darumeru": ("\n", "\n\n"),
    "paper": ("\n", "\n\n"),
    "llmtf-2024": ("\n", "\n\n"),
    "llmtf-head": ("\n\n",),
}
SYSTEM, USER = Message("system", "Ты."), Message("user", "Вопрос?")
DONE, OPEN = Message("assistant", "Ответ: A"), Message("assistant", "Ответ:")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("base") / "base", chat_template=False)


def planner(base: Path, profile: str, **options: Any) -> Planner:
    builder = PromptBuilder(load_tokenizer(str(base)), PromptOptions())
    return Planner(RunConfig(model="m", data="bundled", profile=profile, **options), builder, "m", 4096)


@pytest.mark.parametrize("profile", STOPS)
@pytest.mark.parametrize("task", ["darumeru/multiq", "darumeru/use", "darumeru/cp_sent_ru", "daru/treewayabstractive"])
def test_a_foundation_model_stops_where_its_profile_says(base: Path, profile: str, task: str) -> None:
    specs = load_registry(profile).select([task])
    for one in planner(base, profile).plan(specs).planned:
        assert isinstance(one.request.kind, Generate) and one.request.kind.stop == STOPS[profile]


def test_a_model_with_a_chat_template_has_only_the_tasks_own_stops(tiny_model: Path) -> None:
    specs = load_registry().select(["darumeru/multiq"])
    plan = planner(tiny_model, "darumeru").plan(specs)
    assert {one.request.kind.stop for one in plan.planned if isinstance(one.request.kind, Generate)} == {()}


def test_a_text_of_several_lines_can_be_copied_but_not_by_the_authors_rule(base: Path) -> None:
    found = {}
    for profile in ("darumeru", "llmtf-2024"):
        specs = load_registry(profile).select(["darumeru/cp_para_en"])
        plan = planner(base, profile, num_fewshot=0).plan(specs)
        found[profile] = {one.request.kind.stop for one in plan.planned if "\n" in one.sample.target}  # type: ignore[union-attr]
    assert found == {"darumeru": {("\n\n",)}, "llmtf-2024": {("\n", "\n\n")}}


@pytest.mark.parametrize(
    ("profile", "messages", "expected"),
    [
        ("llmtf-2024", (SYSTEM, USER, DONE, USER, OPEN), "Ты.\nВопрос?\nОтвет: A\n\nВопрос?\nОтвет:"),
        ("llmtf-2024", (USER,), "Вопрос?\n"),
        (
            "llmtf-head",
            (SYSTEM, USER, DONE, USER, OPEN),
            "Ты.\nQuery: Вопрос?\n\nResponse: Ответ: A\n\nQuery: Вопрос?\n\nResponse: Ответ:",
        ),
        ("llmtf-head", (USER,), "Query: Вопрос?\n\nResponse:"),
        ("darumeru", (USER, DONE, USER, OPEN), "Вопрос?\nОтвет: A\n\nВопрос?\nОтвет:"),
    ],
)
def test_the_plain_formats(base: Path, profile: str, messages: Sequence[Message], expected: str) -> None:
    assert planner(base, profile).builder.text(messages) == expected


@pytest.mark.parametrize(
    ("profile", "begins"), [("darumeru", False), ("paper", False), ("llmtf-2024", True), ("llmtf-head", True)]
)
def test_the_authors_put_bos_in_front_where_a_tokenizer_has_one(profile: str, begins: bool) -> None:
    # rugpt3's tokenizer has a BOS and does not put it itself.
    made = planner(member("rugpt3"), profile, num_fewshot=0)
    bos = made.builder.tokenizer.bos_token_id
    prompts = [one.request.prompt for one in made.plan(load_registry(profile).select(["darumeru/rcb"])).planned]
    assert {prompt.count(bos) for prompt in prompts} == {int(begins)}
    assert {prompt[0] == bos for prompt in prompts} == {begins}


PERFECT = [
    *(("darumeru/cp_sent_ru", profile) for profile in ("darumeru", "llmtf-2024", "llmtf-head")),
    *(("darumeru/multiq", profile) for profile in ("darumeru", "llmtf-2024", "llmtf-head")),
    ("darumeru/cp_para_en", "darumeru"),  # one of its texts has two lines, at which the authors' rule cuts
]


@pytest.mark.parametrize(("task", "profile"), PERFECT)
def test_perfect_answers_that_go_on_are_perfect(
    base: Path, run_of: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, task: str, profile: str
) -> None:
    """The model is replaced by one that says the right answer and goes on with the next example."""
    from darumeru.engines.transformers_forward import ForwardPasses

    folder = Path("darumeru/data/tasks/bundled/RefalMachine") / task
    records = [json.loads(line) for line in (folder / "test.jsonl").read_text(encoding="utf-8").splitlines()]

    def right(prompt: str) -> str:
        key = "question" if task.endswith("multiq") else "text"
        (record,) = (one for one in records if one["inputs"][key] in prompt)
        outputs = record["outputs"]
        return str(outputs[0]["segment"] if key == "question" else record["inputs"]["text"])

    def generate(self: Any, prompts: Sequence[Sequence[int]], kinds: Sequence[Generate]) -> list[list[int] | None]:
        tokenizer = self.text.tokenizer
        said = [right(tokenizer.decode(prompt)) for prompt in prompts]
        return [tokenizer.encode(f" {text}\n\nВопрос?\nОтвет: да", add_special_tokens=False) for text in said]

    monkeypatch.setattr(ForwardPasses, "generate", generate)
    run_of(base, task, "--num-fewshot", "0", "--limit", "3", "--profile", profile, "--max-length", "4096")
    scores = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))["tasks"][task]
    assert scores["score"]["value"] == 1.0
    assert {one["value"] for one in scores["metrics"].values()} == {1.0}


@pytest.mark.parametrize(("profile", "shown"), [("llmtf-2024", '"\\n", "\\n\\n"'), ("llmtf-head", 'at "\\n\\n"')])
def test_tasks_show_says_where_answers_end(command: Callable[..., Said], profile: str, shown: str) -> None:
    said = command("tasks", "show", "darumeru/multiq", "--profile", profile)
    assert shown in said.out
    as_json = json.loads(command("tasks", "show", "darumeru/multiq", "--profile", profile, "--json").out)
    assert tuple(as_json["plain_stop"]) == STOPS[profile]
