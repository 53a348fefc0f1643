"""`darumeru probe`: what a model's hidden states say."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from darumeru.core.files import to_json

if TYPE_CHECKING:
    from lep_plugins.probing.languages import LanguageProbe


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Look into a model's hidden states.")
    group.command("languages")(languages)
    app.add_typer(group, name="probe")


def languages(
    model: Annotated[
        list[str], typer.Option("--model", help="Folder or Hub id; again for more: the first one is what is before.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="Folder for languages.json, languages.png and languages.html.")
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(help="Sentence, tab, translation in each line. Default: 100 bundled ones."),
    ] = None,
    pool: Annotated[str, typer.Option(help="A sentence's vector: mean (of its tokens) or last (token).")] = "mean",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Cosine similarity of the hidden states of parallel sentences, Russian against English, layer by layer.

    Given several models, of one before and after its adaptation, the curves share a figure, and the difference to the
    first one has a paired interval.
    """
    from darumeru.core.errors import UserError
    from lep_plugins.probing.languages import bundled_pairs, read_pairs
    from lep_plugins.probing.report import make_report, write_report

    for option, value, known in (("--pool", pool, ("mean", "last")), ("--dtype", dtype, DTYPES)):
        if value not in known:
            raise UserError(f"unknown value `{value}`", option, f"known: {', '.join(known)}")
    chosen = read_pairs(pairs) if pairs else bundled_pairs()
    found = {name: _probe(name, place, chosen, pool, dtype) for name, place in _named(model).items()}
    report = make_report(found)
    if output is not None:
        write_report(report, found, output.expanduser())
    if as_json:
        typer.echo(to_json(report), nl=False)
    else:
        _print(report, found)


DTYPES = ("auto", "float32", "bfloat16", "float16")


def _named(models: list[str]) -> dict[str, str]:
    """Name on the figure -> model: the folder's name where no two share it."""
    ends = [one.rstrip("/").rsplit("/", 1)[-1] for one in models]
    return {end if ends.count(end) == 1 else one: one for end, one in zip(ends, models, strict=True)}


def _probe(name: str, place: str, pairs: list[tuple[str, str]], pool: Any, dtype: str) -> LanguageProbe:
    from darumeru.core.errors import UserError
    from darumeru.models.model_files import find_model
    from darumeru.models.model_folder import load_model
    from darumeru.prompts.builder import load_tokenizer
    from lep_plugins.probing.languages import probe_languages

    print(f"{name}: {len(pairs)} pairs", file=sys.stderr, flush=True)
    folder = find_model(place).path
    try:
        return probe_languages(load_model(folder, dtype), load_tokenizer(str(folder)), pairs, pool)
    except UserError as error:
        raise UserError(f"{error.where}: {error.what}", place, error.mend) from error


def _print(report: dict[str, Any], found: dict[str, LanguageProbe]) -> None:
    from rich.table import Table

    from darumeru.core.terminal import terminal

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model", overflow="fold")
    for name in ("layers", "gain", "95 %", "best layer", "last layer", "to the first"):
        table.add_column(name, justify="right")
    for name, probe in found.items():
        best = max(probe.layers[1:], key=lambda one: one.gain)
        change = report["models"][name].get("difference")
        table.add_row(
            name,
            str(len(probe.layers) - 1),
            f"{probe.gain:.3f}",
            f"{probe.low:.3f} to {probe.high:.3f}",
            f"{best.gain:.3f} ({best.layer})",
            f"{probe.layers[-1].gain:.3f}",
            "" if change is None else f"{change[0]:+.3f} [{change[1]:+.3f}, {change[2]:+.3f}]",
        )
    terminal().print(table)
