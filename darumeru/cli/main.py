"""The `darumeru` command: verbs, one file each; mistakes of the user become one line and exit code 2."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NoReturn

import typer

from darumeru.core.errors import RunFailed, UserError
from darumeru.core.registry import Registry, say_plainly
from darumeru.core.terminal import safe_streams

# The harness's own verbs in the order of the help text, one module each; plugins bring theirs behind the entry points
# `darumeru.commands`: a function that is given the Typer application.
VERBS = ("run", "tasks", "fetch", "score", "compare", "leaderboard", "report", "watch", "adapt")
BUILTIN = {verb: f"darumeru.cli.{verb}:register" for verb in VERBS}

STOPPED = "stopped; everything finished is stored, the same command goes on"

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
    """Entry point of the console script."""
    with safe_streams():
        _main()


def _main() -> None:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("DARUMERU_OWNER_PID", str(os.getpid()))
    say_plainly()
    try:
        with _unwinding():
            code = application()(standalone_mode=False)
    except UserError as error:
        _end(f"error: {error.line()}", UserError.exit_code)
    except typer.TyperException as error:
        message = error.format_message()
        _end(f"error: {message[0].lower()}{message[1:]}" if message else "", UserError.exit_code)
    except RunFailed as error:
        _end(f"failed: {error}", RunFailed.exit_code)
    except Terminated:
        _end(STOPPED, 128 + signal.SIGTERM)
    # Typer makes an exit code of Ctrl-C.
    if code == 128 + signal.SIGINT:
        _end(STOPPED, code)
    sys.exit(code)


def _end(line: str, code: int) -> NoReturn:
    if line:
        print(line, file=sys.stderr)
    sys.exit(code)


class Terminated(SystemExit):
    """SIGTERM: everything unwinds, so that engines are closed and files are whole."""


@contextmanager
def _unwinding() -> Iterator[None]:
    """SIGTERM as an exception in this process; in forked children it stays what it was."""
    owner = os.getpid()

    def stop(number: int, _frame: Any) -> None:
        if os.getpid() != owner:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        signal.signal(number, signal.SIG_IGN)
        raise Terminated(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    main()
