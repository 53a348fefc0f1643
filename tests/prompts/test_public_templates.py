"""Chat templates of public models, rendered as transformers renders them; templates that are no good are refused.

Right values: ../shared/zoo/expected_prompts.json, ../shared/cases/template_errors, endless_inputs.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from darumeru.core.errors import UserError
from darumeru.core.message import Message
from darumeru.prompts.builder import PromptBuilder, PromptOptions, load_tokenizer
from darumeru.prompts.chat_template import ChatTemplate
from darumeru.prompts.thoughts import switches
from tests.asked import Run
from tests.cli.command import Said
from tests.shared_data import ROOT, case
from tests.zoo_members import member, zoo

DEMO = ROOT / "demo" / "darumeru-demo"
TOKENS = {
    "additional_special_tokens": ["<|role_sep|>", "<|message_sep|>", "[", "]"],
    "eos_token": "</s>",
}
TODAY: Any = SimpleNamespace(strftime=lambda form: f"<today as {form}>")


def expected() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(zoo("expected_prompts.json").read_text(encoding="utf-8"))
    return found


def test_every_template_gives_the_prompts_that_transformers_gives() -> None:
    right = expected()
    question, answer = Message("user", right["question"]), Message("assistant", right["answer"])
    wrong = []
    for name, prompts in right["templates"].items():
        source = zoo(f"chat_templates/{name}.jinja").read_text(encoding="utf-8")
        for thinking in (False, True):
            tokens = {**TOKENS, "bos_token": prompts["bos_token"] or ""}
            template = ChatTemplate(source, tokens, switches(source, thinking), TODAY)
            for key, messages in (("answer open", (question, answer)), ("question last", (question,))):
                place = f"{key}, thinking {'on' if thinking else 'off'}"
                if template.render(messages) != prompts[place]:
                    wrong.append(f"{name}: {place}")
    assert not wrong and len(right["templates"]) == 43


@pytest.mark.parametrize(
    ("folder", "template"),
    [
        ("gigachat20b-template", "gigachat20b"), ("yandex5-lite-template", "yandex5"), ("gpt-oss", "gptoss"),
        ("granite-list-template", "chatml"), ("mistral-v1-sliding", "mistral_v01"), ("qwen3-tied-thinking", "qwen3"),
    ],
)  # fmt: skip
def test_a_folders_own_template_and_tokenizer_give_that_prompt(folder: str, template: str) -> None:
    right = expected()
    builder = PromptBuilder(load_tokenizer(str(member(folder))))
    messages = (Message("user", right["question"]), Message("assistant", right["answer"]))
    text = builder.text(messages)
    begins, _, day = right["templates"][template]["answer open, thinking off"].partition("<today as")
    assert text.startswith(begins) and (bool(day) or text == begins)
    bos = builder.tokenizer.bos_token_id
    ids = builder.ids([text])[0]
    one = right["templates"][template]["ids begin with"] == "exactly one BOS"
    assert (ids[0] == bos and ids.count(bos) == 1) if one else ids[0] != bos


@pytest.mark.parametrize("folder", ["gigachat20b-template", "yandex5-lite-template"])
def test_models_with_such_templates_are_scored(folder: str, run_of: Run) -> None:
    rows = run_of(member(folder), "darumeru/rcb", "--limit", "2", "--num-fewshot", "0")
    assert len(rows) == 2 and all(row["prompt"].rstrip().endswith("Ответ:") for row in rows)


def test_a_template_beside_the_tokenizer_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(DEMO, folder)
    source = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": source}), encoding="utf-8")
    assert PromptBuilder(load_tokenizer(str(folder))).template.source == source


@pytest.mark.parametrize(("more", "said"), [((), True), (("--chat-template", "none"), False)])
def test_an_instruct_model_is_not_taken_for_a_foundation_model_in_silence(
    more: tuple[str, ...], said: bool, tmp_path: Path, command: Callable[..., Said]
) -> None:
    folder = member("mistral-tekken-only")
    words = ("run", "--model", folder, "--data", "bundled", "--tasks", "darumeru/rcb", "--limit", "1", *more)
    done = command(*words, "--engine", "transformers", "--output", tmp_path / "run", "--num-fewshot", "0")
    assert done.code == 0, done.err
    assert ("has no chat template" in done.err) == said
    rows = (tmp_path / "run" / "samples" / "darumeru__rcb.jsonl").read_text(encoding="utf-8")
    row = json.loads(rows.splitlines()[0])
    builder = PromptBuilder(load_tokenizer(str(folder)))
    (ids,) = builder.ids([row["prompt"]])
    assert ids.count(builder.tokenizer.bos_token_id) == 1 and len(ids) == row["prompt_tokens"]


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("template_errors/division.jinja", "ZeroDivisionError"),
        ("template_errors/include.jinja", "chat template"),
        ("template_errors/long_text.jinja", "needs more than 1024 MiB"),
        ("template_errors/not_utf8.jinja", "is not UTF-8"),
        ("template_errors/range_1e9.jinja", "OverflowError"),
        ("template_errors/recursion.jinja", "RecursionError"),
        ("template_errors/strftime_number.jinja", "TypeError"),
        ("template_errors/text_plus_number.jinja", "TypeError"),
        ("endless_inputs/loops.jinja", "takes longer than 5 s"),
    ],
)
def test_a_template_that_cannot_be_rendered_is_refused_in_one_line(
    path: str, cause: str, tmp_path: Path, command: Callable[..., Said]
) -> None:
    words = ("run", "--model", DEMO, "--data", "bundled", "--tasks", "darumeru/rcb", "--limit", "1")
    template = ("--chat-template", case(path))
    said = command(*words, *template, "--engine", "transformers", "--output", tmp_path / "run")
    assert said.code == 2 and cause in said.err and "Traceback" not in said.err
    assert not (tmp_path / "run").exists()


def test_a_template_that_loops_is_refused_for_evaluations_in_training_too() -> None:
    tokenizer = load_tokenizer(str(DEMO))
    with pytest.raises(UserError, match="takes longer"):
        PromptBuilder(tokenizer, PromptOptions(chat_template=str(case("endless_inputs/loops.jinja"))))
