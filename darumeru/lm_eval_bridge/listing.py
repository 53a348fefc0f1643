"""`darumeru tasks list --source lm-eval`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from darumeru.lm_eval_bridge.catalogue import Name, own_catalogue
from darumeru.lm_eval_bridge.languages import is_in
from darumeru.lm_eval_bridge.versions import tasks_root

PREFIX = "lm_eval:"
# Columns of a terminal that shows more than names, and of a pipe.
WIDE, PIPE = 150, 220


def print_tasks(language: str | None, as_json: bool) -> None:
    """Print lm-eval's tasks, groups and tags on stdout, those in `language` when it is given, as a table or as JSON;
    files that lm-eval drops because they are broken are named on stderr. UserError when lm-eval cannot be used."""
    found = own_catalogue()
    chosen = [name for name in found.names.values() if language is None or is_in(name, language, found.names)]
    chosen.sort(key=lambda name: name.name)
    if as_json:
        print(json.dumps([_document(name) for name in chosen], ensure_ascii=False, indent=2))
    else:
        _print_table(chosen, language)
    for where, reason in found.broken.items():
        print(f"lm-eval leaves out {where}: {reason}", file=sys.stderr)


def _document(name: Name) -> dict[str, Any]:
    return {
        "name": f"{PREFIX}{name.name}",
        "kind": name.kind,
        "method": name.output_type or None,
        "dataset": name.dataset or None,
        "subset": name.subset or None,
        "members": list(name.members),
        "file": _shown(name),
    }


def _shown(name: Name) -> str | None:
    return None if name.path is None else str(Path(name.path).relative_to(tasks_root()))


def _print_table(names: list[Name], language: str | None) -> None:
    from rich.table import Table

    from darumeru.core.terminal import terminal

    console = terminal()
    if not console.is_terminal:
        console = terminal(width=PIPE)
    columns = ("task", "kind", "method", "data set")[: 4 if console.width >= WIDE else 2]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=True)
    for name in names:
        data = f"{len(name.members)} members" if name.members else "/".join(filter(None, (name.dataset, name.subset)))
        table.add_row(*(f"{PREFIX}{name.name}", name.kind, name.output_type, data)[: len(columns)])
    spoken = f" in {language}, as far as their names say" if language else ""
    console.print(table, f"{len(names)} names{spoken}. Run them with --tasks {PREFIX}NAME; globs work too.")
