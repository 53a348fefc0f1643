"""The `darumeru` command: verbs, one file each; mistakes of the user become one line and exit code 2."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import typer

from darumeru.core.errors import RunFailed, UserError
from darumeru.core.files import FULL_DISK, no_room
from darumeru.core.packages import EXTRAS, missing
from darumeru.core.registry import Registry, say_plainly
from darumeru.core.terminal import safe_streams, wrapped

# The harness's own verbs in the order of the help text, one module each; plugins bring theirs behind the entry points
# `darumeru.commands`: a function that is given the Typer application.
VERBS = (
    "run",
    "tasks",
    "fetch",
    "score",
    "judge",
    "compare",
    "leaderboard",
    "arena",
    "report",
    "view",
    "export",
    "publish",
    "watch",
    "adapt",
    "doctor",
)
BUILTIN = {verb: f"darumeru.cli.{verb}:register" for verb in VERBS}

# How long engines and files may take to be closed after a signal, before the processes of engines are killed.
UNWIND_SECONDS = 4.0

app = typer.Typer(
    name="darumeru",
    help="Benchmark for Russian language models, during and after their adaptation.\n\n"
    "Start with: darumeru run --model PATH --data bundled --output runs/first",
    no_args_is_help=True,
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
    # transformers advises to install torch; the verbs that need it say so themselves.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    say_plainly()
    try:
        with _unwinding():
            code = application()(standalone_mode=False)
    except UserError as error:
        _end(f"error: {error.line()}", UserError.exit_code)
    except typer.TyperException as error:
        message = error.format_message()
        _end(f"error: {message[0].lower()}{message[1:]}" if message else "", UserError.exit_code)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        _end(f"error: {missing(package).line()}", UserError.exit_code)
    except RunFailed as error:
        _end(f"failed: {error}", RunFailed.exit_code)
    except Terminated as stop:
        done = "; ".join(getattr(stop, "__notes__", ())) or "everything finished is stored"
        _end(f"stopped; {done}; the same command goes on", stop.code)
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        place = Path(str(error.filename)).parent if error.filename else "the disk"
        _end(f"failed: {no_room(place)}", RunFailed.exit_code)
    sys.exit(code)


def _end(line: str, code: int) -> NoReturn:
    if line:
        with suppress(OSError):  # after SIGHUP there may be no terminal any more
            print(wrapped(line, sys.stderr), file=sys.stderr)
    sys.exit(code)


class Terminated(SystemExit):
    """SIGINT, SIGTERM or SIGHUP: everything unwinds, so that engines are closed and files are whole. Notes say what is
    stored."""

    code: int


@contextmanager
def _unwinding() -> Iterator[None]:
    """The signals as an exception in this process; in forked children they stay what they were. What is ignored (nohup,
    a job in the background) stays ignored."""
    owner = os.getpid()
    began = 0.0

    def stop(number: int, _frame: Any) -> None:
        nonlocal began
        if os.getpid() != owner:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        # A terminal and a user's impatience send several; only a late one interrupts the unwinding itself.
        if began and time.monotonic() - began < UNWIND_SECONDS:
            return
        began = time.monotonic()
        killer = threading.Timer(UNWIND_SECONDS, _kill_children)
        killer.daemon = True
        killer.start()
        raise Terminated(128 + number)

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in signals}
    taken = [number for number in signals if before[number] is not signal.SIG_IGN]
    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])


def _kill_children() -> None:
    """The processes of engines that do not close."""
    for child in multiprocessing.active_children():
        child.kill()


if __name__ == "__main__":
    main()
