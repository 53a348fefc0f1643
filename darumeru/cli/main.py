"""The `darumeru` command: verbs, one file each; mistakes of the user become one line and exit code 2."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import typer

from darumeru.errors import RunFailed, UserError

# The order of the help text. A module of this package that is neither here nor in PARTS is a verb too and comes last.
ORDER = ("run", "tasks", "fetch", "score", "compare", "leaderboard", "report", "watch", "adapt", "lep", "vocab")
PARTS = {"main", "adapt_progress", "arguments", "progress", "result_table"}

app = typer.Typer(
    name="darumeru",
    help="Benchmark for Russian language models, during and after their adaptation.\n\n"
    "Start with: darumeru run --model PATH --data bundled --output runs/first",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def top(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"darumeru {installed('darumeru')}")
        raise typer.Exit


def verbs() -> list[str]:
    """Names of the verbs: one module each."""
    found = {module.name for module in iter_modules([str(Path(__file__).parent)])} - PARTS
    return [name for name in ORDER if name in found] + sorted(found - set(ORDER))


for _verb in verbs():
    import_module(f"darumeru.cli.{_verb}").register(app)


def main() -> None:
    """Entry point of the console script; also the owner that engine child processes watch."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("DARUMERU_OWNER_PID", str(os.getpid()))
    try:
        app(standalone_mode=True)
    except UserError as error:
        print(f"error: {error.line()}", file=sys.stderr)
        sys.exit(UserError.exit_code)
    except RunFailed as error:
        print(f"failed: {error}", file=sys.stderr)
        sys.exit(RunFailed.exit_code)
    except KeyboardInterrupt:
        print("stopped; everything finished is stored, the same command goes on", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
