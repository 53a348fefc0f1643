"""Many models with the same questions: which they are, and their runs, several at once where there is a cluster."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from darumeru.core.errors import UserError
from darumeru.runs.apart import Apart, Outcome, at_once, one_of_many
from darumeru.runs.config import RunConfig, config_as
from darumeru.runs.evaluate import folder_name
from darumeru.runs.progress import Progress, Silent


@dataclass(frozen=True)
class ModelLine:
    """A line of a list of models: `MODEL` or `MODEL name=tuned tensor_parallel=4`. where: file and line."""

    model: str
    options: dict[str, str] = field(default_factory=dict)
    where: str = ""


def read_models(path: str | Path) -> list[ModelLine]:
    """The lines of a file; # begins a comment. UserError for a file that cannot be read and a line that is none."""
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(f"cannot be read: {reason}", str(path)) from error
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        where = f"{path}:{number}"
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise UserError(f"cannot be read: {error}", where) from error
        if not words:
            continue
        options = dict(word.partition("=")[::2] for word in words[1:])
        if wrong := next((word for word in words[1:] if "=" not in word), None):
            raise UserError(f"`{wrong}` is not OPTION=VALUE", where, "for example tensor_parallel=4")
        lines.append(ModelLine(words[0], options, where))
    if not lines:
        raise UserError("names no model", str(path))
    return lines


def placed(configs: Sequence[RunConfig]) -> list[RunConfig]:
    """The same configs, each with a folder of its own below the `output` that they share. UserError where two have
    one."""
    found: dict[Path, RunConfig] = {}
    for config in configs:
        folder = Path(config.output or "runs").expanduser() / folder_name(config.name or config.model)
        if folder in found:
            what = f"{config.model} and {found[folder].model} would both be stored here"
            raise UserError(what, str(folder), "give one of them a name=... in the list of --models")
        found[folder] = one_of_many(config_as(RunConfig, config, output=str(folder)))
    return list(found.values())


def run_many(configs: Sequence[RunConfig], progress: Progress) -> Iterator[tuple[RunConfig, Outcome]]:
    """Do the runs; yields each as it ends. None stops the others. configs: see `placed`."""
    shared = _Shared(progress)
    apart = Apart()
    with ThreadPoolExecutor(min(len(configs), max(map(at_once, configs)))) as threads:
        try:
            futures = {threads.submit(apart.run, one, shared.of(Path(str(one.output)).name)): one for one in configs}
            for future in as_completed(futures):
                shared.show(Path(str(futures[future].output)).name, "")
                yield futures[future], future.result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            apart.close()


class _Shared:
    """One display for several runs, told by several threads."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.lock = threading.Lock()
        self.states: dict[str, str] = {}

    def of(self, name: str) -> Progress:
        return _One(self, name)

    def show(self, name: str, state: str) -> None:
        with self.lock:
            self.states[name] = state
            self.states = {one: what for one, what in self.states.items() if what}
            if self.states:
                self.progress.phase("; ".join(f"{one} {what}" for one, what in self.states.items()))


class _One(Silent):
    """The progress of one of them."""

    def __init__(self, shared: _Shared, name: str) -> None:
        self._shared, self._name = shared, name
        self._total = self._done = self._shown = 0

    def phase(self, text: str) -> None:
        self._shared.show(self._name, text)

    def start(self, total: int, done: int) -> None:
        self._total, self._done = total, done
        self._shared.show(self._name, f"{done}/{total}")

    def advance(self, task: str) -> None:
        self._done += 1
        share = 10 * self._done // max(self._total, 1)
        if share != self._shown:
            self._shown = share
            self._shared.show(self._name, f"{self._done}/{self._total}")

    def note(self, text: str) -> None:
        with self._shared.lock:
            self._shared.progress.note(f"[{self._name}] {text}")
