"""SVG markup from values: every attribute and every text escaped, nothing else written."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

# Not allowed in XML, and of no use on a picture: controls but tab and line ends, lone surrogates, non-characters.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def element(name: str, *children: str, **attributes: str | float | None) -> Markup:
    """<name ...>children</name>. Attribute names: `_` stands for `-`, a trailing one is dropped (class_). None leaves
    an attribute out; numbers are written with at most two decimals. Children that are not Markup are escaped."""
    parts = [f"<{name}"]
    for key, value in attributes.items():
        if value is not None:
            parts.append(f' {key.rstrip("_").replace("_", "-")}="{escape(clean(number(value)))}"')
    inside = Markup("").join(child if isinstance(child, Markup) else clean(child) for child in children)
    return Markup("".join(parts) + ">") + inside + Markup(f"</{name}>")


def number(value: str | float) -> str:
    """A length or a text as an attribute."""
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


def clean(text: str) -> str:
    """The text without characters that XML forbids."""
    return _NOT_XML.sub("\ufffd", text)


def shorten(text: str, most: int) -> str:
    """At most that many characters, the cut shown."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def picture(width: float, height: float, about: str, *children: str, **attributes: str | float | None) -> Markup:
    """The <svg> element; about: what screen readers say of it."""
    return element(
        "svg",
        *children,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {number(width)} {number(height)}",
        role="img",
        aria_label=about,
        font_family="system-ui, sans-serif",
        font_size=12.0,
        **attributes,
    )
