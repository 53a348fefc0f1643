"""A tiny chat model whose template ends every message, and conversations for it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from darumeru.adaptation.protocols import StepContext
from darumeru.core.message import Message
from lep_plugins.training.conversations import Conversation
from lep_plugins.training.lora_training import LoraTraining
from tests.tiny_models import make_model

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] | trim }}"
    "{{ eos_token }}\n{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
RUSSIAN = "Кошка спит на окне, а собака лежит у двери и ждёт хозяина."


def chat_model(folder: Path, **options: Any) -> Path:
    """A model of tests.tiny_models with TEMPLATE."""
    make_model(folder, **options)
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return folder


def without_template(model: Path) -> Path:
    """Take the chat template of a model away."""
    (model / "chat_template.jinja").unlink()
    return model


def pair(question: str, answer: str) -> Conversation:
    return Conversation((Message("user", question), Message("assistant", answer)))


def pairs(count: int) -> list[Conversation]:
    return [pair(f"Что делает кошка номер {number}?", f"{RUSSIAN} Это {number}-й ответ.") for number in range(count)]


def write_lines(path: Path, records: Iterable[Any]) -> Path:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


def write_pairs(path: Path, count: int) -> Path:
    return write_lines(path, ({"instruction": each.question, "output": each.answer} for each in pairs(count)))


def training(**changed: Any) -> LoraTraining:
    values: dict[str, Any] = {
        "rank": 4,
        "alpha": 2.0,
        "layers": "all",
        "saved": ("embedding", "head"),
        "learning_rate": 1e-3,
        "weight_decay": 0.1,
        "max_length": 256,
        "batch_size": 4,
        "micro_batch": 2,
        "save_every": 2,
    }
    return LoraTraining(**values | changed)


def silent(line: str) -> None:
    """Hears nothing."""


def context(folder: Path, **inputs: Path) -> StepContext:
    folder.mkdir(parents=True, exist_ok=True)
    return StepContext(folder, inputs, say=silent)
