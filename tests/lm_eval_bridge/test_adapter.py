"""Darumeru's tasks in stock lm-eval, with lm-eval's own model, beside the same tasks in `darumeru run`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from darumeru.core.shipped import tasks_folder
from darumeru.lm_eval_bridge import differences
from darumeru.lm_eval_bridge.naming import names
from darumeru.runs import evaluate
from darumeru.runs.config import RunConfig
from darumeru.runs.run import Run
from darumeru.tasks.registry import LEADERBOARD_GROUPS, load_registry
from tests.runs.data_folders import ASK, choosing, small_suite, write_split

FOLDER = tasks_folder() / "lm_eval"
TASKS = {
    "darumeru/rummlu": "darumeru_rummlu",
    "darumeru/parus": "darumeru_parus",
    "darumeru/cp_sent_ru": "darumeru_cp_sent_ru",
    "darumeru/multiq": "darumeru_multiq",
    "daru/treewayextractive": "darumeru_treewayextractive",
}


def manager(data: Path | str) -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=str(FOLDER), include_defaults=False, metadata={"data": str(data)})


def test_every_task_has_one_file_and_groups_hold_the_leaderboard() -> None:
    index = manager("bundled").task_index
    specs = load_registry().specs
    own = {entry.cfg["darumeru_task"]: name for name, entry in index.items() if "darumeru_task" in (entry.cfg or {})}
    assert own.keys() == {name for name, spec in specs.items() if not spec.group.startswith("ruField")}
    leading = {own[name] for name, spec in specs.items() if spec.leaderboard and spec.group in LEADERBOARD_GROUPS}
    assert index["darumeru"].tags == leading
    members = [name for group in index["darumeru_micro_avg"].cfg["task"] for name in index[group].cfg["task"]]
    assert sorted(members) == sorted(leading)


def test_a_task_and_the_tag_that_holds_it_can_be_asked_for_together() -> None:
    loaded = manager("bundled").load(["darumeru_parus", "darumeru"])
    assert len(loaded["tasks"]) == 17


def test_tasks_that_stock_lm_eval_is_not_given_say_nothing_of_it() -> None:
    """The tasks of docs/field.md are asked by Darumeru alone."""
    specs = load_registry().specs.values()
    assert {differences(spec) for spec in specs if spec.group.startswith("ruField")} == {()}


@pytest.mark.parametrize("name", sorted(names()))
def test_what_differs_is_said(name: str) -> None:
    spec = load_registry().specs[name]
    first, *rest = differences(spec)
    assert first.startswith("in lm-eval: darumeru_")
    assert any("space" in line for line in rest) == (spec.method == "multiple_choice")
    assert any("characters" in line for line in rest) == (
        name.startswith("darumeru/cp_sent") or (spec.method == "loglikelihood" and spec.format != "document")
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = small_suite(tmp_path_factory.mktemp("data"), records=4)
    write_split(folder, "parus/test", [_parus(number) for number in range(4)])
    write_split(folder, "parus/prompt", choosing([f"Пример {number}" for number in range(5)], answered=True))
    segments = [{"label": "passage", "length": 5, "offset": 0, "segment": word} for word in ("кошка", "дом")]
    questions = [record | {"outputs": segments} for record in choosing([f"Кто пришёл {n} раз" for n in range(4)])]
    write_split(folder, "multiq/test", questions)
    write_split(folder, "multiq/prompt", choosing(["Кто там", "Что там"], answered=True))
    return folder


def _parus(number: int) -> dict[str, Any]:
    ask = {"role": "user", "content": "{premise}\n1. {choice1}\n2. {choice2}"}
    inputs = {"premise": f"Дождь {number}", "choice1": f"мокро {number}", "choice2": "сухо"}
    return {"messages": [ask, ASK[1]], "inputs": inputs, "outputs": "12"[number % 2], "meta": {"id": number}}


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "chat"])
def both(
    request: pytest.FixtureRequest, data: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, Mapping[str, Any]]:
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    options = RunConfig(
        model=str(tiny_model),
        output=str(tmp_path_factory.mktemp("adapter") / "run"),
        tasks=tuple(TASKS),
        data=str(data),
        engine="transformers",
        num_fewshot=2,
        max_length=2048,
        resamples=0,
        chat_template=None if request.param else "none",
        dtype="float32",
    )
    stock = lm_eval.simple_evaluate(
        model=HFLM(pretrained=str(tiny_model), dtype="float32", device="cpu", max_length=2048, batch_size=4),
        tasks=list(TASKS.values()),
        num_fewshot=2,
        task_manager=manager(data),
        bootstrap_iters=0,
        apply_chat_template=request.param,
    )
    return evaluate.run(options)[0], stock


def samples(stock: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = stock["samples"][TASKS[name]]
    return found


def test_prompts_are_those_of_darumeru_run(both: tuple[Run, Mapping[str, Any]]) -> None:
    run, stock = both
    for name in TASKS:
        # The space before digits stands in the prompt here, in the answer there: the text is the same.
        mine = {row.prompt.removesuffix(" ") if name == "darumeru/parus" else row.prompt for row in run.rows(name)}
        theirs = {arguments[0] for sample in samples(stock, name) for arguments in sample["arguments"]}
        assert theirs == mine


def test_generated_texts_and_their_scores_are_those_of_darumeru_run(both: tuple[Run, Mapping[str, Any]]) -> None:
    run, stock = both
    for name in ("darumeru/multiq", "darumeru/cp_sent_ru"):
        texts = {row.cluster: row.answer.text for row in run.rows(name)}
        assert {sample["doc"]["record"]: sample["resps"][0][0] for sample in samples(stock, name)} == texts
    expected = run.results.tasks["darumeru/multiq"]
    assert stock["results"]["darumeru_multiq"]["score,none"] == pytest.approx(expected.score.value)


def test_choices_are_scored_with_a_space_before_them_and_both_orders_count(both: tuple[Run, Mapping[str, Any]]) -> None:
    run, stock = both
    for name in ("darumeru/rummlu", "darumeru/parus"):
        rows: dict[str, list[Any]] = {}
        for row in run.rows(name):
            rows.setdefault(row.cluster, []).append(row)
        hits = []
        for sample in samples(stock, name):
            own = sorted(rows[sample["doc"]["record"]], key=lambda row: "swapped" in row.id)
            said = [response[0] for response in sample["resps"]]
            labels = list(own[0].answer.probabilities)
            assert [arguments[1] for arguments in sample["arguments"]] == [f" {label}" for label in labels] * len(own)
            parts = [said[place : place + len(labels)] for place in range(0, len(said), len(labels))]
            for row, part in zip(own, parts, strict=True):
                assert all(
                    math.exp(value) <= row.answer.probabilities[label] * 1.0001
                    for label, (value, _) in zip(labels, part, strict=True)
                )
            chosen = [labels[max(range(len(part)), key=lambda place: part[place][0])] for part in parts]
            hits.append(float(all(row.target == label for row, label in zip(own, chosen, strict=True))))
        assert stock["results"][TASKS[name]]["score,none"] == pytest.approx(sum(hits) / len(hits))


def test_a_group_is_the_unweighted_mean_of_its_tasks(tiny_model: Path) -> None:
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=str(tiny_model), dtype="float32", device="cpu", max_length=2048, batch_size=4)
    results = lm_eval.simple_evaluate(
        model=model, tasks=["darumeru_mmlu"], task_manager=manager("bundled"), limit=3, bootstrap_iters=0, num_fewshot=1
    )["results"]
    names = ("darumeru_rummlu", "darumeru_nlpcoreteam_rummlu", "darumeru_nlpcoreteam_enmmlu")
    assert results["darumeru_mmlu"]["score,none"] == pytest.approx(sum(results[n]["score,none"] for n in names) / 3)


@pytest.mark.parametrize(("profile", "stops"), [("llmtf-2024", ["\n", "\n\n"]), ("llmtf-head", ["\n\n"])])
def test_a_foundation_model_stops_where_its_profile_says(profile: str, stops: list[str]) -> None:
    # Right values: ../shared/cases/foundation_models_no_stop.md.
    from darumeru.lm_eval_bridge.task_adapter import DarumeruTask

    about = {"data": "bundled", "profile": profile}
    task = DarumeruTask({"task": "t", "darumeru_task": "darumeru/multiq", "num_fewshot": 0, "metadata": about})
    document = task.test_docs()[0]
    texts = task.fewshot_context(document, 0)
    (plain,) = task.construct_requests(document, texts, metadata=("t", 0, 1))
    (chat,) = task.construct_requests(document, texts, metadata=("t", 0, 1), chat_template=lambda *_, **__: "")
    assert plain.args[1]["until"] == stops and chat.args[1]["until"] == []
    assert texts[0].startswith("Query: ") == (profile == "llmtf-head")
