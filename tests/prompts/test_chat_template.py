"""Rendering: where an open answer ends, templates that trim or refuse, thinking, one BOS."""

from __future__ import annotations

from pathlib import Path

import pytest

from darumeru.core.errors import UserError
from darumeru.core.message import Message
from darumeru.prompts.builder import PromptBuilder, PromptOptions
from darumeru.prompts.chat_template import ChatTemplate
from darumeru.prompts.server_builder import ServerPromptBuilder

TRIMMING = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "[{{ m['role'] }}] {{ m['content'] | trim }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
THINKING = (
    "{% for m in messages %}<{{ m['role'] }}>"
    "{% if m['role'] == 'assistant' and loop.last and not enable_thinking %}<think></think>{% endif %}"
    "{{ m['content'] }}"
    "<end>{% endfor %}{% if add_generation_prompt %}<assistant>"
    "{% if not enable_thinking %}<think></think>{% endif %}{% endif %}"
)
USER, OPEN = Message("user", "Вопрос?"), Message("assistant", "Ответ: ")


def test_an_open_answer_keeps_its_last_space_whatever_the_template_trims() -> None:
    assert ChatTemplate(TRIMMING).render((USER, OPEN)) == "[user] Вопрос?<end>\n[assistant] Ответ: "


def test_a_user_message_is_followed_by_the_generation_prompt() -> None:
    assert ChatTemplate(TRIMMING).render((USER,)) == "[user] Вопрос?<end>\n[assistant] "


def test_a_template_that_refuses_a_role_is_the_users_error() -> None:
    with pytest.raises(UserError, match="no system role"):
        ChatTemplate(TRIMMING).render((Message("system", "Ты"), USER))


def test_a_broken_template_is_named_with_its_line() -> None:
    with pytest.raises(UserError, match="line 2"):
        ChatTemplate("\n{% for %}").render((USER,))


@pytest.mark.parametrize(("thinking", "thought"), [(False, "<think></think>"), (True, "")])
def test_thinking_is_off_unless_asked_for(thinking: bool, thought: str) -> None:
    template = ChatTemplate(THINKING, variables={"enable_thinking": thinking})
    assert template.render((USER,)) == f"<user>Вопрос?<end><assistant>{thought}"
    assert template.render((USER, OPEN)) == f"<user>Вопрос?<end><assistant>{thought}Ответ: "


@pytest.mark.parametrize("kind", ["bytelevel", "sentencepiece"])
def test_exactly_one_bos_whether_the_template_writes_it_or_not(kind: str) -> None:
    from tests.tiny_models import BOS, make_tokenizer

    builder = PromptBuilder(make_tokenizer(kind))  # type: ignore[arg-type]
    bos = builder.tokenizer.bos_token_id
    with_bos, doubled = builder.ids([f"{BOS}Привет", f"{BOS}{BOS}Привет"])
    assert with_bos[0] == bos and with_bos.count(bos) == 1 and doubled == with_bos


def test_a_template_file_and_the_plain_format_replace_the_models_own(tmp_path: Path) -> None:
    from tests.tiny_models import make_tokenizer

    path = tmp_path / "t.jinja"
    path.write_text("{{ messages[0]['content'] }}!{% if add_generation_prompt %}>{% endif %}")
    assert PromptBuilder(make_tokenizer(), PromptOptions(chat_template=str(path))).text((USER,)) == "Вопрос?!>"
    plain = PromptBuilder(make_tokenizer(), PromptOptions(chat_template="none"))
    shot = (USER, Message("assistant", "Ответ: A"))
    assert plain.text((*shot, USER, OPEN)) == "Вопрос?\nОтвет: A\n\nВопрос?\nОтвет: "


def test_without_a_tokenizer_what_needs_one_says_so() -> None:
    builder = ServerPromptBuilder()
    assert builder.is_chat and builder.ids(["a", "b"]) == [[], []]
    with pytest.raises(UserError, match="--tokenizer"):
        builder.tokens("текст")
