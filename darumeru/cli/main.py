"""The `darumeru` command: verbs, one file each; mistakes of the user become one line and exit code 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache

import typer

from darumeru.core.errors import RunFailed, UserError
from darumeru.core.registry import Registry, say_plainly

# The harness's own verbs in the order of the help text, one module each; plugins bring theirs behind the entry points
# `darumeru.commands`: a function that is given the Typer application.
VERBS = ("run", "tasks", "fetch", "score", "compare", "leaderboard", "report", "watch", "adapt")
BUILTIN = {verb: f"darumeru.cli.{verb}:register" for verb in VERBS}

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


@cache
def application() -> typer.Typer:
    """The command with every verb; a plugin's that cannot be imported is a named warning."""
    commands: Registry[Callable[[typer.Typer], None]] = Registry("darumeru.commands", "command", BUILTIN)
    for register in commands.available().values():
        register(app)
    return app


def main() -> None:
    """Entry point of the console script; also the owner that engine child processes watch."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("DARUMERU_OWNER_PID", str(os.getpid()))
    say_plainly()
    try:
        application()(standalone_mode=True)
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
