"""What the pages tell to type exists: every block says what it is, every command and option is one of today."""

from __future__ import annotations

import ast
import json
import tomllib
from typing import Any

import pytest
import typer
import yaml

from darumeru.cli.main import application
from tests.docs.blocks import Block, blocks, commands, inline_commands, pages

ALL = [block for page in pages() for block in blocks(page)]
READ = {"yaml": yaml.safe_load, "toml": tomllib.loads, "json": json.loads, "python": ast.parse}


@pytest.mark.parametrize("block", ALL, ids=lambda block: block.place)
def test_a_block_is_what_it_says(block: Block) -> None:
    assert block.language in (*READ, "sh", "text"), "say what it is: sh, python, yaml, toml, json or text"
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
        said = [words for block in blocks(page) if block.language == "sh" for words in commands(block)]
        wrong += [(page.name, words) for words in [*said, *inline_commands(page)] if _unknown(words)]
    assert not wrong
    assert _unknown(["run", "--modle", "X"]) == "--modle" and _unknown(["rum"]) == "rum"
