"""`darumeru vocab`: make, initialize and compare vocabularies."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lep_plugins.vocabulary.bpe import Texts
    from lep_plugins.vocabulary.corpus import Corpus
    from lep_plugins.vocabulary.stats import TokenizerStats


class Variadic(TyperCommand):
    """A command whose repeatable options take several values at once: `--corpus a b` is `--corpus a --corpus b`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        repeatable = {name for param in self.params if getattr(param, "multiple", False) for name in param.opts}
        expanded: list[str] = []
        option: str | None = None
        for argument in args:
            if argument.startswith("-"):
                option = argument if argument in repeatable else None
            elif option is not None and expanded[-1] != option:
                expanded.append(option)
            expanded.append(argument)
        return super().parse_args(ctx, expanded)


def register(app: typer.Typer) -> None:
    vocab = typer.Typer(help="Make, initialize and compare vocabularies.", no_args_is_help=True)
    add = partial(vocab.command, cls=Variadic)
    add("train", help="A new vocabulary in place of the old one.")(train)
    add("extend", help="The old vocabulary and new Russian tokens; other text is tokenized as before.")(extend)
    add("optimize", help="The old tokens that matter, and new Russian tokens.")(optimize)
    add("merge", help="The old vocabulary and the pieces of a trained Unigram tokenizer.")(merge)
    add("trim", help="The old vocabulary without the tokens that a corpus never uses.")(trim)
    add("init", help="A model with a new tokenizer and initialized embeddings.")(init)
    add("stats", help="How well tokenizers fit a corpus.")(stats)
    app.add_typer(vocab, name="vocab")


Model = Annotated[str, typer.Option(help="Folder or Hub name of the model.")]
Files = Annotated[
    list[Path], typer.Option("--corpus", metavar="FILES", help="Text, JSONL or Parquet; also .xz and .gz.")
]
Output = Annotated[Path, typer.Option(help="A new or empty folder.")]
Size = Annotated[int, typer.Option(min=1, help="Tokens of the new vocabulary in all.")]
Scheme = Annotated[str, typer.Option(help="bpe or unigram.")]
Field = Annotated[str, typer.Option(help="Text field of JSON lines, text column of Parquet.")]
ScriptName = Annotated[str, typer.Option("--script", help="cyrillic: new tokens cannot occur in other text; or any.")]
MinFrequency = Annotated[int, typer.Option(min=1, help="Occurrences that a new merge needs.")]


def train(
    model: Model,
    corpus: Files,
    size: Size,
    output: Output,
    scheme: Scheme = "bpe",
    normalization: Annotated[
        str, typer.Option(help="NFKC, NFC or none; byte-level tokenizers keep their own.")
    ] = "NFKC",
    coverage: Annotated[
        float, typer.Option(min=0.5, max=1.0, help="Share of characters that get tokens of their own.")
    ] = 0.9995,
    seeds: Annotated[int, typer.Option(min=1000, help="Candidates that unigram chooses from.")] = 100_000,
    field: Field = "text",
) -> None:
    from lep_plugins.vocabulary.steps import VocabBpe, VocabUnigram

    unigram = _choice("--scheme", scheme, ("bpe", "unigram")) == "unigram"
    chosen: Any = _choice("--normalization", normalization, ("NFKC", "NFC", "none"))
    shared: Any = {"field": field, "size": size, "normalization": chosen, "coverage": coverage}
    step = VocabUnigram(_names(corpus), seeds=seeds, **shared) if unigram else VocabBpe(_names(corpus), **shared)
    _make(step, model, output)


def extend(
    model: Model,
    corpus: Files,
    size: Size,
    output: Output,
    scheme: Scheme = "bpe",
    script: ScriptName = "cyrillic",
    min_frequency: MinFrequency = 2,
    field: Field = "text",
) -> None:
    from lep_plugins.vocabulary.steps import VocabExtend

    _only_bpe(scheme)
    chosen: Any = _choice("--script", script, ("cyrillic", "any"))
    step = VocabExtend(_names(corpus), field=field, size=size, script=chosen, min_frequency=min_frequency)
    _make(step, model, output)


def optimize(
    model: Model,
    corpus: Files,
    size: Size,
    output: Output,
    scheme: Scheme = "bpe",
    keep: Annotated[int | None, typer.Option(min=1, help="Old tokens to keep (half of them by default).")] = None,
    script: ScriptName = "cyrillic",
    min_frequency: MinFrequency = 2,
    field: Field = "text",
) -> None:
    from lep_plugins.vocabulary.steps import VocabOptimize

    _only_bpe(scheme)
    chosen: Any = _choice("--script", script, ("cyrillic", "any"))
    step = VocabOptimize(_names(corpus), field=field, size=size, keep=keep, script=chosen, min_frequency=min_frequency)
    _make(step, model, output)


def merge(
    model: Model,
    pieces: Annotated[
        str, typer.Option(help="Folder of a Unigram tokenizer, as `vocab train --scheme unigram` makes.")
    ],
    output: Output,
    size: Annotated[
        int | None, typer.Option(min=1, help="Tokens in all; as many as the pieces need by default.")
    ] = None,
    script: ScriptName = "cyrillic",
    min_letters: Annotated[int, typer.Option(min=1, help="Letters that a piece must have.")] = 1,
    top: Annotated[int | None, typer.Option(min=1, help="Only so many of the likeliest pieces.")] = None,
) -> None:
    from lep_plugins.vocabulary.steps import VocabMerge

    chosen: Any = _choice("--script", script, ("cyrillic", "any"))
    step = VocabMerge(pieces=pieces, size=size, script=chosen, min_letters=min_letters, top=top)
    step.make_tokenizer(model, output, say=_say)
    typer.echo(str(output))


def trim(
    model: Model,
    corpus: Files,
    output: Output,
    min_count: Annotated[int, typer.Option(min=1, help="Occurrences that save a token.")] = 1,
    field: Field = "text",
) -> None:
    from lep_plugins.vocabulary.steps import VocabTrim

    _make(VocabTrim(_names(corpus), field=field, min_count=min_count), model, output)


def init(
    model: Model,
    tokenizer: Annotated[str, typer.Option(help="Folder of the new tokenizer (a donor model for omp).")],
    output: Output,
    method: Annotated[
        str, typer.Option(help="mean, multivariate, cw2v, omp, focus, ofa, distill, zett, or one of a plugin.")
    ] = "mean",
    corpus: Annotated[
        list[Path] | None, typer.Option("--corpus", metavar="FILES", help="Text for cw2v, focus and distill.")
    ] = None,
    field: Field = "text",
    seed: Annotated[int, typer.Option(help="Of every random choice.")] = 0,
    layer: Annotated[int, typer.Option(help="distill: match the states after this layer; -1 is the last.")] = -1,
    snippets: Annotated[int, typer.Option(help="distill: of each new token.")] = 25,
    snippet_length: Annotated[int, typer.Option(help="distill: old tokens of a snippet.")] = 50,
    batch: Annotated[int, typer.Option(help="distill: snippets at a time.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="distill.")] = 1e-4,
    dtype: Annotated[str, typer.Option(help="distill: auto (as stored), float32 or bfloat16.")] = "auto",
    vectors: Annotated[
        str | None, typer.Option(metavar="FILE", help="focus: vectors of token ids; ofa: of words, both languages.")
    ] = None,
    rank: Annotated[int | None, typer.Option(help="ofa: of the factorization; all of it by default.")] = None,
    hypernet: Annotated[str | None, typer.Option(metavar="FILE", help="zett: an exported hypernetwork.")] = None,
) -> None:
    from lep_plugins.initialization import initialize_embeddings
    from lep_plugins.initialization.options import InitOptions

    kind: Any = _choice("--dtype", dtype, ("auto", "float32", "bfloat16"))
    options = InitOptions(layer, snippets, snippet_length, batch, learning_rate, kind, vectors, rank, hypernet)
    with _bytes("writing the model") as bar:
        initialize_embeddings(
            model, tokenizer, output, method, corpus or (), seed, bar, _say, field=field, options=options
        )
    typer.echo(str(output))


def stats(
    tokenizer: Annotated[list[str], typer.Option("--tokenizer", metavar="A B C", help="Folders or Hub names.")],
    corpus: Files,
    field: Field = "text",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    import json

    from darumeru.models.model_files import find_folder
    from darumeru.models.token_bytes import load_tokenizer
    from lep_plugins.vocabulary.corpus import Corpus
    from lep_plugins.vocabulary.stats import tokenizer_stats

    files = Corpus.of(corpus, field)
    found = [
        (name, load_tokenizer(name if Path(name).is_file() else find_folder(name, weights=False))) for name in tokenizer
    ]
    rows = []
    for name, made in found:
        with _reading(files, Path(name).name) as texts:
            rows.append(tokenizer_stats(name, made, lambda texts=texts: texts("NFC")))  # type: ignore[misc]
    if as_json:
        typer.echo(json.dumps([row.record() for row in rows], ensure_ascii=False, indent=2))
        return
    _print_stats(rows)


def _print_stats(rows: list[TokenizerStats]) -> None:
    from rich.table import Table

    from darumeru.core.terminal import terminal

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("tokenizer", overflow="fold")
    for name in ("size", "symbols per token", "tokens per word", "coverage", "round trip"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row.name,
            str(row.size),
            f"{row.symbols_per_token:.3f}",
            f"{row.tokens_per_word:.3f}",
            f"{row.coverage:.2%}",
            f"{row.round_trip:.2%}",
        )
    terminal().print(table)


def _make(step: Any, model: str, output: Path) -> None:
    from lep_plugins.vocabulary.corpus import Corpus

    with _reading(Corpus.of(step.corpus, step.field), "reading the corpus") as texts:
        step.make_tokenizer(model, output, texts, _say)
    typer.echo(str(output))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _names(corpus: list[Path]) -> tuple[str, ...]:
    return tuple(map(str, corpus))


def _choice(option: str, value: str, known: tuple[str, ...]) -> str:
    from darumeru.core.errors import UserError, near_names

    if value not in known:
        near = near_names(value, known)
        raise UserError(f'unknown value "{value}"', option, f"known: {', '.join(known)}", near=near)
    return value


def _only_bpe(scheme: str) -> None:
    from darumeru.core.errors import UserError

    if _choice("--scheme", scheme, ("bpe", "unigram")) != "bpe":
        raise UserError("an extension continues BPE merges", "--scheme", "unigram is for `vocab train`")


@contextmanager
def _reading(corpus: Corpus, what: str) -> Iterator[Texts]:
    """Opens the corpus as often as asked, with a bar over its bytes where stderr is a terminal."""
    with _bytes(what) as bar:

        def texts(normalization: Any = "NFC") -> Iterable[str]:
            done = 0

            def advance(count: int) -> None:
                nonlocal done
                done += count
                bar(done, corpus.size)

            return corpus.texts(normalization, advance)

        yield texts


@contextmanager
def _bytes(what: str) -> Iterator[Any]:
    """A progress bar over bytes on stderr, called with (done, total); silent where stderr is no terminal."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from darumeru.core.terminal import terminal

    console = terminal(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
