"""The commands and programs of the other pages, run in the order in which they stand, each page in a fresh clone."""

from __future__ import annotations

import json
import lzma
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from darumeru.tasks.rubrics import read_rubric
from tests.asked import Command
from tests.docs.blocks import Block, blocks, pages
from tests.docs.reader import Reader, environment, fresh_clone
from tests.lm_eval_bridge.local_tasks import TASKS as LM_EVAL_TASKS
from tests.lm_eval_bridge.local_tasks import write_tasks
from tests.publishing.hub_server import FakeHub, hub
from tests.shared_data import ROOT

DEMO, OTHER = "demo/darumeru-demo", "models/other"
# Few records, and the engine that starts at once; what a line says itself comes later and counts.
WORDS = {
    "darumeru run": "darumeru run --engine transformers --data bundled --limit 2",
    "PATH": DEMO,
    "MODEL": DEMO,
    "BASE": DEMO,
    "TARGET": DEMO,
    "BEFORE": DEMO,
    "AFTER": OTHER,
    "OTHER": OTHER,
}
RUN = f"darumeru run --engine transformers --data bundled --limit 2 --tasks darumeru/parus --model {DEMO} --output"
TEXTS = (
    *("news.jsonl.xz", "books.txt", "instructions.jsonl", "raw.jsonl"),
    *("text_ru_novels/ru_novels.txt.xz", "text_ru_php/ru_php.txt.xz", "text_en_novels/en_novels.txt.xz"),
)
LINES = '{"text": "Да.", "messages": []}\n'.encode() * 9
PART = f"""
models: {{base: {ROOT / DEMO}}}
data: {{raw: "${{CORPUS}}/raw.jsonl", books: "${{CORPUS}}/books.txt"}}
score: {{tasks: [darumeru/parus], data: bundled}}
"""
VOCABULARY = """  - {name: vocab, step: vocab_bpe, from: base, with: {corpus: data.books, size: 3000}}
"""
TRAINERS = """
class Trainer:
    def __init__(self, *given, callbacks):
        assert callbacks
    def train(self): ...
SFTTrainer, model, args = Trainer, None, None
"""
TRAINED = f"""
from darumeru import DarumeruCallback, LiveOptions
from transformers import AutoModelForCausalLM, AutoTokenizer
model, tokenizer = (one.from_pretrained("{DEMO}") for one in (AutoModelForCausalLM, AutoTokenizer))
step = 1
"""
STEP = """
from collections.abc import Iterator
from dataclasses import dataclass
from darumeru.adaptation.protocols import Candidate, StepContext
"""


@dataclass(frozen=True)
class Page:
    """before: shell lines that make what the page takes for granted, prelude: names that its programs do."""

    words: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    codes: Mapping[str, int] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    prelude: str = ""


TRACKERS = "tests/publishing logs to the real ones (`make readers`)"
PAGES = {
    "docs/adaptation.md": Page(
        # Nothing is trained here: the donor is the model that training would begin with.
        {"ru.jsonl": "texts.txt", "raw.jsonl.gz": "raw.jsonl", "--size 174816": "--size 3100"}
        | {"work/donor": "work/start", '"work/result"': '"work/again"'},
        {"pip install": "CI installs what the project needs"},
        prelude=TRAINERS,
    ),
    "docs/engines.md": Page(),
    "docs/field.md": Page({"--limit 2": "--limit 1"}, {"suite:": "half a minute each; tests/field asks them whole"}),
    "docs/judge.md": Page(
        {
            "rusbeirrag/*_llmaaj": "rusbeirrag/rubqqa_llmaaj",
            "--judge JUDGE_FOLDER_OR_HUB_ID": f"--judge {DEMO} --engine transformers",
            "--judge JUDGE": f"--judge {DEMO} --engine transformers",
            "--judge OTHER": f"--judge {OTHER} --engine transformers",
            'judge="JUDGE", engine="vllm"': f'judge="{DEMO}", engine="transformers"',
        },
        before=(f"cp -r {DEMO} A && cp -r {DEMO} B && cp -r {DEMO} C",),
    ),
    "docs/lm-eval.md": Page(
        {'"bundled"}\'': '"bundled"}\' --limit 2 --device cpu'},
        {"belebele": "wants the Hub; tests/lm_eval_bridge asks lm-eval's tasks from files"},
    ),
    "docs/publishing.md": Page(
        {"darumeru run ...": f"{RUN} runs/new"},
        {"wandb|mlflow|trackio": TRACKERS},
        before=tuple(f"{RUN} runs/{name}" for name in ("mine", "a", "b")),
    ),
    "docs/python.md": Page({"limit=50": "limit=2"}),
    # Plans only: tests/adaptation runs recipes and races.
    "docs/recipes.md": Page(
        {"adapt recipes/quick.yaml": "adapt recipes/quick.yaml --dry-run", "mine.txt": "texts.txt"}, prelude=STEP
    ),
    "docs/servers.md": Page(
        {"darumeru run": "darumeru run --limit 2", "PATH_OR_HUB_ID": DEMO, "big-model": "fake"},
        # Without a tokenizer copying tasks are named and not scored.
        codes={f"--tokenizer {DEMO}": 0, "/normal/v1": 1},
        before=("echo sk-nothing > key.txt",),
    ),
    "docs/tasks.md": Page(),
    "docs/training.md": Page(
        {
            "CHECKPOINT_DIR": "checkpoints --once --engine transformers --data bundled",
            "--limit 64": "--limit 1",
            "limit=64": 'limit=1, data="bundled", live=LiveOptions(engine="transformers")',
        },
        before=(f"mkdir checkpoints && cp -r {DEMO} checkpoints/checkpoint-5",),
        prelude=TRAINERS + TRAINED,
    ),
    "docs/viewer.md": Page(before=(f"{RUN} runs/mine",)),
    "leaderboards/README.md": Page(),
}


def runnable(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language in ("sh", "python") and not block.not_run]


def test_every_page_with_something_to_run_is_run() -> None:
    """README is run by test_readme, README.ru has its commands."""
    found = {str(page.relative_to(ROOT)) for page in pages() if runnable(page)}
    assert found - {"README.md", "README.ru.md"} == set(PAGES)


@pytest.fixture
def endpoint() -> Iterator[FakeHub]:
    with hub(FakeHub()) as state:
        yield state


@pytest.mark.parametrize("name", PAGES)
def test_a_page_does_what_it_says(name: str, tmp_path: Path, fake_server: str, endpoint: FakeHub) -> None:
    page = PAGES[name]
    place = fresh_clone(tmp_path / "clone")
    server = f"{fake_server}/normal/v1"
    words = WORDS | {"http://host:8000/v1": server, "https://gateway/v1": server} | page.words
    # A Hub on this machine for what is sent there.
    there = {"HF_ENDPOINT": endpoint.url, "HF_TOKEN": "hf_nothing", "HF_HOME": str(tmp_path / "home")}
    more = there | {"HF_HUB_OFFLINE": "0"} if name == "docs/publishing.md" else {}
    reader = Reader(place, environment(**more), words, page.left_out, page.codes)
    _laid_out(place, name)
    for line in page.before:
        reader.types(line)
    for block in runnable(ROOT / name):
        for line in reader.lines(block) if block.language == "sh" else ():
            reader.types(line)
    programs = [block.text for block in runnable(ROOT / name) if block.language == "python"]
    said = reader.python("\n".join([page.prelude, *programs])) if programs else ""
    for shown in _shown(name):
        assert shown in said


def _laid_out(place: Path, name: str) -> None:
    """Files that a page names."""
    if table := re.search(r"`questions\.csv`:\n\n```text\n(.*?)```", (ROOT / name).read_text("utf-8"), re.S):
        (place / "questions.csv").write_text(table[1], encoding="utf-8")
    asked = (ROOT / "tasks/bundled/RefalMachine/llmtf_open/arena/questions.jsonl").read_text("utf-8").splitlines()
    answers = [
        {"instruction": json.loads(line)["instruction"], "output": "Да.", "generator": "short"} for line in asked
    ]
    (place / "answers.json").write_text(json.dumps(answers), encoding="utf-8")
    write_tasks(place / "my_tasks", {"my_task": LM_EVAL_TASKS["letters"]})


def _shown(name: str) -> list[str]:
    """What a page shows below its programs."""
    text = (ROOT / name).read_text("utf-8")
    return re.findall(r"^```python\n(?:(?!```).)*^```\n\n(?:[^`\n]+\n\n)?```text\n(.*?)^```", text, re.S | re.M)


def _yaml(page: str) -> list[str]:
    return [block.text for block in blocks(ROOT / page) if block.language == "yaml"]


def test_the_task_file_of_the_page_is_one(tmp_path: Path, command: Command) -> None:
    _laid_out(tmp_path, "docs/tasks.md")
    (tmp_path / "questions.yaml").write_text(_yaml("docs/tasks.md")[0], encoding="utf-8")
    said = command("tasks", "validate", tmp_path / "questions.yaml", "--try")
    assert said.code == 0 and "Столица Франции?" in said.out, said.err


def test_the_rubric_of_the_page_is_one(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(_yaml("docs/judge.md")[0], encoding="utf-8")
    assert read_rubric(tmp_path / "mine.yaml").labels == {"Да": 1, "Нет": 0}


@pytest.mark.parametrize("place", range(len(_yaml("docs/recipes.md"))))
def test_the_recipes_of_the_page_are_recipes(
    place: int, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All their steps and values are known; a part of a recipe is put into a whole one."""
    monkeypatch.setenv("CORPUS", str(tmp_path))
    monkeypatch.setenv("CORPORA", str(tmp_path))
    monkeypatch.setenv("MODEL", str(ROOT / DEMO))
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    for name in TEXTS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(lzma.compress(LINES) if name.endswith("xz") else LINES)
    recipe = re.sub(r"mistralai/\S+|openchat/\S+", str(ROOT / DEMO), _yaml("docs/recipes.md")[place])
    if recipe.startswith("steps:"):
        recipe = PART + recipe + VOCABULARY
    (tmp_path / "recipes" / "page.yaml").write_text(recipe, encoding="utf-8")
    said = command("adapt", tmp_path / "recipes" / "page.yaml", "--dry-run", "--output", tmp_path / "out")
    assert said.code == 0, said.err


def _programs() -> dict[str, set[str]]:
    """The programs of benchmarks/ that pages name -> the options that stand there."""
    found: dict[str, set[str]] = {}
    for page in pages():
        for block in blocks(page):
            for line in block.text.replace("\\\n", " ").splitlines():
                if match := re.search(r"python -m (benchmarks\.\w+)([^#]*)", line):
                    found.setdefault(match[1], set()).update(re.findall(r"--[\w-]+", match[2]))
    return found


@pytest.mark.parametrize(("program", "options"), _programs().items(), ids=_programs())
def test_a_benchmark_has_the_options_that_pages_give(program: str, options: set[str]) -> None:
    said = subprocess.run([sys.executable, "-m", program, "--help"], capture_output=True, text=True, cwd=ROOT)
    assert said.returncode == 0, said.stderr
    assert options <= {*re.findall(r"--[\w-]+", said.stdout)}
