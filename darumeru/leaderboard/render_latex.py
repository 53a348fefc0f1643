"""The board as a LaTeX table (booktabs; letters beyond ASCII are kept: XeLaTeX, LuaLaTeX, or T2A with babel)."""

from __future__ import annotations

from darumeru.leaderboard.cell_text import cell_of, cell_signs, details, legend, signs
from darumeru.leaderboard.table import Mark, Row, Table

MOST_LEVEL = 8
"""Columns up to which titles are not turned."""
SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "≈": r"$\approx$",
    "†": r"\dag{}",
    "–": "--",
    "×": r"$\times$",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
}


def render(table: Table) -> str:
    """A `table*` environment for \\usepackage{booktabs,graphicx}; a table wider than the page is scaled to it."""
    titles = [escape(column.heading) for column in table.columns]
    if len(titles) > MOST_LEVEL:
        titles = [rf"\rotatebox{{90}}{{{title}}}" for title in titles]
    head = ["\\#", "Model", *titles, *map(escape, table.details)]
    notes = [*legend(table, "bold:"), *(note.en for note in table.footer)]
    lines = [
        "% needs \\usepackage{booktabs,graphicx}",
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{{escape(table.title)}}}",
        r"\setlength{\tabcolsep}{4pt}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{rl{'r' * len(table.columns)}{'l' * len(table.details)}}}",
        r"\toprule",
        " & ".join(head) + r" \\",
        r"\midrule",
        *(" & ".join(_cells(row, table)) + r" \\" for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}}",
    ]
    if notes:
        text = " ".join(escape(note if note.endswith(".") else note + ".") for note in notes)
        lines.append(rf"\par\smallskip\begin{{minipage}}{{\linewidth}}\footnotesize {text}\end{{minipage}}")
    return "\n".join([*lines, r"\end{table*}"]) + "\n"


def escape(text: str) -> str:
    """Text in which no character has a meaning for LaTeX."""
    return "".join(SPECIAL.get(letter, letter) for letter in " ".join(text.split()))


def _cells(row: Row, table: Table) -> list[str]:
    found = [str(row.rank) if row.rank else "--", escape(f"{row.name} {signs(row.marks)}".rstrip())]
    for column in table.columns:
        cell = cell_of(row, column)
        text = escape(column.text(cell)).replace("-", "$-$") if cell.value is not None else "--"
        if Mark.BEST in cell.marks:
            text = rf"\textbf{{{text}}}"
        text += escape(cell_signs(row, cell))
        if column.kind == "aggregate" and column.interval(cell):
            text += rf" {{\scriptsize ({escape(column.interval(cell))})}}"
        found.append(text)
    return found + [escape(text) for text in details(row, table)]
