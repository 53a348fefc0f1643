"""Several turns: the model's own answers stand in the conversation when the next message is asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darumeru.core.message import Message
from darumeru.prompts.builder import PromptBuilder, load_tokenizer
from tests.asked import rows_of
from tests.cli.command import Said

TASK = """name: mine/talk
group: Mine
description: A riddle, then the same in one word.
method: generate
format: template
source: {file: riddles.jsonl}
num_fewshot: 0
max_new_tokens: 6
metrics: [em]
score: [em]
options:
  prompt: "{{ riddle }}"
  answer: "Ответ:"
  turns: ["Почему?", "Назови {{ what }} одним словом."]
  target: name
"""
RIDDLES = [
    {"riddle": "Зимой и летом одним цветом?", "what": "дерево", "name": "ель"},
    {"riddle": "Сто одёжек и все без застёжек?", "what": "овощ", "name": "капуста"},
]


@pytest.fixture
def run(command: Callable[..., Said], tiny_model: Path, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    (tmp_path / "riddles.jsonl").write_text("\n".join(json.dumps(one) for one in RIDDLES), encoding="utf-8")

    def done(text: str = TASK) -> list[dict[str, Any]]:
        (tmp_path / "talk.yaml").write_text(text, encoding="utf-8")
        words = ("--include", tmp_path / "talk.yaml", "--tasks", "mine/talk", "--engine", "transformers")
        said = command("run", "--model", tiny_model, *words, "--output", tmp_path / "run")
        assert said.code == 0, said.err
        return rows_of(tmp_path / "run", "mine/talk")

    return done


def test_each_turn_is_asked_after_the_answer_before_it(
    run: Callable[..., list[dict[str, Any]]], tiny_model: Path
) -> None:
    """Right prompts: the whole conversations, rendered by the model's template by hand."""
    rows = run()
    render = PromptBuilder(load_tokenizer(str(tiny_model))).text
    for number, riddle in enumerate(RIDDLES):
        own = [row for row in rows if row["id"] == str(number)]
        parts = {row["part"]: row for row in own if "part" in row}
        assert sorted(parts) == [0, 1, 2] and len(own) == 4
        said = [parts[turn]["answer"]["text"] for turn in range(3)]
        talk = [Message("user", riddle["riddle"]), Message("assistant", f"Ответ:{said[0]}")]
        talk += [Message("user", "Почему?")]
        assert parts[1]["prompt"] == render(talk)
        talk += [Message("assistant", said[1]), Message("user", f"Назови {riddle['what']} одним словом.")]
        assert parts[2]["prompt"] == render(talk)
        (final,) = [row for row in own if "part" not in row]
        assert final["answer"]["text"] == said[2]


def test_what_is_asked_again_is_what_changed(run: Callable[..., list[dict[str, Any]]]) -> None:
    first = run()
    assert len(run()) == len(first) == 8
    # The last message of a conversation changed: the two turns before it are answered already.
    again = run(TASK.replace("одним словом", "двумя словами"))
    assert len(again) == 8 + 2 * 2


def test_turns_need_texts_and_no_examples(command: Callable[..., Said], tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "riddles.jsonl").write_text(json.dumps(RIDDLES[0]), encoding="utf-8")
    (tmp_path / "talk.yaml").write_text(TASK.replace("num_fewshot: 0\n", ""), encoding="utf-8")
    said = command("tasks", "validate", tmp_path / "talk.yaml")
    assert said.code == 2 and "talk.yaml" in said.err and "num_fewshot: 0" in said.err
