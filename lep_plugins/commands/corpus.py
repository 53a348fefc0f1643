"""`darumeru corpus`: clean text for continued pre-training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command("corpus")(corpus)


def corpus(
    files: Annotated[list[Path], typer.Argument(help="Plain text, JSON lines or Parquet; also .xz and .gz.")],
    output: Annotated[Path, typer.Option(help="Folder for text.jsonl, dropped.jsonl and report.json.")],
    language: Annotated[str, typer.Option(help="ru or en.")] = "ru",
    field: Annotated[str, typer.Option(help="Text field of JSON lines, text column of Parquet.")] = "text",
    split: Annotated[str, typer.Option(help="What ends a document of plain text: blank (line) or line.")] = "blank",
    language_score: Annotated[
        float | None, typer.Option(min=0, max=1, help="Least score of the language. Default: fitted to the text.")
    ] = None,
    deduplicate: Annotated[bool, typer.Option("--dedup/--no-dedup", help="Drop near duplicates (MinHash).")] = True,
    min_words: Annotated[int, typer.Option(min=1, help="Least words of a document.")] = 50,
    reference: Annotated[
        list[Path] | None, typer.Option(help="Good text that thresholds are fitted to. Default: the authors' ones.")
    ] = None,
    tail: Annotated[float, typer.Option(min=0, max=0.49, help="Share of the reference beyond a threshold.")] = 0.02,
    rehydrate: Annotated[int, typer.Option(min=1, help="Most copies of a document that had duplicates.")] = 10,
) -> None:
    """Clean text as FineWeb2 does: language, near duplicates, quality, rehydration; the same command goes on after any
    stop.

    What was dropped, and why, is in dropped.jsonl and report.json.
    """
    from darumeru.core.errors import UserError
    from lep_plugins.corpora.step import CorpusStep, clean

    if split not in ("blank", "line"):
        raise UserError(f"unknown value `{split}`", "--split", "known: blank, line")
    step = CorpusStep(
        tuple(map(str, files)),
        language=language,
        field=field,
        split=split,  # type: ignore[arg-type]
        language_score=language_score,
        deduplicate=deduplicate,
        min_words=min_words,
        reference=tuple(map(str, reference or ())),
        tail=tail,
        rehydrate=rehydrate,
    )
    text = clean(step, output.expanduser(), lambda line: print(line, file=sys.stderr, flush=True))
    typer.echo(str(text))
