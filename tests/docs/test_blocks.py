"""What the pages tell to type exists: every block says what it is, every command and option is one of today."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import tomllib
from typing import Any

import pytest
import typer
import yaml

from darumeru.cli.main import application
from tests.docs.blocks import Block, blocks, commands, inline_commands, pages

ALL = [block for page in pages() for block in blocks(page)]


def _bash(script: str) -> None:
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


READ = {
    "bash": _bash,
    "yaml": lambda text: list(yaml.safe_load_all(text)),
    "toml": tomllib.loads,
    "json": json.loads,
    "python": ast.parse,
}


@pytest.mark.parametrize("block", ALL, ids=lambda block: block.place)
def test_a_block_is_what_it_says(block: Block) -> None:
    assert block.language in (*READ, "sh", "text"), "say what it is: sh, bash, python, yaml, toml, json or text"
    if block.language in READ:
        READ[block.language](block.text)


def _unknown(words: list[str]) -> str:
    """What of a command line is no verb or option of the command; "" when all of it is."""
    at: Any = typer.main.get_command(application())
    while hasattr(at, "commands"):
        if not words or words[0].startswith("-"):
            break
        if words[0] not in at.commands:
            return words[0]
        at, words = at.commands[words[0]], words[1:]
    known = {name for one in at.params for name in (*one.opts, *one.secondary_opts)} | {"--help"}
    return next((word for word in words if word.startswith("--") and word.split("=")[0] not in known), "")


def test_every_command_and_option_of_the_pages_exists() -> None:
    wrong = []
    for page in pages():
        said = [words for block in blocks(page) if block.language in ("sh", "bash") for words in commands(block)]
        wrong += [(page.name, words) for words in [*said, *inline_commands(page)] if _unknown(words)]
    assert not wrong
    assert _unknown(["run", "--modle", "X"]) == "--modle" and _unknown(["rum"]) == "rum"


def test_commands_stand_in_fenced_blocks() -> None:
    """An indented block says nothing of itself, so that nothing would run it."""
    for page in pages():
        text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.S | re.M)
        assert not re.findall(r"^    (?:[A-Z_]+=\S+ )*(?:darumeru|python -m|make) .*$", text, re.M), page.name


def _without(words: list[str], *options: str) -> tuple[str, ...]:
    """A command line without some options and their values."""
    return tuple(word for place, word in enumerate(words) if not {word, words[place - 1]} & {*options})


@pytest.mark.parametrize("name", ["README.md", "README.ru.md"])
def test_the_readmes_examples_do_not_collide(name: str) -> None:
    """No two of them write into one folder, and what `leaderboard runs/*` meets was asked alike."""
    page = next(page for page in pages() if page.name == name)
    said = [words for block in blocks(page) if block.language in ("sh", "bash") for words in commands(block)]
    runs = [words for words in said if words[:1] == ["run"] and "--output" in words]
    asked = {words[words.index("--output") + 1]: words for words in runs}
    python = "".join(block.text for block in blocks(page) if block.language == "python")
    assert len(asked) == len(runs) >= 3 and not any(f'output="{folder}"' in python for folder in asked)
    assert len({_without(words, "--model", "--output") for place, words in asked.items() if "runs/" in place}) == 1
    read = [words for words in said if words[0] in ("compare", "report", "score")]
    assert {word for words in read for word in words if word.startswith("runs/")} <= set(asked)
