"""One self-contained HTML page from a Jinja template: style and script inside, no request to anywhere.

A content security policy names the hashes of the page's own script and style, so that nothing else can run even if
some text found its way into markup.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from darumeru.core.numbers import number, percent
from darumeru.leaderboard.note import Note
from darumeru.leaderboard.words import WORDS

if TYPE_CHECKING:
    from jinja2 import Environment

_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


@dataclass(frozen=True)
class Served:
    """What a page of `darumeru view` has beside that of a file. version: of what it was made from; the page asks for
    that and renews itself. home: address of the overview; "" on that page itself."""

    version: str
    home: str = ""


def render_page(template: str, scripts: Sequence[str], served: Served | None = None, **values: Any) -> str:
    """The filled template. scripts: files of templates/ that make up the page's one script. Lone surrogates, which no
    UTF-8 file can hold, come out as U+FFFD."""
    names = ["common.js", *(["live.js"] if served else []), *scripts]
    style, script = _file("page.css"), "\n".join(map(_file, names))
    own = "connect-src 'self'; form-action 'self'" if served else "form-action 'none'"
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; "
        f"base-uri 'none'; {own}"
    )
    text = _environment().get_template(template).render(
        policy=policy, style=Markup(style), script=Markup(script), words=embed_json(WORDS), served=served, **values
    )  # fmt: skip
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def embed_json(value: Any) -> Markup:
    """JSON that can stand inside a <script> element whatever texts it holds."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character, escaped in _ESCAPES.items():
        text = text.replace(character, escaped)
    return Markup(text)


def word(key: str) -> Markup:
    """A text of the interface; the page's script puts it into the reader's language."""
    return Markup('<span data-t="{}">{}</span>').format(key, WORDS["en"][key])


def word_attribute(attribute: str, key: str) -> Markup:
    """The same as an attribute."""
    return Markup('{0}="{1}" data-t-{0}="{2}"').format(attribute, WORDS["en"][key], key)


def note(said: Note) -> Markup:
    """A sentence; the page's script puts it into the reader's language."""
    return Markup('<bdi data-en="{0}" data-ru="{1}">{0}</bdi>').format(said.en, said.ru)


def score_text(value: float | None, digits: int = 3) -> str:
    """A number as core.numbers writes it, with a typographic minus."""
    return number(value, digits).replace("-", "−")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("darumeru.leaderboard", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"t": word, "t_attr": word_attribute, "note": note}
    environment.filters |= {"score": score_text, "percent": percent}
    return environment


@cache
def _file(name: str) -> str:
    from importlib.resources import files

    return files("darumeru.leaderboard").joinpath("templates", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
