"""Questions are answered greedily by the original model, once each, over a kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from darumeru.core.errors import RunFailed, UserError
from darumeru.engines import Answer, EngineDied, Request
from lep_plugins.training.conversations import Conversation, read_prompts
from lep_plugins.training.keyed_log import KeyedLog
from lep_plugins.training.synthesis import CUT, UNANSWERED, Synthesis
from tests.calibration.models import chat_model, silent, write_lines

KILLED = """
import os, signal, sys
from pathlib import Path
from lep_plugins.training.conversations import read_prompts
from lep_plugins.training.keyed_log import KeyedLog
from lep_plugins.training.synthesis import Synthesis
model, prompts, answers = sys.argv[1:]
add, count = KeyedLog.add, 0
def dying(self, key, value):
    global count
    add(self, key, value)
    count += 1
    if count == 20:
        os.kill(os.getpid(), signal.SIGKILL)
KeyedLog.add = dying
Synthesis(model, "transformers", 8, 256).run(read_prompts(Path(prompts)), Path(answers))
"""


class Watched:
    """An engine that another one answers for; keeps what was asked, dies after `dies_after` answers."""

    def __init__(self, engine: Any, dies_after: int | None = None) -> None:
        self.engine = engine
        self.dies_after = dies_after
        self.asked: list[Request] = []

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        self.asked += requests
        for number, answered in enumerate(self.engine.answer(requests)):
            if number == self.dies_after:
                raise EngineDied("out of memory")
            yield answered

    def close(self) -> None:
        """It is the other one's to close."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chat_model(tmp_path_factory.mktemp("teacher") / "model")


def prompts(folder: Path, count: int = 40) -> list[Conversation]:
    lines = ({"instruction": f"Расскажи о кошке номер {number}."} for number in range(count))
    return read_prompts(write_lines(folder / "prompts.jsonl", lines))


def watch(monkeypatch: pytest.MonkeyPatch, dies_after: int | None = None, engine: Any = None) -> list[Watched]:
    """Every engine that the synthesis loads from now on."""
    made: list[Watched] = []
    from darumeru.engines import load_engine

    def loaded(name: str, options: Any) -> Any:
        made.append(Watched(engine or load_engine(name, options), dies_after))
        return made[-1]

    monkeypatch.setattr("lep_plugins.training.synthesis.load_engine", loaded)
    return made


def test_a_killed_synthesis_goes_on_and_asks_nothing_twice(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = prompts(tmp_path)
    answers = tmp_path / "answers.jsonl"
    command = [sys.executable, "-c", KILLED, str(model), str(tmp_path / "prompts.jsonl"), str(answers)]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    before = answers.read_bytes()
    assert before.count(b"\n") == 21  # a header and twenty answers
    answers.write_bytes(before + b'{"key": "cut off in the mid')
    engines = watch(monkeypatch)
    asked = Synthesis(str(model), "transformers", 8, 256)
    found = asked.run(questions, answers, silent)
    assert len(engines) == 1 and len(engines[0].asked) == 20
    assert answers.read_bytes().startswith(before)
    assert len(found.conversations) + sum(found.rejected.values()) == 40
    assert len({json.loads(line)["key"] for line in answers.read_text().splitlines()[1:]}) == 40
    assert asked.run(questions, answers, silent) == found and len(engines) == 1  # all answered: no engine is loaded


def test_vllm_answers_as_transformers_does(
    tiny_model: Path, vllm_engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = prompts(tmp_path, 12)
    asked = Synthesis(str(tiny_model), "transformers", 12, 512)
    asked.run(questions, tmp_path / "transformers.jsonl", silent)
    engines = watch(monkeypatch, engine=vllm_engine)
    Synthesis(str(tiny_model), "vllm", 12, 512).run(questions, tmp_path / "vllm.jsonl", silent)
    assert len(engines) == 1
    one, other = (
        {value["key"]: value["answer"] for value in map(json.loads, (tmp_path / name).read_text().splitlines()[1:])}
        for name in ("transformers.jsonl", "vllm.jsonl")
    )
    assert one == other and len(set(one.values())) > 1


def test_an_engine_that_dies_leaves_its_answers(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = prompts(tmp_path)
    watch(monkeypatch, dies_after=7)
    with pytest.raises(RunFailed, match="out of memory; the answers so far are in"):
        Synthesis(str(model), "transformers", 4, 256).run(questions, tmp_path / "answers.jsonl", silent)
    assert (tmp_path / "answers.jsonl").read_bytes().count(b"\n") == 8


def test_cut_and_missing_answers_are_left_out_and_counted(model: Path, tmp_path: Path) -> None:
    questions = prompts(tmp_path, 5)
    said: list[dict[str, Any]] = [
        {"answer": " Да. ", "finish_reason": "stop"},
        {"answer": "Да и", "finish_reason": "length"},
        {"answer": None, "error": "needs 900 tokens, the engine's context has 256"},
        {"answer": " ", "finish_reason": "stop"},
        {"answer": "Нет.", "finish_reason": "stop"},
    ]
    asked = Synthesis(str(model), "transformers", 4, 256)
    with KeyedLog(tmp_path / "answers.jsonl", asked._job()) as log:
        for question, value in zip(questions, said, strict=True):
            log.add(question.key, value)
    found = asked.run(questions, tmp_path / "answers.jsonl", silent)
    assert [each.answer for each in found.conversations] == ["Да.", "Нет."]
    assert found.rejected == {CUT: 1, UNANSWERED: 2}


def test_answers_of_another_model_are_not_taken(model: Path, tmp_path: Path) -> None:
    questions = prompts(tmp_path, 1)
    Synthesis(str(model), "transformers", 4, 256).run(questions, tmp_path / "answers.jsonl", silent)
    with pytest.raises(UserError, match=r"results of another job \(max_new_tokens differ\)"):
        Synthesis(str(model), "transformers", 5, 256).run(questions, tmp_path / "answers.jsonl", silent)
    other = chat_model(tmp_path / "other", seed=1)
    with pytest.raises(UserError, match=r"results of another job \(model differ\)"):
        Synthesis(str(other), "transformers", 4, 256).run(questions, tmp_path / "answers.jsonl", silent)


def test_a_broken_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with KeyedLog(path, {"job": 1}) as log:
        log.add("a", {"answer": "Да"})
    path.write_bytes(path.read_bytes() + b"garbage\n" + b'{"key": "b"}\n')
    with pytest.raises(UserError, match=r"line 3: a broken line"), KeyedLog(path, {"job": 1}):
        pass


def test_where_vllm_cannot_run_the_transformers_engine_answers(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("darumeru.core.packages.find_spec", lambda name: None if name == "vllm" else find_spec(name))
    heard: list[str] = []
    found = Synthesis(str(model), "vllm", 4, 256).run(prompts(tmp_path, 2), tmp_path / "answers.jsonl", heard.append)
    assert any("vLLM is not installed" in line and "transformers engine answers" in line for line in heard)
    assert len(found.conversations) + sum(found.rejected.values()) == 2
    with pytest.raises(UserError, match="vLLM is not installed"):
        asked = Synthesis(str(model), "vllm", 4, 256, engine_args={"enforce_eager": True})
        asked.run(prompts(tmp_path, 3), tmp_path / "answers.jsonl", silent)
