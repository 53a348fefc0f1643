"""Headers, sample lines, task files and server answers with one thing wrong, drawn by fixed seeds."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darumeru.core.answer import fault
from darumeru.core.message import Message
from darumeru.engines.answers import GeneratedText
from darumeru.engines.openai_chat import ChatDialect
from darumeru.engines.openai_server import RefusedError
from darumeru.engines.openai_tokens import TokenDialect
from darumeru.engines.request import Generate, LogLikelihood, MultipleChoice, Request
from tests.torture import inputs
from tests.torture.command import darumeru
from tests.torture.mutate import mutated
from tests.torture.servers import PATIENT, TOKENIZER, fake_server, words
from tests.torture.strange_server import good

SEEDS = st.integers(0, 2**32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def run(folder: Path) -> Iterator[Path]:
    with fake_server() as server:
        assert darumeru(*words(server.url("normal"), folder / "run", PATIENT)).code == 0
    yield folder / "run"


@settings(max_examples=60)
@given(seed=SEEDS)
def test_headers_of_weights(folder: Path, seed: int) -> None:
    assert inputs.check_header(random.Random(seed), folder / "model") == ""


@settings(max_examples=80)
@given(seed=SEEDS)
def test_task_files(folder: Path, seed: int) -> None:
    assert inputs.check_task_file(random.Random(seed), folder / "task") == ""


@settings(max_examples=25)
@given(seed=SEEDS)
def test_files_of_runs(run: Path, folder: Path, seed: int) -> None:
    assert inputs.check_row(random.Random(seed), run, folder / "damaged") == ""


class Mutating:
    """A probe whose good answers have one thing wrong."""

    def __init__(self, rng: random.Random, chat: bool) -> None:
        self.rng, self.chat = rng, chat

    def ask(self, **body: Any) -> Any:
        if self.chat:
            top = [{"token": label, "logprob": -0.5 - place} for place, label in enumerate("ABC")]
            answer: dict[str, Any] = {"message": {"role": "assistant", "content": "ответ"}, "finish_reason": "stop"}
            if "logprobs" in body:
                answer["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
        else:
            answer = good(body)
        changed = mutated(self.rng, answer)
        if not isinstance(changed, dict) or changed.get("finish_reason") not in ("stop", "length"):
            raise RefusedError("the answer has no choices")  # as Probe says it
        return changed


KINDS = (MultipleChoice(("A", "B"), ((5, 6), (7,))), Generate(4, ("\n",)), LogLikelihood((7, 8)))


@settings(max_examples=300)
@given(seed=SEEDS, kind=st.sampled_from(KINDS), way=st.sampled_from(("chat", "named", "prompt_logprobs", "echo")))
def test_answers_of_servers(seed: int, kind: Any, way: str) -> None:
    """Each is an answer that the store takes, or RefusedError."""
    probe: Any = Mutating(random.Random(seed), way == "chat")
    dialect: Any = ChatDialect(probe, most=20)
    if way != "chat":
        scores = way if way != "named" else "prompt_logprobs"
        dialect = TokenDialect(probe, _text(), way == "named", 0, scores, returns_ids=way == "named")
    with suppress(RefusedError):
        assert fault(dialect.answer(Request((1, 2, 3), kind, messages=(Message("user", "а"),)))) == ""


def _text(found: list[GeneratedText] = []) -> GeneratedText:  # noqa: B006 - read once
    if not found:
        from transformers import AutoTokenizer

        found.append(GeneratedText(AutoTokenizer.from_pretrained(TOKENIZER), (2,)))
    return found[0]
