"""The ids are those of the chat template; the loss covers what the assistant says and the token that ends it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darumeru.core.errors import UserError
from darumeru.core.message import Message
from darumeru.prompts.builder import load_tokenizer
from lep_plugins.training.chat_labels import IGNORED, ChatLabeller
from lep_plugins.training.conversations import Conversation
from tests.calibration.models import TEMPLATE, pair, silent, training
from tests.tiny_models import BOS, EOS, make_tokenizer

LLAMA2 = (
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ bos_token }}[INST] {{ message['content'] }}"
    " [/INST]{% else %} {{ message['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
QWEN = (
    "{% if messages[0]['role'] != 'system' %}<|start|>system\nТы помощник.{{ eos_token }}\n{% endif %}"
    "{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}{{ eos_token }}\n{% endfor %}"
)
TALK = (
    Message("user", "Кто спит на окне?"),
    Message("assistant", "Кошка спит на окне."),
    Message("user", "А собака?"),
    Message("assistant", "Собака лежит у двери."),
)


def labeller(template: str, kind: Any = "bytelevel") -> ChatLabeller:
    import copy

    tokenizer = copy.deepcopy(make_tokenizer(kind))
    tokenizer.chat_template = template
    return ChatLabeller(tokenizer, "model")


def counted(labelled: Any) -> list[int]:
    return [label for label in labelled.labels if label != IGNORED]


@pytest.mark.parametrize("kind", ["bytelevel", "sentencepiece"])
@pytest.mark.parametrize("template", [TEMPLATE, LLAMA2, QWEN])
def test_ids_are_the_templates_and_labels_are_the_answers(template: str, kind: str) -> None:
    asked = labeller(template, kind)
    tokenizer = asked.tokenizer
    labelled = asked.labelled(TALK)
    shown = [{"role": message.role, "content": message.content} for message in TALK]
    rendered = tokenizer.apply_chat_template(shown)["input_ids"]
    # This template of Qwen has no BOS; the tokenizer adds one to every prompt, so it is in training too.
    assert labelled.ids == (rendered if rendered[0] == tokenizer.bos_token_id else [tokenizer.bos_token_id, *rendered])
    assert all(label in (IGNORED, token) for label, token in zip(labelled.labels, labelled.ids, strict=True))
    said = tokenizer.decode(counted(labelled), clean_up_tokenization_spaces=False)
    assert [part.strip() for part in said.split(EOS)] == [TALK[1].content, TALK[3].content, ""]
    assert labelled.ends


def test_a_default_system_prompt_stands_once() -> None:
    asked = labeller(QWEN)
    assert asked.tokenizer.decode(asked.labelled(TALK).ids).count("Ты помощник.") == 1


def test_a_template_without_an_end_token_is_told() -> None:
    asked = labeller("{{ bos_token }}{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] }}{% endfor %}")
    assert not asked.labelled(TALK[:2]).ends
    heard: list[str] = []
    training().rows(asked, [Conversation(TALK[:2])], heard.append)
    assert any("without an end token" in line for line in heard)


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_any_answer_is_covered_to_the_byte(answer: str) -> None:
    if any(name in answer for name in (BOS, EOS)) or "<|" in answer:
        return
    asked = labeller(TEMPLATE)
    labelled = asked.labelled((Message("user", "Вопрос"), Message("assistant", answer)))
    assert asked.tokenizer.decode(counted(labelled), clean_up_tokenization_spaces=False) == answer.strip() + EOS


def test_what_a_template_changes_is_left_out_and_counted() -> None:
    asked = labeller(TEMPLATE.replace("| trim", "| replace('сек', 'мин')"))
    rows, left_out = training().rows(asked, [pair("а", "сек"), pair("а", "час")], silent)
    assert len(rows) == 2 and not left_out
    cutting = labeller(TEMPLATE.replace("message['content'] | trim", "message['content'].split('</think>')[-1]"))
    rows, left_out = training().rows(cutting, [pair("а", "думаю </think> час"), pair("а", "час")], silent)
    assert len(rows) == 1 and sum(left_out.values()) == 1


def test_a_long_conversation_is_left_out_whole() -> None:
    asked = labeller(TEMPLATE)
    rows, left_out = training(max_length=40).rows(asked, [pair("а", "да"), pair("а", "нет " * 100)], silent)
    assert len(rows) == 1 and dict(left_out) == {"longer than max_length": 1}
    with pytest.raises(UserError, match="no conversation is left to train on: 1 longer than max_length"):
        training(max_length=40).rows(asked, [pair("а", "нет " * 100)], silent)


def test_a_model_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    make_tokenizer(chat_template=False).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="has no chat template"):
        ChatLabeller(load_tokenizer(str(tmp_path)), str(tmp_path))
