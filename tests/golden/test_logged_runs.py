"""Logs of real 5-shot runs, through the public way: the same prompts byte for byte, the same numbers.

The engine says what the logged model said to the same question; prompts, scores of samples and totals of the run are
then those of the log.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml

from darumeru.core.answer import Answer
from darumeru.core.row import SampleRow
from darumeru.core.shipped import tasks_folder
from darumeru.engines.request import Request
from darumeru.runs import evaluate
from darumeru.runs.config import RunConfig
from darumeru.runs.run import Run
from tests.golden.answering import Answering
from tests.shared_data import json_lines, shared
from tests.tiny_models import BOS, make_model, make_tokenizer

LONG = 1_000_000  # tokens: no example falls for want of room


@dataclass(frozen=True)
class Program:
    """How a logged run made its prompts. user: what opens a user's message in them."""

    template: str
    user: str
    bos: str
    profile: str = "llmtf-2024"
    system: str | None = None


LLAMA3 = Program(
    "{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
    "<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    "<|start_header_id|>user<|end_header_id|>",
    "<|begin_of_text|>",
    system="Ты полезный чат-бот, который отвечает на вопросы студентов по университетским курсам на русском языке.",
)
OPENCHAT = Program(
    "{{ bos_token }}{% for m in messages %}"
    "{{ 'GPT4 Correct ' + m['role'].title() + ': ' + m['content'] + '<|end_of_turn|>' }}"
    "{% endfor %}{% if add_generation_prompt %}GPT4 Correct Assistant:{% endif %}",
    "GPT4 Correct User:",
    "<s>",
)
QWEN2 = Program(
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "<|im_start|>user",
    "<|bos|>",
    "llmtf-head",
)


@dataclass(frozen=True)
class Log:
    """One task of a logged run. task: here; called: in the run's totals. metrics: logged name -> ours. added: what the
    logged program put at the end of each prompt and its state of 2024-07-18, which the profile follows, does not: it
    then no longer put a space after a line feed (SPEC of the benchmark, notes on the golden logs)."""

    program: Program
    folder: str
    file: str
    task: str
    called: str
    metrics: Mapping[str, str]
    added: str = ""

    @cached_property
    def lines(self) -> list[dict[str, Any]]:
        return json_lines(shared("golden", self.folder, self.file))

    @property
    def totals(self) -> dict[str, float]:
        folder = shared("golden", self.folder)
        if self.program is QWEN2:
            meta = json.loads((folder / "qwen2-7b-instruct_k5.meta.json").read_text(encoding="utf-8"))
            return dict(meta["total"]["results"])
        return dict(json.loads((folder / "totals.json").read_text(encoding="utf-8"))[self.called])

    def question(self, prompt: str) -> str:
        """What is left of a prompt without its examples."""
        return prompt[prompt.rindex(self.program.user) :].rstrip(" ")

    def says(self) -> dict[str, Answer]:
        """Question -> what the logged model said."""
        found = {self.question(line["prompt"]): _answer(line["predict"]) for line in self.lines}
        assert len(found) == len(self.lines)
        return found


def _answer(predicted: str | Mapping[str, float]) -> Answer:
    if isinstance(predicted, str):
        return Answer(text=predicted, tokens=tuple(map(ord, predicted)), finish_reason="stop")
    return Answer(probabilities=predicted)


META, OPEN = "llama3-8b-instruct_k5", "rcb220_openchat-3.5-1210_k5"
ACC, ACC_F1 = {"acc": "acc"}, {"acc": "acc", "f1_macro": "f1_macro"}
LOGS = {
    "multiq": Log(LLAMA3, META, "multiq.jsonl", "darumeru/multiq", "darumeru/MultiQ", {"f1": "f1", "em": "em"}),
    "parus": Log(LLAMA3, META, "parus.jsonl", "logged/parus", "darumeru/PARus", ACC, " "),
    "rcb": Log(LLAMA3, META, "rcb.jsonl", "darumeru/rcb", "darumeru/RCB", ACC_F1, " "),
    "rwsd": Log(LLAMA3, META, "rwsd.jsonl", "darumeru/rwsd", "darumeru/RWSD", {"acc": "acc_startswith"}),
    "use": Log(LLAMA3, META, "use.jsonl", "darumeru/use", "darumeru/USE", {"grade_norm": "grade_norm_2024"}),
    "rummlu": Log(LLAMA3, META, "rummlu.jsonl", "darumeru/rummlu", "darumeru/ruMMLU", ACC),
    "openbook": Log(LLAMA3, META, "ruopenbookqa.jsonl", "darumeru/ruopenbookqa", "darumeru/ruOpenBookQA", ACC_F1),
    "worldtree": Log(LLAMA3, META, "ruworldtree.jsonl", "darumeru/ruworldtree", "darumeru/ruWorldTree", ACC_F1),
    "rutie": Log(LLAMA3, META, "rutie.jsonl", "logged/rutie", "darumeru/ruTiE", ACC, " "),
    "rcb of openchat": Log(OPENCHAT, OPEN, "rcb.jsonl", "darumeru/rcb", "darumeru/RCB", ACC_F1),
    "rucola of qwen2": Log(
        QWEN2,
        "rucola_qwen2-7b-instruct_k5",
        "qwen2-7b-instruct_k5.jsonl",
        "russiannlp/rucola_custom",
        "russiannlp/rucola_custom",
        {"acc": "acc", "mcc": "mcc"},
    ),
}
# The two answers of a question were asked in one order only before 2024-07-12.
ONE_ORDER = {"parus": {}, "rutie": {"both_orders": False}}


class Repeated:
    """Logged runs done again, each once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done: dict[Program, Run] = {}
        self.tasks = folder / "tasks"
        self.tasks.mkdir()
        for name, options in ONE_ORDER.items():
            shipped = yaml.safe_load((tasks_folder() / "darumeru" / f"{name}.yaml").read_text(encoding="utf-8"))
            logged = shipped | {"name": f"logged/{name}", "metrics": ["acc"], "score": ["acc"], "options": options}
            (self.tasks / f"{name}.yaml").write_text(yaml.safe_dump(logged, allow_unicode=True), encoding="utf-8")

    def run(self, program: Program) -> Run:
        if program not in self.done:
            self.done[program] = self._run(program)
        return self.done[program]

    def rows(self, log: Log) -> list[SampleRow]:
        return list(self.run(log.program).rows(log.task))

    def _run(self, program: Program) -> Run:
        place = self.folder / f"run{len(self.done)}"
        model = make_model(place / "model", max_position_embeddings=LONG)
        texts = [line["prompt"] for log in LOGS.values() if log.program is program for line in log.lines]
        # As many characters a token as a real tokenizer has: the authors' programs hold prompts to 4,000 tokens.
        make_tokenizer().train_new_from_iterator(texts, 12_000, show_progress=False).save_pretrained(model)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            file = model / name
            file.write_text(file.read_text(encoding="utf-8").replace(BOS, program.bos), encoding="utf-8")
        (place / "template.jinja").write_text(program.template, encoding="utf-8")
        logs = [log for log in LOGS.values() if log.program is program]
        said = {question: answer for log in logs for question, answer in log.says().items()}

        def say(request: Request) -> Answer:
            return said[logs[0].question(request.text)]

        config = RunConfig(
            model=str(model),
            output=place / "run",
            tasks=[log.task for log in logs],
            data=str(shared("hub")),
            include=str(self.tasks),
            profile=program.profile,
            num_fewshot=5,
            limit=max(len(log.lines) for log in logs),
            max_length=LONG,
            system_prompt=program.system,
            chat_template=str(place / "template.jinja"),
            engine="transformers",
            resamples=0,
        )
        run, failures = evaluate.run(config, load_engine=Answering(say).load)
        assert not failures.tasks and not run.results.failed
        return run


@pytest.fixture(scope="module")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> Repeated:
    return Repeated(tmp_path_factory.mktemp("logged"))


@pytest.mark.parametrize("name", LOGS)
def test_prompts_are_the_logged_ones_byte_for_byte(name: str, repeated: Repeated) -> None:
    """No logged prompt lost an example for want of room."""
    log = LOGS[name]
    for number, (row, line) in enumerate(zip(repeated.rows(log), log.lines, strict=True)):
        assert row.prompt + log.added == line["prompt"], f"record {number}"


@pytest.mark.parametrize("name", LOGS)
def test_totals_are_the_reported_ones(name: str, repeated: Repeated) -> None:
    log = LOGS[name]
    scored = repeated.run(log.program).results.tasks[log.task]
    found = {logged: scored.metrics[ours].value for logged, ours in log.metrics.items()}
    assert found == pytest.approx(log.totals, abs=1e-12)
    assert scored.n == scored.expected == len(log.lines) and scored.shots_used == (0 if name == "rutie" else 5)


def test_every_reported_total_is_covered() -> None:
    for folder in (META, OPEN):
        reported = json.loads(shared("golden", folder, "totals.json").read_text(encoding="utf-8"))
        assert set(reported) == {log.called for log in LOGS.values() if log.folder == folder}


def test_the_leaderboard_result_of_rucola_is_the_reported_one(repeated: Repeated) -> None:
    meta = shared("golden", "rucola_qwen2-7b-instruct_k5", "qwen2-7b-instruct_k5.meta.json")
    reported = json.loads(meta.read_text(encoding="utf-8"))["total"]["leaderboard_result"]
    score = repeated.run(QWEN2).results.tasks["russiannlp/rucola_custom"].score
    assert score.value == pytest.approx(reported, abs=1e-12)


@pytest.mark.parametrize("name", LOGS)
def test_every_sample_has_its_logged_value(name: str, repeated: Repeated) -> None:
    log = LOGS[name]
    for number, (row, line) in enumerate(zip(repeated.rows(log), log.lines, strict=True)):
        for logged, ours in log.metrics.items():
            if logged == "grade_norm":
                points = [row.metrics[ours], row.meta["variant"]]
                assert points == line["metric"][logged], f"record {number}"
            elif ours in row.metrics:
                assert row.metrics[ours] == pytest.approx(float(line["metric"][logged]), abs=1e-12), f"record {number}"
