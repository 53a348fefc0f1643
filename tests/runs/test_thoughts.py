"""What a thinking model says after its thoughts.

Right values: ../shared/cases/thinking_empties_answers.md, thinking_server/README.md and the zoo's templates.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from darumeru.core.answer import Answer
from darumeru.engines.answers import GeneratedText
from darumeru.engines.request import Generate
from darumeru.prompts.builder import PromptBuilder, PromptOptions, load_tokenizer
from darumeru.prompts.thoughts import switches
from darumeru.runs.annotate import STILL_THINKING, annotated, thought_counter
from darumeru.runs.config import RunConfig
from darumeru.runs.plan import Planner
from darumeru.tasks.registry import load_registry
from tests.asked import Run
from tests.cli.command import Said
from tests.shared_data import case
from tests.zoo_members import member

HARMONY = "<|channel|>analysis<|message|>мысль<|end|><|start|>assistant<|channel|>final<|message|>Иван"
COMMAND_A = "<|START_THINKING|>мысль<|END_THINKING|><|START_RESPONSE|>Иван<|END_RESPONSE|>"


@pytest.mark.parametrize(
    ("prompt", "text", "kept"),
    [
        ("", "Ответ: 1", "Ответ: 1"),
        ("", "<think>мысль</think>42", "42"),
        ("<think>\n", "мысль</think>\n\nИван", "Иван"),
        ("<think>\n\n</think>\n\n", "Иван", "Иван"),
        ("", "\nИван", "\nИван"),
        ("", HARMONY, "Иван"),
        ("<|start|>assistant", "<|channel|>final<|message|>Иван", "Иван"),
        ("", "<|channel>thought\nмысль<channel|>Иван", "Иван"),
        ("", COMMAND_A, "Иван"),
        ("", "Иван<|END_RESPONSE|>", "Иван"),
        ("", "[THINK]мысль[/THINK]Иван", "Иван"),
    ],
)
def test_what_stands_after_the_thoughts_is_kept(prompt: str, text: str, kept: str) -> None:
    found = annotated(prompt, Answer(text=text, finish_reason="stop"), ("thoughts",))
    assert found.answer.text == kept and not found.notes


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("", "<think>без конца"), ("<think>\n", "без конца"), ("", "<|channel|>analysis<|message|>без конца"),
        ("", "<|channel>thought\nбез конца"), ("", "<|START_THINKING|>без конца"),
    ],
)  # fmt: skip
def test_an_answer_cut_in_its_thoughts_is_noted_as_such(prompt: str, text: str) -> None:
    found = annotated(prompt, Answer(text=text, tokens=(1, 2), finish_reason="length"), ("thoughts",))
    assert found.answer.text == "" and found.answer.tokens == () and found.notes == (STILL_THINKING,)


def test_stops_apply_to_what_follows_the_thoughts() -> None:
    found = annotated("", Answer(text="<think>\nа\n</think>\n\nИван\nПётр"), ("thoughts",), ("\n",))
    assert found.answer.text == "Иван"


@pytest.mark.parametrize(
    ("name", "text", "kept"),
    [
        ("gpt-oss", HARMONY, "Иван"),
        ("cohere-list-template", COMMAND_A, "Иван"),
        ("gemma4-wrapper", "<|channel>thought\nмысль<channel|>Иван", "Иван"),
        ("qwen3-tied-thinking", "<think>\nмысль\n</think>\n\nИван", "Иван"),
        ("llama-fp32-chatml", "Иван", "Иван"),
        ("mistral-tekken-only", "Иван", "Иван"),
    ],
)
def test_marks_that_are_special_tokens_survive_decoding(name: str, text: str, kept: str) -> None:
    builder = PromptBuilder(load_tokenizer(str(member(name))))
    tokens = builder.tokenizer.encode(text, add_special_tokens=False)
    raw = GeneratedText(builder.tokenizer, ()).answer(tokens, Generate(99, (), builder.thought_tokens), 0.0)
    found = annotated("", thought_counter(builder.decode)(raw), ("thoughts",)).answer
    assert found.text == kept
    assert builder.tokenizer.decode(found.tokens, skip_special_tokens=True) == kept, "lengths are those of the answer"


def test_other_special_tokens_are_dropped_as_ever() -> None:
    builder = PromptBuilder(load_tokenizer(str(member("gpt-oss"))))
    tokens = builder.tokenizer.encode("Иван<|return|><|startoftext|>", add_special_tokens=False)
    assert builder.decode(tokens) == "Иван"


@pytest.mark.parametrize(
    ("source", "on", "off"),
    [
        ("{{ thinking }}", {"thinking": True}, {"thinking": False}),
        ("{% if enable_thinking is defined %}{% endif %}", {"enable_thinking": True}, {"enable_thinking": False}),
        ("{{ reasoning_effort | default('medium') }}", {}, {}),
        ("{% if reasoning_effort == 'none' %}{% endif %}", {"reasoning_effort": "high"}, {"reasoning_effort": "none"}),
        ("{{ preserve_thinking }}{% set thinking = 1 %}{{ thinking }}", {}, {}),
    ],
)
def test_the_switch_is_the_templates_own(source: str, on: dict[str, Any], off: dict[str, Any]) -> None:
    assert (switches(source, True), switches(source, False)) == (on, off)


def test_stops_are_not_sent_to_a_model_that_may_think_first(tmp_path: Path) -> None:
    data = case("thinking_server/data")
    (tmp_path / "t.yaml").write_text(STOPPING, encoding="utf-8")
    builder = PromptBuilder(load_tokenizer(str(member("qwen3-tied-thinking"))), PromptOptions(thinking=True))
    found = {}
    for thinking in (False, True):
        config = RunConfig(model="m", data=str(data), thinking=thinking)
        specs = load_registry("darumeru", (str(tmp_path / "t.yaml"),)).select(["mine/multiq_stop"])
        (one, *_) = Planner(config, builder, "m", None).plan(specs).planned
        assert isinstance(one.request.kind, Generate)
        found[thinking] = one.request.kind.stop, one.request.kind.max_new_tokens
    assert found == {False: (("\n",), 64), True: ((), 64 + 100)}


STOPPING = """name: mine/multiq_stop
group: Mine
description: MultiQ whose answer ends at a line feed.
method: generate
format: standard
source: {repository: RefalMachine/darumeru, config: multiq, test: test, shots: prompt}
max_new_tokens: 64
thinking_tokens: 100
metrics: [f1, em]
score: [f1, em]
options: {target: segments}
stop: ["\\n"]
"""


@pytest.mark.parametrize("mode", ["thinks_aloud", "thoughts_taken_off"])
@pytest.mark.parametrize("thinking", [("--thinking",), ()])
@pytest.mark.parametrize("stop", [False, True])
def test_thinking_models_behind_servers(
    mode: str, thinking: tuple[str, ...], stop: bool, fake_server: str, tmp_path: Path, command: Callable[..., Said]
) -> None:
    (tmp_path / "t.yaml").write_text(STOPPING, encoding="utf-8")
    task = "mine/multiq_stop" if stop else "darumeru/multiq"
    words = ("--data", case("thinking_server/data"), "--include", tmp_path / "t.yaml", "--tasks", task, *thinking)
    said = command("run", "--model", f"{fake_server}/{mode}/v1", *words, "--output", tmp_path / "run")
    assert said.code == 0, said.err
    results = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))["tasks"][task]
    assert {name: one["value"] for name, one in results["metrics"].items()} == {"f1": 1.0, "em": 1.0}
    name = task.replace("/", "__")
    rows = (tmp_path / "run" / "samples" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 3
    assert ("</think>" in json.loads(rows[0])["answer"]["text"]) == (mode == "thinks_aloud"), "stored raw"


def test_a_template_that_knows_no_thinking_is_named(
    tiny_model: Path, tmp_path: Path, command: Callable[..., Said]
) -> None:
    words = ("--data", "bundled", "--tasks", "darumeru/multiq", "--limit", "1", "--thinking", "--thinking-tokens", "4")
    said = command(
        "run", "--model", tiny_model, *words, "--engine", "transformers", "--output", tmp_path / "run",
        "--max-length", "1500",
    )  # fmt: skip
    assert said.code == 0 and "the model's chat template knows no thinking" in said.err


def test_answers_of_a_model_that_does_not_think_stay(
    tiny_model: Path, run_of: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from darumeru.engines.transformers_forward import ForwardPasses

    def generate(self: Any, prompts: Sequence[Sequence[int]], kinds: Sequence[Generate]) -> list[list[int] | None]:
        return [self.text.tokenizer.encode("Ответ: 1", add_special_tokens=False) for _ in prompts]

    monkeypatch.setattr(ForwardPasses, "generate", generate)
    run_of(tiny_model, "darumeru/multiq", "--limit", "2", "--thinking", "--thinking-tokens", "8")
    rates = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))["tasks"]["darumeru/multiq"][
        "rates"
    ]
    assert rates["empty"] == 0 and rates["still_thinking"] == 0
