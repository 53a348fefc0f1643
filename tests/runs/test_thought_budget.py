"""Thoughts that reach their budget are closed by force, and the answer is asked after them.

Right values: ../shared/SPEC-field.md, "Reasoning models", as it says what is right.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from darumeru.core.answer import Answer
from darumeru.engines.request import Generate, Request
from darumeru.prompts.builder import PromptBuilder, load_tokenizer
from darumeru.prompts.thoughts import MARKS, Marks, answer_of
from darumeru.runs.thought_budget import HIDDEN, ThoughtBudget
from tests.asked import rows_of
from tests.cli.command import Said

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
    command: Callable[..., Said], tiny_model: Path, tmp_path: Path
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
