"""Token ids of references and of answers inside a conversation.

Right values: ../shared/cases/copy_reference_leading_space.md and extractive_ids_apart.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from darumeru.core.message import Message
from darumeru.engines.request import Generate
from darumeru.prompts.builder import PromptBuilder, PromptOptions, load_tokenizer
from tests.asked import Run
from tests.tiny_models import make_tokenizer
from tests.zoo_members import member

TEXTS = {
    "Мама мыла раму, а папа читал газету.": 17,
    "The cat sat on the mat and looked out of the window.": 13,
}
BEGINNING = "Наиболее важные предложения статьи: "


@pytest.mark.parametrize(
    ("name", "leads"),
    [("mistral-v1-sliding", True), ("llama2-sp-fp16", True), ("llama-fp32-chatml", False), ("gpt-oss", False)],
)
def test_whether_a_tokenizer_puts_a_space_in_front_is_found_by_encoding(name: str, leads: bool) -> None:
    assert PromptBuilder(load_tokenizer(str(member(name)))).adds_leading_space == leads


def test_whether_a_toy_tokenizer_puts_a_space_in_front() -> None:
    assert PromptBuilder(make_tokenizer("sentencepiece")).adds_leading_space
    assert not PromptBuilder(make_tokenizer("bytelevel")).adds_leading_space


def test_references_of_mistral_have_no_second_space() -> None:
    builder = PromptBuilder(load_tokenizer(str(member("mistral-v1-sliding"))))
    assert {text: len(builder.tokens(text)) for text in TEXTS} == TEXTS


@pytest.mark.parametrize("task", ["darumeru/cp_sent_ru", "darumeru/cp_sent_en"])
def test_perfect_copies_score_one(task: str, run_of: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import json

    from darumeru.engines.transformers_forward import ForwardPasses

    folder = Path("darumeru/data/tasks/bundled/RefalMachine") / task
    lines = (folder / "test.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line)["inputs"]["text"] for line in lines]

    def generate(self: Any, prompts: Sequence[Sequence[int]], kinds: Sequence[Generate]) -> list[list[int] | None]:
        tokenizer = self.text.tokenizer
        said = [next(text for text in records if text in tokenizer.decode(prompt)) for prompt in prompts]
        return [[*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id] for text in said]

    monkeypatch.setattr(ForwardPasses, "generate", generate)
    run_of(member("mistral-v1-sliding"), task, "--num-fewshot", "0")
    scores = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))["tasks"][task]
    assert scores["score"]["value"] == 1.0


VICUNA = (
    "{% for m in messages %}{% if m.role == 'user' %}USER: {{ m.content }} {% else %}ASSISTANT: {{ m.content }}</s>"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


@pytest.mark.parametrize(
    ("name", "template"),
    [
        ("mistral-v1-sliding", None), ("llama-fp32-chatml", None), ("llama-fp32-chatml", VICUNA),
        ("mistral-v1-sliding", VICUNA), ("qwen3-tied-thinking", None), ("yandex5-lite-template", None),
    ],
)  # fmt: skip
def test_prompt_and_answer_are_the_ids_of_the_whole_conversation(
    name: str, template: str | None, tmp_path: Path
) -> None:
    """The authors' program renders and tokenizes the conversation with its last message open."""
    if template:
        (tmp_path / "t.jinja").write_text(template, encoding="utf-8")
    options = PromptOptions(chat_template=str(tmp_path / "t.jinja") if template else None)
    builder = PromptBuilder(load_tokenizer(str(member(name))), options)
    sentences = ("Река разлилась.", "Дети читали книги.", "Кошка спит на окне.")
    conversations = [
        (Message("user", "Выбери предложение."), Message("assistant", BEGINNING + sentence)) for sentence in sentences
    ]
    opened = builder.answers(conversations)
    assert len({one.prompt for one in opened}) == 1
    for one, messages in zip(opened, conversations, strict=True):
        assert [*one.prompt, *one.answer] == builder.ids([builder.text(messages)])[0]
        said = builder.tokenizer.decode(one.answer)
        assert said.strip() == messages[-1].content


def test_mistral_begins_its_answer_without_a_space() -> None:
    builder = PromptBuilder(load_tokenizer(str(member("mistral-v1-sliding"))))
    question, answer = Message("user", "Выбери предложение."), Message("assistant", BEGINNING + "Река разлилась.")
    (opened,) = builder.answers([(question, answer)])
    assert opened.text == "<s>[INST] Выбери предложение. [/INST]"
    assert builder.tokenizer.convert_ids_to_tokens(opened.answer[:4]) == ["На", "и", "бо", "лее"]


def test_a_run_scores_those_ids(run_of: Run) -> None:
    builder = PromptBuilder(load_tokenizer(str(member("mistral-v1-sliding"))))
    rows = run_of(member("mistral-v1-sliding"), "daru/treewayextractive", "--limit", "1")
    assert rows[0]["prompt"].endswith("[/INST]")
    assert len(builder.ids([rows[0]["prompt"]])[0]) == rows[0]["prompt_tokens"]
