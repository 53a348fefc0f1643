"""The same command on changed material gives the numbers of a fresh folder; what changes no number asks nothing.

The right values are those of a run of the same command into a fresh folder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from darumeru.core.answer import Answer
from darumeru.core.errors import RunFailed, UserError
from darumeru.core.registry import Registered
from darumeru.engines import load_engine
from darumeru.engines.protocol import Engine, EngineOptions
from darumeru.engines.request import Request
from darumeru.runs import evaluate
from darumeru.runs.config import RunConfig
from darumeru.runs.progress import Silent
from darumeru.runs.rescore import rescore
from darumeru.runs.run import Run
from tests.runs.data_folders import choosing, write_split
from tests.runs.served import Served, serving
from tests.tiny_models import make_model, make_tokenizer

TASK = """
name: mine/letters
group: Mine
description: Four letters.
method: multiple_choice
format: standard
source: {repository: RefalMachine/darumeru, config: rummlu, test: test, shots: prompt}
choices: [A, B, C, D]
metrics: [acc, f1_macro]
score: [acc]
"""
SUMMARY = """
name: mine/summary
group: Mine
description: Short summaries.
method: generate
format: summarization
source: {repository: dichspace/daru_treeway_eval, test: test, shots: null}
max_new_tokens: 8
metrics: [rouge12_recall]
score: [rouge12_recall]
options: {instruction: "Кратко: {text}", answer: "TL;DR:", fields: sentences}
"""


class Loaded:
    """The transformers engine, loaded once a command; counts requests."""

    def __init__(self) -> None:
        self.asked = 0

    def load(self, name: str, options: EngineOptions) -> Engine:
        self.engine = load_engine(name, options)
        self.name, self.capabilities = self.engine.name, self.engine.capabilities
        self.max_model_len = self.engine.max_model_len
        return self  # type: ignore[return-value]

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        self.asked += len(requests)
        return self.engine.answer(requests)

    def close(self) -> None:
        self.engine.close()


class Notes(Silent):
    """Keeps what the user was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class Place:
    """Material of a run that a test may change: model, data and task files, and the command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = make_model(folder / "model", seed=1)
        self.data, self.tasks = folder / "data", folder / "tasks"
        self.records = choosing([f"Вопрос номер {number}: кошка или собака" for number in range(8)])
        self.write_data()
        write_split(self.data, "rummlu/prompt", choosing([f"Пример {n}" for n in range(5)], answered=True))
        documents = [{"src_sents": [f"Новость {n}.", "Дети читали."], "summary_sents": ["Дети."]} for n in range(2)]
        write_split(self.data, "test", documents, "dichspace/daru_treeway_eval")
        self.tasks.mkdir()
        (self.tasks / "letters.yaml").write_text(TASK, encoding="utf-8")
        (self.tasks / "summary.yaml").write_text(SUMMARY, encoding="utf-8")
        self.config = RunConfig(
            model=str(self.model),
            output=str(folder / "run"),
            tasks=("mine/letters", "mine/summary"),
            data=str(self.data),
            include=(str(self.tasks),),
            engine="transformers",
            resamples=50,
        )

    def write_data(self) -> None:
        write_split(self.data, "rummlu/test", self.records)

    def edit_task(self, name: str, old: str, new: str) -> None:
        path = self.tasks / f"{name}.yaml"
        assert old in path.read_text(encoding="utf-8")
        path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")

    def run(self, **changes: Any) -> tuple[Run, int, list[str]]:
        """The run of the command with these changes, how many requests it made, and what was said."""
        loaded, notes = Loaded(), Notes()
        run, failures = evaluate.run(replace(self.config, **changes), notes, loaded.load)
        assert not failures.tasks
        return run, loaded.asked, notes.notes


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def _label(place: Place) -> None:
    for record in place.records:
        record["outputs"] = "B"
    place.write_data()


def _text(place: Place) -> None:
    place.records[3]["inputs"]["question"] = "Совсем другой вопрос"
    place.write_data()


def _weights(place: Place) -> None:
    shutil.rmtree(place.model)
    make_model(place.model, seed=2)


def _tokenizer(place: Place) -> None:
    for path in place.model.glob("*token*"):
        path.unlink()
    make_tokenizer("bytelevel", vocab=400).save_pretrained(place.model)


def _template(place: Place) -> None:
    template = place.model / "chat_template.jinja"
    template.write_text(template.read_text(encoding="utf-8").replace("{{", "Внимание! {{", 1), encoding="utf-8")


LETTERS, EVERYTHING = 8, 10
CHANGES: dict[str, tuple[Callable[[Place], Any], dict[str, Any], int, str]] = {
    "a target": (_label, {}, 0, "targets of mine/letters"),
    "a record's text": (_text, {}, 1, "data of mine/letters"),
    "the metric": (
        lambda p: p.edit_task("letters", "score: [acc]", "score: [f1_macro]"),
        {},
        0,
        "definitions of mine",
    ),
    "the task's prompt": (lambda p: p.edit_task("summary", "Кратко:", "Сожми:"), {}, 2, "definitions of mine/summary"),
    "the token budget": (lambda p: p.edit_task("summary", "tokens: 8", "tokens: 5"), {}, 2, "definitions of mine"),
    "the weights": (_weights, {}, EVERYTHING, "model"),
    "the tokenizer": (_tokenizer, {}, EVERYTHING, "tokenizer"),
    "the template": (_template, {}, EVERYTHING, "template"),
    "the system prompt": (lambda p: None, {"system_prompt": "Отвечай кратко."}, EVERYTHING, "system prompt"),
    "the shots": (lambda p: None, {"num_fewshot": 2}, LETTERS, "num fewshot"),
    "the seed": (lambda p: None, {"seed": 7}, 0, "seed"),
    "the profile": (lambda p: None, {"profile": "llmtf-2024"}, LETTERS, "profile"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_material_gives_the_numbers_of_a_fresh_folder(place: Place, change: str) -> None:
    work, options, asked, said = CHANGES[change]
    first, count, notes = place.run()
    assert count == EVERYTHING and not notes
    work(place)
    again, count, notes = place.run(**options)
    fresh, _, _ = place.run(**options, output=str(place.folder / "fresh"))
    assert again.results.tasks == fresh.results.tasks and again.results.groups == fresh.results.groups
    assert count == asked
    assert len(notes) == 1 and said in notes[0] and "scored again" in notes[0]
    if asked:
        assert f"{asked} of {EVERYTHING} samples are asked" in notes[0]
    # Back to the first material: its answers are still there.
    assert len(list(first.path.glob("samples/*.jsonl"))) == 2


def test_what_was_stored_before_a_change_is_kept_and_counts_again_after_it_is_undone(place: Place) -> None:
    first, _, _ = place.run()
    place.run(system_prompt="Отвечай кратко.")
    again, asked, _ = place.run()
    assert asked == 0 and again.results.tasks == first.results.tasks


@pytest.mark.parametrize(
    "change", [{"batch_size": 2}, {"name": "Иное имя"}, {"data_parallel": 1}, {"trust_remote_code": True}]
)
def test_what_changes_no_number_asks_nothing(place: Place, change: dict[str, Any]) -> None:
    first, _, _ = place.run()
    again, asked, _ = place.run(**change)
    assert asked == 0 and again.results.tasks == first.results.tasks
    assert again.name == change.get("name", first.name)


def test_a_run_may_be_moved_and_its_material_too(place: Place, tmp_path: Path) -> None:
    first, _, _ = place.run()
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("model", "data", "tasks", "run"):
        shutil.copytree(place.folder / name, moved / name)
        shutil.rmtree(place.folder / name)
    again, asked, notes = place.run(
        model=str(moved / "model"), data=str(moved / "data"), include=(str(moved / "tasks"),), output=str(moved / "run")
    )
    assert asked == 0 and again.results.tasks == first.results.tasks and not notes


def test_an_edited_stored_answer_is_noticed(place: Place) -> None:
    first, _, _ = place.run()
    path = first.path / "samples" / "mine__letters.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        line["answer"] = {"probabilities": {"A": 0.0, "B": 0.0, "C": 0.0, "D": 1.0}}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    again, asked, notes = place.run()
    assert asked == 0 and again.results.tasks["mine/letters"].metrics["acc"].value == 0.25
    assert notes and "mine__letters.jsonl" in notes[0]


def test_a_metric_of_today_is_computed_from_stored_answers(place: Place) -> None:
    """`darumeru score` reads the task's definition of today; one that asks otherwise keeps the stored one."""
    first, _, _ = place.run()
    place.edit_task("letters", "metrics: [acc, f1_macro]\nscore: [acc]", "metrics: [acc, mcc]\nscore: [mcc]")
    place.edit_task("summary", "Кратко:", "Сожми:")
    scored, notes = rescore(first.path)
    fresh, _, _ = place.run(output=str(place.folder / "fresh"))
    assert scored.tasks["mine/letters"] == fresh.results.tasks["mine/letters"]
    assert scored.tasks["mine/letters"].score_metrics == ("mcc",)
    assert len(notes) == 1 and "mine/summary" in notes[0] and "asks otherwise" in notes[0]
    assert scored.tasks["mine/summary"] == first.results.tasks["mine/summary"]


def test_a_parser_of_a_task_is_applied_to_stored_answers(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that reads every answer as the target's own words makes recall 1; the raw answers stay."""
    from darumeru.runs.annotate import ANNOTATORS
    from darumeru.runs.annotation import Annotation

    first, _, _ = place.run()

    def parsed(prompt: str, found: Annotation) -> Annotation:
        return replace(found, answer=replace(found.answer, text="Дети."), notes=("parsed",))

    monkeypatch.setitem(ANNOTATORS.entries, "words", Registered("words", "tests:none", "tests"))  # type: ignore[index]
    monkeypatch.setitem(ANNOTATORS._loaded, "words", parsed)
    place.edit_task("summary", "score: [rouge12_recall]", "score: [rouge12_recall]\nannotators: [words]")
    scored, notes = rescore(first.path)
    assert not notes and scored.tasks["mine/summary"].metrics["rouge12_recall"].value == 0.5  # of one word, no pair
    rows = list(first.rows("mine/summary"))
    assert {row.answer.text for row in rows} == {"Дети."} != {row.raw.text for row in rows}
    again, asked, _ = place.run()
    assert asked == 0 and again.results.tasks["mine/summary"] == scored.tasks["mine/summary"]


def test_a_template_that_prints_the_date_prints_the_day_of_the_first_start(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datetime

    class Tomorrow(datetime.date):
        @classmethod
        def today(cls) -> datetime.date:
            return datetime.date(2026, 3, 2)

    class Today(datetime.date):
        @classmethod
        def today(cls) -> datetime.date:
            return datetime.date(2026, 3, 1)

    template = place.model / "chat_template.jinja"
    text = template.read_text(encoding="utf-8")
    template.write_text("{{ strftime_now('%d %B %Y') }} " + text, encoding="utf-8")
    monkeypatch.setattr(evaluate, "date", Today)
    first, _, _ = place.run()
    assert {row.prompt[:13] for row in first.rows("mine/letters")} == {"01 March 2026"}
    monkeypatch.setattr(evaluate, "date", Tomorrow)
    _, asked, notes = place.run()
    assert asked == 0 and not notes
    again, asked, notes = place.run(date="2026-03-02")
    assert asked == EVERYTHING and "date" in notes[0]
    assert {row.prompt[:13] for row in again.rows("mine/letters")} == {"02 March 2026"}


def test_a_start_that_failed_leaves_no_folder(place: Place) -> None:
    with pytest.raises(UserError):
        place.run(model=str(place.folder / "data"))
    assert not (place.folder / "run").exists()


# Servers


@pytest.fixture
def server() -> Iterator[Served]:
    with serving(Served()) as served:
        yield served


@pytest.fixture
def served_config(server: Served, tmp_path: Path) -> RunConfig:
    records = choosing([f"Вопрос {number}: сколько" for number in range(4)])
    for record in records:
        record["outputs"] = "1"
    write_split(tmp_path, "rcb/test", records)
    write_split(tmp_path, "rcb/prompt", records)
    return RunConfig(
        model=server.url,
        output=str(tmp_path / "run"),
        tasks="darumeru/rcb",
        data=str(tmp_path),
        num_fewshot=0,
        resamples=0,
        engine_args={"retries": 0, "timeout": 5},
    )


def test_another_model_behind_the_same_address_is_asked_again(server: Served, served_config: RunConfig) -> None:
    first = evaluate.run(served_config)[0]
    assert server.asked >= 4 and first.results.tasks["darumeru/rcb"].metrics["acc"].value == 1.0
    server.model, server.favourite = {**server.model, "root": "weights-2"}, "2"
    again = evaluate.run(served_config)[0]
    assert again.results.tasks["darumeru/rcb"].metrics["acc"].value == 0.0
    assert first.name == again.name == "m"


def test_patience_keys_and_ports_change_nothing(server: Served, served_config: RunConfig) -> None:
    evaluate.run(served_config)
    asked = server.asked
    server.model["created"] = 2
    with serving(server) as elsewhere:
        for change in (
            {"engine_args": {"retries": 3, "timeout": 9, "concurrency": 2, "backoff": 0.1, "api_key": "another"}},
            {"model": elsewhere.url},
        ):
            run, _ = evaluate.run(replace(served_config, **change))
            assert server.asked == asked and run.results.tasks["darumeru/rcb"].n == 4


def test_two_samples_with_different_texts_never_share_an_answer(server: Served, served_config: RunConfig) -> None:
    """Without a tokenizer there are no ids: the key is over the messages."""
    run, _ = evaluate.run(served_config)
    assert len({row.key for row in run.rows("darumeru/rcb")}) == 4


def test_a_run_that_stopped_for_want_of_patience_goes_on_with_more(server: Served, served_config: RunConfig) -> None:
    server.busy = True
    with suppress(UserError, RunFailed):
        assert evaluate.run(served_config)[1].tasks
    server.busy = False
    run, _ = evaluate.run(replace(served_config, engine_args={"retries": 4, "timeout": 9}))
    assert run.results.tasks["darumeru/rcb"].n == 4
