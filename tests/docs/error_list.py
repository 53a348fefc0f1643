"""docs/errors.md: every message of a user's mistake with its mend, read from the source.

`python -m tests.docs.error_list` writes the page anew; a test compares it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.shared_data import ROOT

PAGE = ROOT / "docs" / "errors.md"
ERRORS = ("UserError", "TaskRefused", "WrongValue")
HEAD = """# Messages and their mends

Every mistake that Darumeru tells of in one line (exit code 2), by the part of the program that finds it; `…` stands for
a name, a path or a number of yours. The line itself also says where: the file and line, the field, the option. What
fails while it is done (exit code 1) is in [troubleshooting](troubleshooting.md). This page is written from the source.

"""


def messages() -> Iterator[tuple[str, str, str]]:
    """(part of the program, what is wrong, how to mend it), in the order of the files."""
    for package in ("darumeru", "lep_plugins"):
        for path in sorted((ROOT / package).rglob("*.py")):
            part = ".".join(path.relative_to(ROOT).parts[:2]).removesuffix(".py")
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS:
                    said = _said(node, first=1 if node.func.id == "WrongValue" else 0)
                    if said[0].strip("… .:;"):
                        yield (part, *said)


def _said(call: ast.Call, first: int) -> tuple[str, str]:
    """Message and mend of a call; WrongValue has the option's name before both."""
    named = {word.arg: word.value for word in call.keywords}
    places = [*call.args]
    what = named.get("what") or (places[first] if len(places) > first else None)
    at = 2
    mend = named.get("mend") or (places[at] if len(places) > at else None)
    return _text(what), _text(mend)


def _text(node: ast.expr | None) -> str:
    """A string of the source, with `…` for what is put in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    return "" if node is None or isinstance(node, ast.Constant) else "…"


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    part = ""
    seen: set[tuple[str, ...]] = set()
    for one in messages():
        if one in seen:
            continue
        seen.add(one)
        if one[0] != part:
            part = one[0]
            lines.append(f"\n## {part}\n\n| message | mend |\n|---|---|\n")
        lines.append(f"| {_cell(one[1])} | {_cell(one[2])} |\n")
    return "".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;") if text != "…" else ""


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
