"""Text from outside (names, answers, errors of servers) on its way to a terminal: nothing in it can steer one."""

from __future__ import annotations

import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from darumeru.core.secrets import redacted

if TYPE_CHECKING:
    from rich.console import Console

# Controls, marks that turn the direction of writing, halves of characters, what no font has.
_STEERING = frozenset(("Cc", "Cf", "Cs", "Co", "Zl", "Zp"))


def printable(text: str) -> str:
    """The text with every character that steers a terminal written as an escape; line feeds and tabs stay."""
    return text if text.isprintable() else "".join(map(_shown, text))


def one_line(text: str) -> str:
    """The text as a name in a table or a message: printable, white space as single blanks."""
    return " ".join(printable(text).split())


def _shown(letter: str) -> str:
    if letter in "\n\t" or unicodedata.category(letter) not in _STEERING:
        return letter
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def wrapped(text: str, stream: TextIO) -> str:
    """The text for a stream: broken at words where that is a terminal, which would break inside them; otherwise as it
    is."""
    if not stream.isatty():
        return text
    width = max(shutil.get_terminal_size().columns, 20)
    return "\n".join(_filled(line, width) for line in text.split("\n"))


def _filled(line: str, width: int) -> str:
    indent = " " * (len(line) - len(line.lstrip(" ")) + 2)
    return textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


class SafeStream:
    """A text stream that writes only printable text; hides: also without secrets."""

    def __init__(self, stream: TextIO, hides: bool) -> None:
        self.stream = stream
        self._hides = hides

    def write(self, text: str) -> int:
        self.stream.write(printable(str(redacted(text)) if self._hides else text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def safe_streams() -> Iterator[None]:
    """Standard output and error as SafeStream."""
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = SafeStream(out, hides=False), SafeStream(err, hides=True)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err


def terminal(stderr: bool = False, **options: Any) -> Console:
    """A rich console whose own colours and movements pass and whose texts are printable."""
    from rich.console import Console, RenderHook

    class Cleaned(RenderHook):
        def process_renderables(self, renderables: list[Any]) -> list[Any]:
            return [_Printable(one) for one in renderables]

    stream = sys.stderr if stderr else sys.stdout
    made = Console(file=stream.stream if isinstance(stream, SafeStream) else stream, stderr=stderr, **options)
    made.push_render_hook(Cleaned())
    return made


class _Printable:
    """A rich renderable with its texts made printable."""

    def __init__(self, renderable: Any) -> None:
        self._renderable = renderable

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.segment import Segment

        for segment in console.render(self._renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)
