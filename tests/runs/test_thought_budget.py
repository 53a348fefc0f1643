"""Thoughts that reach their budget are closed by force, and the answer is asked after them.

Right values: ../shared/SPEC-field.md, "Reasoning models", as it says what is right.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from darumeru.core.answer import Answer
from darumeru.engines.request import Generate, MultipleChoice, Request
from darumeru.prompts.builder import PromptBuilder, load_tokenizer
from darumeru.prompts.choice_tokens import Spelled, whole
from darumeru.prompts.thoughts import MARKS, Marks, answer_of
from darumeru.runs.annotate import THOUGHTS_CUT
from darumeru.runs.planned import PlannedSample
from darumeru.runs.thought_budget import HIDDEN, ThoughtBudget, ThoughtfulChoice
from darumeru.tasks.sample import Sample
from tests.asked import Command, rows_of

TASK = "darumeru/multiq"
OPENS = "{% if enable_thinking and add_generation_prompt %}{{ '<think>\\n' }}{% endif %}"


@pytest.mark.parametrize("marks", MARKS, ids=lambda marks: marks.open)
def test_the_answer_begins_after_thoughts_closed_by_force(marks: Marks) -> None:
    assert answer_of("", f"{marks.open}мысль{HIDDEN}{marks.closing}Иван").answer == "Иван"
    assert answer_of(f"...{marks.open}", f"мысль{HIDDEN}{marks.closing}Иван").answer == "Иван"


def test_thoughts_that_end_in_time_take_one_request(tiny_model: Path) -> None:
    builder = PromptBuilder(load_tokenizer(str(tiny_model)))
    budget = ThoughtBudget(80, 8, builder, lambda request: replace(request, key="second"))
    request = Request((1, 2), Generate(88), text="вопрос <think>\n", key="first")

    def said(text: str) -> Answer:
        return Answer(text=text, tokens=tuple(builder.tokens(text)), finish_reason="stop")

    solving = budget.solve((request,))
    assert next(solving) == (request,)
    with pytest.raises(StopIteration) as done:
        solving.send([said("мысль</think>\n\nИван")])
    assert done.value.value.text == "мысль</think>\n\nИван"

    # Closed, but beyond the budget: cut all the same.
    solving = budget.solve((request,))
    next(solving)
    long = "мысль " * 60
    assert len(builder.tokens(long)) > 80
    (second,) = solving.send([said(f"{long}</think>Иван")])
    assert isinstance(second.kind, Generate) and second.kind.max_new_tokens == 8
    grown = len(second.prompt) - len(request.prompt)
    assert grown <= 80 and second.text.endswith(f"{HIDDEN}</think>\n")
    with pytest.raises(StopIteration) as done:
        solving.send([said("Пётр")])
    found = done.value.value
    assert answer_of(request.text, found.text).answer == "Пётр" and len(found.tokens) <= 88


def test_a_model_that_never_stops_thinking_is_still_answered(
    command: Command, tiny_model: Path, tmp_path: Path
) -> None:
    """A random model whose template opens thoughts never closes them: every answer is asked after a forced end."""
    template = (tiny_model / "chat_template.jinja").read_text("utf-8") + OPENS
    (tmp_path / "thinks.jinja").write_text(template, encoding="utf-8")
    words = ("--data", "bundled", "--tasks", TASK, "--engine", "transformers", "--limit", "3", "--thinking", "--json")
    words = (*words, "--thinking-tokens", "70", "--chat-template", tmp_path / "thinks.jinja")
    said = command("run", "--model", tiny_model, *words, "--output", tmp_path / "run")
    assert said.code == 0, said.err
    task = json.loads(said.out)["tasks"][TASK]
    assert task["rates"]["thoughts_cut"] == 1 and task["rates"]["still_thinking"] == 0
    rows = rows_of(tmp_path / "run", TASK)
    own = [row for row in rows if "part" not in row]
    assert len(own) == 3 and len(rows) == 9  # two requests and the sample's own answer
    for row in own:
        thoughts, _, answer = row["answer"]["text"].partition(f"{HIDDEN}</think>\n")
        assert thoughts and len(row["answer"]["tokens"]) <= 70 + 64 and "<think>" not in answer
    again = command("run", "--model", tiny_model, *words, "--output", tmp_path / "run")
    assert again.code == 0 and len(rows_of(tmp_path / "run", TASK)) == 9


def choosing(builder: PromptBuilder, labels: tuple[str, ...] = ("1", "2")) -> ThoughtfulChoice:
    def spell(labels: tuple[str, ...], text: str) -> Spelled:
        return whole(builder, text, labels)

    return ThoughtfulChoice(80, "Ответ:", labels, None, "whole", builder, spell, lambda one: replace(one, key="next"))


@pytest.mark.parametrize(
    ("said", "reason", "between", "cut"),
    [
        ("<think>мысль", "stop", "<think>мысль</think>\n", 0.0),  # the engine stopped at the mark
        ("<think>" + "мысль " * 60, "length", f"{HIDDEN}</think>\n", 1.0),
        ("Это второе.", "stop", "", 0.0),  # no thoughts: asked at once
    ],
    ids=["in time", "too long", "none"],
)
def test_a_choice_is_read_behind_closed_thoughts(
    tiny_model: Path, said: str, reason: str, between: str, cut: float
) -> None:
    builder = PromptBuilder(load_tokenizer(str(tiny_model)))
    solver = choosing(builder)
    request = Request((1, 2), Generate(80, builder.thought_endings), text="вопрос\n", key="first")
    solving = solver.solve((request,))
    next(solving)
    tokens = tuple(builder.tokens(said)[:80])
    asked = list(solving.send([Answer(text=builder.decode(tokens), tokens=tokens, finish_reason=reason)]))
    ending = builder.decode(asked[0].prompt[2:])
    # This tokenizer makes a token of the space before a digit, which the prompt takes.
    assert ending.endswith(f"{between}Ответ: ") and asked[0].text.endswith(f"{between}Ответ: ")
    assert len(asked[0].prompt) <= 2 + 80 + len(builder.tokens("Ответ: "))
    with pytest.raises(StopIteration) as done:
        solving.send([Answer(probabilities={"1": 0.25, "2": 0.5}, seconds=1.0)] * len(asked))
    found = done.value.value
    assert found.probabilities == {"1": 0.25, "2": 0.5} and found.extra[THOUGHTS_CUT] == cut


def test_choices_of_several_tokens_are_walked_behind_the_thoughts(tiny_model: Path) -> None:
    builder = PromptBuilder(load_tokenizer(str(tiny_model)))
    solving = choosing(builder, ("кошка бежит", "кошка спит")).solve((Request((1,), Generate(80), text=""),))
    next(solving)
    thought = tuple(builder.tokens("<think>мысль"))
    asked = list(solving.send([Answer(text=builder.decode(thought), tokens=thought, finish_reason="stop")]))
    assert len(asked) > 1
    answers = [Answer(probabilities=dict.fromkeys(one.kind.labels, 0.5)) for one in asked]  # type: ignore[union-attr]
    with pytest.raises(StopIteration) as done:
        solving.send(answers)
    assert set(done.value.value.probabilities) == {"кошка бежит", "кошка спит"}


@pytest.mark.parametrize("draws", [(), ("--temperature", "0.7", "--num-samples", "2")], ids=["greedy", "drawn"])
def test_a_choice_after_thoughts_has_the_model_s_own_probabilities(
    draws: tuple[str, ...], command: Command, tiny_model: Path, tmp_path: Path
) -> None:
    """Beside transformers on the ids that the parts of the answer give: prompt, thoughts, closing words, "Ответ:"."""
    template = (tiny_model / "chat_template.jinja").read_text("utf-8") + OPENS
    (tmp_path / "thinks.jinja").write_text(template, encoding="utf-8")
    task = "darumeru/parus"
    words = ("--data", "bundled", "--tasks", task, "--engine", "transformers", "--limit", "2", "--thinking", "--json")
    words = (*words, "--thinking-tokens", "70", "--chat-template", tmp_path / "thinks.jinja", *draws)
    said = command("run", "--model", tiny_model, *words, "--output", tmp_path / "run")
    assert said.code == 0, said.err
    scored = json.loads(said.out)["tasks"][task]
    assert scored["rates"]["thoughts_cut"] == 1 and ("majority:acc_both_orders" in scored["metrics"]) == bool(draws)
    rows = rows_of(tmp_path / "run", task)
    own = [row for row in rows if "part" not in row]
    assert len(own) == (4 if draws else 2) * 2  # parus asks each question in both orders
    builder = PromptBuilder(load_tokenizer(str(tiny_model)))
    network = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    for row in own:
        thoughts = next(one for one in rows if one["id"] == row["id"] and "text" in one["answer"])
        closing = builder.tokens(f"{HIDDEN}</think>\n")
        ids = [*builder.ids([thoughts["prompt"]])[0], *thoughts["answer"]["tokens"][: 70 - len(closing)], *closing]
        ids += builder.tokens("Ответ: ")
        with torch.no_grad():
            logits = network(input_ids=torch.tensor([ids])).logits[0, -1].double()
        probabilities = logits.softmax(-1)
        for label in ("1", "2"):
            (token,) = builder.tokens(label)
            assert row["answer"]["probabilities"][label] == pytest.approx(float(probabilities[token]), rel=1e-4)
    again = command("run", "--model", tiny_model, *words, "--output", tmp_path / "run")
    assert again.code == 0 and len(rows_of(tmp_path / "run", task)) == len(rows)


def test_an_engine_without_choices_is_not_asked_for_thoughts_before_them(tiny_model: Path) -> None:
    builder = PromptBuilder(load_tokenizer(str(tiny_model)))
    sample = Sample("a/b", "1", "1", lambda _: (), 0, "1")
    planned = PlannedSample(sample, (Request((1,), Generate(80)),), 0, {}, choosing(builder))
    assert planned.kinds == {Generate, MultipleChoice}
    assert replace(planned, solver=None).kinds == {Generate}
