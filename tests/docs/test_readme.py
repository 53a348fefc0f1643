"""README's commands, run in the order in which they stand, in a folder that looks like a fresh clone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.docs.blocks import Block, blocks
from tests.docs.reader import Reader, environment, fresh_clone
from tests.shared_data import ROOT

# What the page leaves to the reader -> what stands for it here: the demo model and few records.
WORDS = {
    "--data bundled": "--data bundled --limit 4",
    "PATH_OR_HUB_ID": "demo/darumeru-demo",
    "PATH": "demo/darumeru-demo",
    "OTHER": "models/other",
    "MODEL_OR_URL": "demo/darumeru-demo",
    "raw.jsonl.gz": "raw.jsonl",
    "--data DIR": "--data tasks/bundled",
    "BASE": "demo/darumeru-demo",
    "INSTRUCT": "demo/darumeru-demo",
    "DONOR": "demo/darumeru-demo",
    "BEFORE": "demo/darumeru-demo",
    "AFTER": "models/other",
    "--size 20000": "--size 3100",
}
# Lines that are not run here, and why.
NOT_RUN = {
    "make test": "it is this",
    "make demo": "CI begins with it",
    r"run --model PATH_OR_HUB_ID +#": "needs the Hub",
    "fetch --data-dir": "needs the Hub; tests/tasks fetches from local repositories",
    r"adapt recipes/quick.yaml (--output|--race)": "minutes; `make adapt`, and tests/adaptation runs recipes and races",
    "lm_eval": "needs the Hub; tests/lm_eval_bridge runs stock lm-eval and lm-eval's tasks from files",
    "darumeru judge": "none of these tasks has a judge; tests/judge runs the command",
}
PYTHON_NOT_RUN = {"Trainer(...": "a line to put into one's own training; tests/live runs it with transformers and trl"}
# The copying tasks of a server without a tokenizer at hand are named and not scored, as the line says.
CODES = {"/normal/v1": 1}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, fake_server: str) -> Reader:
    words = WORDS | {"http://host:8000/v1": f"{fake_server}/normal/v1 --data bundled --limit 2"}
    return Reader(fresh_clone(tmp_path_factory.mktemp("clone")), environment(), words, NOT_RUN, CODES)


def test_readmes_commands_run_in_their_order(reader: Reader) -> None:
    told = [line for block in _blocks("README.md", "sh") for line in reader.lines(block)]
    for line in told:
        reader.types(line)
    assert len(told) >= 15
    # README's own sequence ends in a board of its two runs, a page, and a task of one's own.
    assert (reader.folder / "report.html").stat().st_size > 10_000 and (reader.folder / "questions.yaml").exists()


def test_readmes_python_runs(reader: Reader) -> None:
    for block in _blocks("README.md", "python"):
        if not any(words in block.text for words in PYTHON_NOT_RUN):
            reader.python(block.text.replace('model="PATH"', 'model="PATH", limit=2'))


def _blocks(page: str, language: str) -> list[Block]:
    return [block for block in blocks(ROOT / page) if block.language == language and not block.not_run]


def test_the_russian_readme_has_the_same_commands() -> None:
    """Each of its lines begins as a line of README begins: the same verb and the same options."""

    def shape(line: str) -> tuple[str, ...]:
        words = line.partition("#")[0].split()
        return (*words[:2], *(word for word in words if word.startswith("--")))

    english = {shape(line) for page in ("README.md", "docs/training.md") for line in _lines(page)}
    english_verbs = {one[:2]: set(one[2:]) for one in english}
    for line in _lines("README.ru.md"):
        found = shape(line)
        allowed = set().union(*(one[2:] for one in english if one[:2] == found[:2]))
        assert found[:2] in english_verbs and set(found[2:]) <= allowed, line


def _lines(page: str) -> Iterator[str]:
    for block in _blocks(page, "sh"):
        yield from block.text.splitlines()
