"""A task over a file of one's own, run and run again on changed material.

The right values are those of a run of the same command into a fresh folder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from darumeru.core.errors import UserError
from darumeru.runs import evaluate
from darumeru.runs.config import RunConfig
from darumeru.runs.rescore import rescore
from darumeru.runs.run import Run
from tests.runs.test_changed_material import Loaded, Notes
from tests.tiny_models import make_model

TASK = """
name: mine/cities
group: Mine
description: Capitals.
method: multiple_choice
format: template
source: {file: cities.csv, where: "level != 'hard'"}
metrics: [acc, f1_macro]
score: [acc]
options:
  prompt: "{{ question }} {{ choices | join(', ') }}"
  answer: "Ответ:"
  choices: "[a, b]"
  target: right
  target_is: number
"""
TABLE = "question,a,b,right,level\n" + "".join(
    f"Столица номер {n}?,Рим,Осло,{1 + n % 2},{'hard' if n == 5 else 'easy'}\n" for n in range(7)
)
QUESTIONS = 6


class Place:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "mine").mkdir()
        self.table, self.task = folder / "mine" / "cities.csv", folder / "mine" / "cities.yaml"
        self.table.write_text(TABLE, encoding="utf-8")
        self.task.write_text(TASK, encoding="utf-8")
        self.config = RunConfig(
            model=str(make_model(folder / "model", seed=1)),
            output=str(folder / "run"),
            tasks="mine/cities",
            include=str(folder / "mine"),
            engine="transformers",
            resamples=50,
        )

    def edit(self, path: Path, old: str, new: str) -> None:
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    def run(self, **changes: Any) -> tuple[Run, int, list[str]]:
        loaded, notes = Loaded(), Notes()
        run, failures = evaluate.run(replace(self.config, **changes), notes, loaded.load)
        assert not failures.tasks
        return run, loaded.asked, notes.notes


def _renamed(place: Place) -> None:
    place.table.rename(place.folder / "mine" / "other.csv")
    place.edit(place.task, "cities.csv", "other.csv")
    (place.folder / "mine").rename(place.folder / "moved")
    place.config = replace(place.config, include=str(place.folder / "moved"))


# What is changed, requests that are asked again, what is said.
CHANGES: dict[str, tuple[Callable[[Place], Any], int, str]] = {
    "a right answer": (lambda p: p.edit(p.table, "номер 0?,Рим,Осло,1", "номер 0?,Рим,Осло,2"), 0, "targets of mine"),
    "a question": (lambda p: p.edit(p.table, "номер 3?", "номер три?"), 1, "data of mine/cities"),
    "a choice": (lambda p: p.edit(p.table, "номер 3?,Рим", "номер 3?,Париж"), 1, "data of mine/cities"),
    "the template": (lambda p: p.edit(p.task, "join(', ')", "join(' или ')"), QUESTIONS, "definitions of mine/cities"),
    "the condition": (lambda p: p.edit(p.task, "!= 'hard'", "!= 'harder'"), 1, "definitions of mine/cities"),
    "a metric": (lambda p: p.edit(p.task, "score: [acc]", "score: [f1_macro]"), 0, "definitions of mine/cities"),
    "a comment and a description": (lambda p: p.edit(p.task, "Capitals.", "Capitals of today. # and more"), 0, ""),
    "names and places": (_renamed, 0, ""),
}


@pytest.mark.parametrize("change", CHANGES)
def test_content_decides_what_is_the_same(tmp_path: Path, change: str) -> None:
    work, asked, said = CHANGES[change]
    place = Place(tmp_path)
    first, count, notes = place.run()
    assert count == QUESTIONS and not notes and first.results.tasks["mine/cities"].n == QUESTIONS
    work(place)
    again, count, notes = place.run()
    fresh, _, _ = place.run(output=str(tmp_path / "fresh"))
    assert again.results.tasks == fresh.results.tasks and count == asked
    assert (len(notes) == 1 and said in notes[0]) if said else not notes


def test_a_stored_run_is_scored_without_the_data(tmp_path: Path) -> None:
    place = Place(tmp_path)
    first, _, _ = place.run()
    place.table.unlink()
    scored, notes = rescore(first.path)
    assert not notes and scored.tasks == first.results.tasks
    assert first.manifest["data"]["tasks"]["mine/cities"]["file"] == "cities.csv"


def test_texts_of_choices_are_compared_by_their_probabilities(tmp_path: Path) -> None:
    """The probability of a text is the product of those of its tokens: what the engine says of each choice alone."""
    from darumeru.engines import load_engine
    from darumeru.engines.protocol import EngineOptions
    from darumeru.engines.request import LogLikelihood, Request
    from darumeru.prompts.builder import PromptBuilder, load_tokenizer

    place = Place(tmp_path)
    place.edit(place.task, "target_is: number", "target_is: number\n  choose: text")
    place.edit(place.task, "metrics: [acc, f1_macro]", "metrics: [acc, acc_norm]")
    run, _, _ = place.run()
    row = next(run.rows("mine/cities"))
    assert row.target == "Рим" and set(row.answer.probabilities or {}) == {"Рим", "Осло"}
    builder = PromptBuilder(load_tokenizer(place.config.model))
    prompt = builder.ids([row.prompt])[0]
    engine = load_engine("transformers", EngineOptions(model=place.config.model, max_model_len=2048))
    best: dict[str, float] = {}
    for text in ("Рим", "Осло"):
        for said in (text, f" {text}"):
            whole = builder.ids([row.prompt + said])[0]
            assert whole[: len(prompt)] == prompt
            request = Request(tuple(prompt), LogLikelihood(tuple(whole[len(prompt) :])))
            ((_, answer),) = engine.answer([request])
            best[text] = max(best.get(text, -1e9), sum(answer.logprobs or ()))
    engine.close()
    from math import log

    for text, probability in (row.answer.probabilities or {}).items():
        assert log(probability) == pytest.approx(best[text], abs=1e-3)


def test_answers_are_read_by_a_pattern_and_scored_again_when_it_changes(tmp_path: Path) -> None:
    """By hand: of the text that the model said, the pattern "(.)$" keeps the last character."""
    place = Place(tmp_path)
    place.edit(place.task, "multiple_choice", "generate\nmax_new_tokens: 6")
    place.edit(place.task, "metrics: [acc, f1_macro]\nscore: [acc]", "metrics: [em]\nscore: [em]")
    place.edit(place.task, " {{ choices | join(', ') }}", "")
    place.edit(place.task, '  choices: "[a, b]"\n  target: right\n  target_is: number', "  target: a")
    run, count, _ = place.run()
    texts = [row.answer.text or "" for row in run.rows("mine/cities")]
    assert count == QUESTIONS and any(len(text) > 1 for text in texts)
    place.edit(place.task, "score: [em]", 'score: [em]\nannotators: [first_line, "pattern:(.)$"]')
    again, count, _ = place.run()
    lines = [next((one.strip() for one in text.splitlines() if one.strip()), "") for text in texts]
    assert count == 0 and [row.answer.text for row in again.rows("mine/cities")] == [line[-1:] for line in lines]
    assert [row.raw.text for row in again.rows("mine/cities")] == texts
    place.edit(place.task, "(.)$", "(.$")
    with pytest.raises(UserError, match="is not a regular expression"):
        place.run()
