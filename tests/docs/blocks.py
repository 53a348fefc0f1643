"""The code blocks of the project's pages, and what each of them promises."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.shared_data import ROOT

PAGES = ("README.md", "README.ru.md", "CONTRIBUTING.md", "demo/README.md", "leaderboards/README.md")
# A comment before a block: why no test runs it. It is not shown on the page.
NOT_RUN = re.compile(r"<!-- not run here: (?P<reason>[^>]+) -->\s*\Z")
_BLOCK = re.compile(r"^```(?P<language>[\w-]*)\n(?P<text>.*?)^```", re.S | re.M)


@dataclass(frozen=True)
class Block:
    """One fenced block. language: sh and python are run, bash (scripts), yaml, toml and json are read, text is what a
    screen shows.
    not_run: the reason that the page gives, "" for a block that is run."""

    page: str
    line: int
    language: str
    text: str
    not_run: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    return [ROOT / page for page in PAGES if (ROOT / page).exists()] + sorted((ROOT / "docs").glob("*.md"))


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        before = NOT_RUN.search(text[: match.start()])
        line = text[: match.start()].count("\n") + 1
        name = str(page.relative_to(ROOT))
        found.append(Block(name, line, match["language"], match["text"], before["reason"] if before else ""))
    return found


def commands(block: Block) -> Iterator[list[str]]:
    """The `darumeru` commands of a shell block as lists of words, without their comments."""
    for line in block.text.replace("\\\n", " ").splitlines():
        plain = re.sub(r"\$\([^)]*\)|<\w+>", "X", line)
        words = shlex.split(plain, comments=True)
        for start, word in enumerate(words):
            if word == "darumeru":
                end = next((i for i, one in enumerate(words) if i > start and one in ("|", "&&", ">", "&", ";")), None)
                yield words[start + 1 : end]
                break


def inline_commands(page: Path) -> Iterator[list[str]]:
    """`darumeru ...` between single backticks."""
    text = _BLOCK.sub("", page.read_text("utf-8"))
    for match in re.finditer(r"(?<!`)`darumeru ([^`\n]+)`(?!`)", text):
        yield shlex.split(match[1].split(" > ")[0].split(" | ")[0])
