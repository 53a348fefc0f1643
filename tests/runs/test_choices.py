"""Probabilities of answers, through the public command, against a plain forward pass of transformers.

Right values: ../shared/cases/digit_choice_after_lone_space.md and byte_level_no_cyrillic.md.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from darumeru.engines.request import MultipleChoice
from darumeru.prompts.builder import PromptBuilder, load_tokenizer
from darumeru.prompts.choice_tokens import continuation, first_token, whole
from tests.asked import Run
from tests.zoo_members import member


def log_probability(folder: Path, prompt: list[int], answer: list[int]) -> float:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        scores = model(torch.tensor([prompt + answer]), use_cache=False).logits[0].log_softmax(-1)
    return sum(float(scores[len(prompt) - 1 + place, token]) for place, token in enumerate(answer))


@pytest.mark.parametrize("task", ["darumeru/rcb", "russiannlp/rucola_custom"])
def test_digit_choices_are_read_after_the_space_that_their_shots_have(task: str, run_of: Run) -> None:
    tokenizer = load_tokenizer(str(member("llama-fp32-chatml")))
    for row in run_of(member("llama-fp32-chatml"), task, "--limit", "2"):
        assert row["prompt"].endswith("Ответ: ")
        ids = tokenizer(row["prompt"])["input_ids"]
        assert len(ids) == row["prompt_tokens"]
        for choice, value in row["answer"]["probabilities"].items():
            expected = log_probability(member("llama-fp32-chatml"), ids, [tokenizer.convert_tokens_to_ids(choice)])
            assert math.log(value) == pytest.approx(expected, abs=1e-4)


def test_choices_that_begin_with_the_same_token_are_scored_whole(run_of: Run, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(member("llama-no-cyrillic-merges")))
    rows = run_of(member("llama-no-cyrillic-merges"), "darumeru/rwsd", "--limit", "2")
    answers = [row for row in rows if row.get("part") is None]
    assert len(answers) == 2 and len(rows) > 2
    for row in answers:
        ids = tokenizer(row["prompt"], add_special_tokens=False)["input_ids"]
        for choice, value in row["answer"]["probabilities"].items():
            said = tokenizer(choice, add_special_tokens=False)["input_ids"]
            expected = log_probability(member("llama-no-cyrillic-merges"), ids, said)
            assert len(said) >= 4 and math.log(value) == pytest.approx(expected, abs=1e-4)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text(encoding="utf-8"))
    assert any("several tokens" in sentence for sentence in manifest["differs"]["darumeru/rwsd"])
    parts = [row["key"] for row in rows if row.get("part") is not None]
    assert len(set(parts)) == len(parts), "a node that two answers share is asked once"


class Words:
    """A tokenizer of listed words, the longest first; "_" is a space. Of others each character is a token."""

    bos_token_id = chat_template = None

    def __init__(self, *words: str) -> None:
        self.special_tokens_map: dict[str, str] = {}
        self.spelled: dict[int, str] = {}
        self.words = sorted((word.replace("_", " ") for word in words), key=len, reverse=True)

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        ids = []
        while text:
            word = next((word for word in self.words if text.startswith(word)), text[0])
            ids.append(hash(word) % 10**9)
            self.spelled[ids[-1]] = word
            text = text[len(word) :]
        return ids

    def decode(self, ids: list[int]) -> str:
        return "".join(self.spelled[token] for token in ids)


def spelled(rule: Any, words: tuple[str, ...], ending: str, choices: tuple[str, ...]) -> tuple[list[set[str]], str]:
    """The spellings of each choice in writing, tokens divided by |, and the space of the prompt."""
    tokenizer = Words(*words)
    found = rule(PromptBuilder(tokenizer), ending, choices)
    shown = [{"|".join(tokenizer.decode([token]) for token in ids) for ids in each} for each in found.spellings]
    return shown, found.space


@pytest.mark.parametrize(
    ("words", "ending", "expected", "space"),
    [
        # Both ways are one token: both count.
        (("Да", "Нет", "_Да", "_Нет"), "Ответ:", [{"Да", " Да"}, {"Нет", " Нет"}], ""),
        # One way is one token for each choice, the other is not for some: the first counts alone.
        (("Да", "_Да", "_Нет"), "Ответ:", [{" Да"}, {" Нет"}], ""),
        # Neither is: both count, whole.
        (("_Да", "_Н"), "Ответ:", [{"Д|а", " Да"}, {"Н|е|т", " Н|е|т"}], ""),
        # A lone space goes into the prompt, unless that ends in white space already.
        (("Да", "Нет"), "Ответ:", [{"Да"}, {"Нет"}], " "),
        (("Да", "Нет"), "Ответ:\n", [{"Да"}, {"Нет"}], ""),
        # What the prompt's last token would swallow is tokenized by itself.
        (("Да", "Нет", "_Да", "_Нет", ":Да"), "Ответ:", [{"Да", " Да"}, {"Нет", " Нет"}], ""),
    ],
)
def test_one_rule_for_all_tokenizers(words: tuple[str, ...], ending: str, expected: list[set[str]], space: str) -> None:
    assert spelled(whole, words, ending, ("Да", "Нет")) == (expected, space)


def test_the_authors_rules_to_the_letter() -> None:
    # HEAD: the first id of " 1" is the space, for each choice (SPEC of the benchmark, section 1).
    assert spelled(first_token, ("1", "2"), "Ответ:", ("1", "2")) == ([{"1", " "}, {"2", " "}], "")
    assert spelled(continuation, ("1", "2"), "Ответ:", ("1", "2")) == ([{"1"}, {"2"}], " ")


def test_a_choice_that_begins_another_is_asked_in_the_same_tree() -> None:
    from darumeru.core.answer import Answer
    from darumeru.runs.choice_tree import ChoiceTree

    tree = ChoiceTree(("1", "10"), (((7,),), ((7, 8), (9,))))
    nodes = tree.nodes()
    assert list(nodes) == [(), (7,)] and isinstance(nodes[()], MultipleChoice)
    solving = tree.solve([])
    next(solving)
    given = [Answer(probabilities={"7": 0.5, "9": 0.1}), Answer(probabilities={"8": 0.4})]
    with pytest.raises(StopIteration) as done:
        solving.send(given)
    assert done.value.value.probabilities == pytest.approx({"1": 0.5, "10": 0.2})
