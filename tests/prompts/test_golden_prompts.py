"""Prompts of real 5-shot runs are rebuilt byte for byte from the records."""

from __future__ import annotations

from dataclasses import replace

import pytest

from darumeru.core.message import Message
from darumeru.prompts.chat_template import ChatTemplate
from darumeru.tasks.formats import sample_maker
from darumeru.tasks.records import load_split
from darumeru.tasks.registry import load_registry
from tests.shared_data import json_lines, shared

LLAMA3 = (
    "{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
    "<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
LLAMA3_SYSTEM = "Ты полезный чат-бот, который отвечает на вопросы студентов по университетским курсам на русском языке."
OPENCHAT = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ 'GPT4 Correct ' + m['role'].title() + ': ' + m['content'] + '<|end_of_turn|>' }}"
    "{% endfor %}{% if add_generation_prompt %}GPT4 Correct Assistant:{% endif %}"
)
QWEN2 = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# The 2024 program put a space before digit choices (SPEC of the benchmark, notes on the golden logs).
SPACE_ADDED = {"parus", "rcb", "rutie"}


def rebuilt(task: str, template: ChatTemplate, system: str | None) -> list[list[str]]:
    """For every test record its prompt with 5, 4, ... 0 shots (with all turns, for ruTiE)."""
    spec = load_registry("llmtf-2024").select([task])[0]
    if task == "darumeru/rutie":
        spec = replace(spec, options={"both_orders": False})
    data = str(shared("hub"))
    test = load_split(spec.source, spec.source.test, data).records
    shots = load_split(spec.source, spec.source.shots, data).records if spec.source.shots else ()
    samples = sample_maker(spec.format)(spec, test, shots, 5)
    samples = [sample for sample in samples if sample.meta.get("order") != "swapped"]
    front = (Message("system", system),) if system else ()
    return [
        [template.render((*front, *sample.conversation(k))) for k in range(sample.most, -1, -1)] for sample in samples
    ]


@pytest.mark.parametrize(
    "name", ["multiq", "parus", "rcb", "rwsd", "use", "rummlu", "ruopenbookqa", "ruworldtree", "rutie"]
)
def test_llama3_prompts_are_rebuilt_byte_for_byte(name: str) -> None:
    logged = [line["prompt"] for line in json_lines(shared("golden", "llama3-8b-instruct_k5", f"{name}.jsonl"))]
    template = ChatTemplate(LLAMA3, {"bos_token": "<|begin_of_text|>"})
    made = rebuilt(f"darumeru/{name}", template, LLAMA3_SYSTEM)
    extra = " " if name in SPACE_ADDED else ""
    for number, prompt in enumerate(logged):
        allowed = made[number] if name in ("multiq", "use") else made[number][:1]
        assert prompt in [text + extra for text in allowed], f"record {number}"


def test_openchat_prompts_are_rebuilt_byte_for_byte() -> None:
    logged = [line["prompt"] for line in json_lines(shared("golden", "rcb220_openchat-3.5-1210_k5", "rcb.jsonl"))]
    made = rebuilt("darumeru/rcb", ChatTemplate(OPENCHAT, {"bos_token": "<s>"}), None)
    assert len(logged) == len(made) == 220
    for number, prompt in enumerate(logged):
        assert prompt == made[number][0] + " ", f"record {number}"


def test_qwen2_prompts_are_rebuilt_byte_for_byte() -> None:
    logged = [
        line["prompt"]
        for line in json_lines(shared("golden", "rucola_qwen2-7b-instruct_k5", "qwen2-7b-instruct_k5.jsonl"))
    ]
    spec = load_registry("llmtf-head").select(["russiannlp/rucola_custom"])[0]
    data = str(shared("hub"))
    test = load_split(spec.source, "validation", data).records[: len(logged)]
    samples = sample_maker(spec.format)(spec, test, load_split(spec.source, "train", data).records, 5)
    template = ChatTemplate(QWEN2)
    assert len(logged) == 200
    for number, prompt in enumerate(logged):
        assert prompt == template.render(samples[number].conversation(5)), f"record {number}"
