"""Scores during training treat answers as `darumeru run` does: one Session under both."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from darumeru.core.answer import Answer
from darumeru.engines.protocol import Engine, EngineOptions
from darumeru.engines.request import Request
from darumeru.prompts.builder import load_tokenizer
from darumeru.runs import evaluate
from darumeru.runs.config import RunConfig
from darumeru.training.config import LiveConfig
from darumeru.training.live_plan import LivePlan
from tests.runs.data_folders import write_split


class ThinksAloud:
    """Says its thoughts, then the right answer."""

    name, capabilities, max_model_len = "aloud", frozenset({"generate"}), 2048

    def __init__(self, targets: dict[str, str]) -> None:
        self.targets = targets

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        for index, request in enumerate(requests):
            target = next(said for question, said in self.targets.items() if question in request.text)
            text = f"<think>хм, посмотрим</think>{target}"
            yield index, Answer(text=text, tokens=tuple(range(len(text))), finish_reason="stop")

    def close(self) -> None:
        pass


@pytest.fixture
def data(tmp_path: Path) -> Path:
    records = [
        {
            "messages": [{"role": "user", "content": "{question}"}],
            "inputs": {"question": f"Кто живёт в доме {number}?"},
            "outputs": [{"label": "passage", "length": 4, "offset": 0, "segment": f"Жилец {number}"}],
            "meta": {"id": number, "bridge_answers": []},
        }
        for number in range(3)
    ]
    write_split(tmp_path / "data", "multiq/test", records)
    write_split(tmp_path / "data", "multiq/prompt", records)
    return tmp_path / "data"


def test_thoughts_are_taken_off_live_as_in_a_run_and_the_raw_text_is_kept(
    data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """em is 1 by definition: the text after the thoughts is the target itself."""
    engine = ThinksAloud({f"доме {number}?": f"Жилец {number}" for number in range(3)})
    asked = {"tasks": "darumeru/multiq", "data": str(data), "thinking": True, "thinking_tokens": 64}

    def load(name: str, options: EngineOptions) -> Engine:
        return engine

    config = RunConfig(model=str(tiny_model), output=str(tmp_path / "run"), engine="transformers", **asked)
    run, _ = evaluate.run(config, load_engine=load)
    live = LivePlan(LiveConfig(**asked), "m", load_tokenizer(str(tiny_model)), 2048)
    results = live.run(engine, tmp_path / "live", step=1)
    for scored in (run.results, results):
        assert scored.tasks["darumeru/multiq"].metrics["em"].value == 1.0
        assert scored.tasks["darumeru/multiq"].rates["empty"] == 0
    lines = (tmp_path / "live" / "samples" / "darumeru__multiq.jsonl").read_text(encoding="utf-8").splitlines()
    assert all(json.loads(line)["answer"]["text"].startswith("<think>хм") for line in lines) and len(lines) == 3
