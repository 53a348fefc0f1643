"""The demo model in the repository: small, safe, with a chat template, and able to copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from darumeru.core.message import Message
from darumeru.engines.request import Generate, Request
from darumeru.prompts.builder import PromptBuilder, load_tokenizer
from tests.shared_data import ROOT

MODEL = ROOT / "demo" / "darumeru-demo"


def test_it_is_small_and_holds_nothing_but_safetensors_and_text() -> None:
    sizes = {path.name: path.stat().st_size for path in MODEL.iterdir()}
    assert sizes["model.safetensors"] < 10_000_000
    assert {Path(name).suffix for name in sizes} <= {".json", ".jinja", ".safetensors"}


@pytest.mark.parametrize(
    ("ask", "opened", "text"),
    [
        (
            "Скопируй предложение без изменений:\n",
            "Ответ:",
            "Вечером на реке было тихо, и рыбаки долго сидели у костра.",
        ),
        (
            "Copy the following text without any changes.\n",
            "Answer:",
            "The old house on the hill was empty for many years.",
        ),
    ],
)
def test_it_copies_a_sentence(ask: str, opened: str, text: str) -> None:
    from darumeru.engines import load_engine
    from darumeru.engines.protocol import EngineOptions

    builder = PromptBuilder(load_tokenizer(str(MODEL)))
    messages = (Message("user", ask + text), Message("assistant", opened))
    prompt = builder.ids([builder.text(messages)])[0]
    assert prompt.count(builder.tokenizer.bos_token_id) == 1
    engine = load_engine("transformers", EngineOptions(model=str(MODEL), max_model_len=512))
    try:
        answers = dict(engine.answer([Request(tuple(prompt), Generate(100))]))
    finally:
        engine.close()
    assert (answers[0].text or "").strip() == text and answers[0].finish_reason == "stop"
