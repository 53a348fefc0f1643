"""The plan: prompts with one BOS, shots that fit, nothing cut in silence, fingerprints that tell requests apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from darumeru.core.errors import UserError
from darumeru.engines.request import Generate, LogLikelihood, MultipleChoice
from darumeru.prompts.builder import PromptBuilder, PromptOptions, load_tokenizer
from darumeru.prompts.choice_tokens import whole
from darumeru.runs.config import RunConfig
from darumeru.runs.plan import Plan, Planner
from darumeru.runs.progress import Silent
from darumeru.tasks.registry import load_registry
from tests.runs.data_folders import SUITE, choosing, small_suite, write_split


@pytest.fixture(scope="module")
def builder(tiny_model: Path) -> PromptBuilder:
    return PromptBuilder(load_tokenizer(str(tiny_model)))


def planned(
    builder: PromptBuilder, data: Path, *, context: int | None = 2048, identity: str = "m", **options: object
) -> Plan:
    asked = RunConfig(model="m", data=str(data), **options)  # type: ignore[arg-type]
    names = asked.patterns if asked.patterns != ("darumeru",) else SUITE
    specs = load_registry(asked.profile).select(list(names))
    return Planner(asked, builder, identity, context).plan(specs)


def test_every_prompt_begins_with_exactly_one_bos(builder: PromptBuilder, tmp_path: Path) -> None:
    plan = planned(builder, small_suite(tmp_path), num_fewshot=2)
    bos = builder.tokenizer.bos_token_id
    assert {one.request.prompt.count(bos) for one in plan.planned} == {1}
    assert {one.request.prompt[0] for one in plan.planned} == {bos}


def test_the_kind_of_request_follows_the_task(builder: PromptBuilder, tmp_path: Path) -> None:
    plan = planned(builder, small_suite(tmp_path))
    kinds = {task.spec.name: {type(one.request.kind) for one in task.samples} for task in plan.tasks}
    assert kinds == {
        "darumeru/rummlu": {MultipleChoice},
        "darumeru/cp_sent_ru": {Generate},
        "daru/treewayextractive": {LogLikelihood},
    }


def test_an_open_answer_stands_at_the_end_of_the_prompt(builder: PromptBuilder, tmp_path: Path) -> None:
    plan = planned(builder, small_suite(tmp_path), tasks=("darumeru/rummlu",), num_fewshot=1)
    text = plan.planned[0].request.text
    assert text.endswith("Ответ:") and text.count("Ответ: A") == 1 and "Пример 0" in text


def test_shots_fall_from_the_far_end_until_the_prompt_fits(builder: PromptBuilder, tmp_path: Path) -> None:
    write_split(tmp_path, "rummlu/test", choosing(["Коротко", "Слово " * 20]))
    write_split(tmp_path, "rummlu/prompt", choosing([f"Пример {n} " + "кот " * 10 for n in range(5)], answered=True))
    full = planned(builder, tmp_path, tasks=("darumeru/rummlu",), num_fewshot=5, max_length=2000).planned
    room = len(full[0].request.prompt) + 65
    plan = planned(builder, tmp_path, tasks=("darumeru/rummlu",), num_fewshot=5, max_length=room)
    short, long = plan.planned
    assert short.shots == 5 and 0 < long.shots < 5
    kept = [n for n in range(5) if f"Пример {n} " in long.request.text]
    assert kept == list(range(long.shots)), "the shot farthest from the question has the highest number"
    assert long.request.text.index(f"Пример {kept[-1]} ") < long.request.text.index("Пример 0 ")


def test_what_does_not_fit_is_listed_and_not_asked(builder: PromptBuilder, tmp_path: Path) -> None:
    write_split(tmp_path, "rummlu/test", choosing(["Коротко", "Слово " * 400]))
    task = planned(builder, tmp_path, tasks=("darumeru/rummlu",), num_fewshot=0, max_length=300).tasks[0]
    assert [one.sample.id for one in task.samples] == ["0"] and task.too_long == ("1",) and task.expected == 2


def test_a_context_shorter_than_the_budget_is_the_users_error(builder: PromptBuilder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="darumeru/cp_sent_ru needs 128 tokens"):
        planned(builder, small_suite(tmp_path), context=100)


def test_fingerprints_depend_on_all_that_changes_an_answer(builder: PromptBuilder, tmp_path: Path) -> None:
    data = small_suite(tmp_path)
    first = planned(builder, data)
    assert [one.request.key for one in planned(builder, data).planned] == [one.request.key for one in first.planned]
    everything = {one.request.key for one in first.planned}
    other = {one.request.key for one in planned(builder, data, identity="other").planned}
    shots = {one.request.key for one in planned(builder, data, num_fewshot=1).planned}
    assert not everything & other
    assert everything & shots == {one.request.key for one in first.tasks[2].samples}


def test_auto_shots_are_five_without_a_chat_template_and_none_with_one(builder: PromptBuilder, tmp_path: Path) -> None:
    data = small_suite(tmp_path)
    plain = PromptBuilder(builder.tokenizer, PromptOptions(chat_template="none"))
    assert {one.shots for one in planned(builder, data).planned} == {0}
    task = planned(plain, data).tasks[0]
    assert {one.shots for one in task.samples} == {5}
    assert task.samples[0].request.text.endswith("Ответ: A\n\nВопрос номер 0: кошка или собака A или B?\nОтвет:")


@pytest.mark.parametrize("kind", ["bytelevel", "sentencepiece"])
def test_choices_have_ids_of_their_own(kind: str) -> None:
    from tests.tiny_models import make_tokenizer

    builder = PromptBuilder(make_tokenizer(kind))  # type: ignore[arg-type]
    spelled = whole(builder, "Ответ:", ("A", "B", "1")).spellings
    flat = [ids for spellings in spelled for ids in spellings]
    assert len(flat) == len(set(flat)) and all(spelled)
    assert [builder.tokenizer.decode(spellings[-1]).strip() for spellings in spelled] == ["A", "B", "1"]


def test_choices_that_are_written_alike_fail_their_task_only(builder: PromptBuilder, tmp_path: Path) -> None:
    data = small_suite(tmp_path)
    spec = replace(load_registry().specs["darumeru/rummlu"], choices=("A", "B", "C", "D", "A"))
    asked = RunConfig(model="m", data=str(data))
    task = Planner(asked, builder, "m", 2048).plan([spec]).tasks[0]
    assert task.error and "writes the choices 'A' and 'A' alike" in task.error and not task.samples


def test_the_rule_of_2024_puts_a_space_before_a_lone_digit(builder: PromptBuilder, tmp_path: Path) -> None:
    plan = planned(builder, small_suite(tmp_path), profile="llmtf-2024", tasks=("darumeru/rummlu",))
    request = plan.planned[0].request
    assert isinstance(request.kind, MultipleChoice) and request.kind.top_k == 50
    assert all(len(ids) == 1 for ids in request.kind.token_ids)


def test_a_limit_takes_whole_exam_variants_and_marks_the_task(builder: PromptBuilder, tmp_path: Path) -> None:
    records = [
        {
            "messages": [{"role": "user", "content": "{task}"}],
            "inputs": {"task": f"Задание {n}"},
            "outputs": "12",
            "meta": {"id": n, "variant": n // 3, "id_task": str(n % 3 + 1), "type": "text", "score": 1},
        }
        for n in range(9)
    ]
    write_split(tmp_path, "use/test", records)
    task = planned(builder, tmp_path, tasks=("darumeru/use",), limit=4).tasks[0]
    assert len(task.samples) == 3 and task.limited
    assert len(planned(builder, tmp_path, tasks=("darumeru/use",), limit=1).tasks[0].samples) == 3
    assert not planned(builder, tmp_path, tasks=("darumeru/use",), limit=9).tasks[0].limited


def test_planning_says_how_far_it_is(builder: PromptBuilder) -> None:
    """Two tasks: the data of each, then the prompts of each."""
    told: list[tuple[int, int, str]] = []

    class Told(Silent):
        def part(self, done: int, total: int, what: str) -> None:
            told.append((done, total, what))

    specs = load_registry().select(["darumeru/rcb", "darumeru/parus"])
    config = RunConfig(model="m", data="bundled")
    Planner(config, builder, "m", 4096).plan(specs, progress=Told())
    assert told == [
        (0, 4, "data of darumeru/rcb"),
        (1, 4, "data of darumeru/parus"),
        (2, 4, "prompts of darumeru/rcb"),
        (3, 4, "prompts of darumeru/parus"),
    ]


def test_a_terminal_shows_the_count_of_a_phase() -> None:
    from io import StringIO

    from rich.console import Console

    from darumeru.cli.progress import LiveProgress

    screen = StringIO()
    progress = LiveProgress(Console(file=screen, force_terminal=True, width=100))
    progress.phase("reading data, building prompts")
    progress.part(3, 34, "data of darumeru/rcb")
    progress._progress.refresh()
    progress.stop()
    assert "reading data, building prompts: data of darumeru/rcb" in screen.getvalue() and "3/34" in screen.getvalue()
