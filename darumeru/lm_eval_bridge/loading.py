"""lm-eval's task objects: found by name, built by lm-eval's own factory, with its own seeds."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError, near_names
from darumeru.core.packages import missing
from darumeru.lm_eval_bridge.catalogue import Catalogue, Name, catalogue

# lm-eval's defaults: of Python's, numpy's and torch's generators, and of the choice of few-shot examples.
RANDOM_SEED, OTHER_SEED = 0, 1234
OFFLINE = "run once where the Hub can be reached, or give a YAML file with a local `dataset_path` through --include"


@dataclass(frozen=True)
class Asked:
    """What of lm-eval a run asks for. names: tasks, groups and tags. include: the user's files and folders of lm-eval
    YAML. num_fewshot None: as each task says. limit: documents a task. subset_seed: draw them with
    it; None: the first."""

    names: tuple[str, ...]
    include: tuple[str, ...] = ()
    num_fewshot: int | None = None
    limit: int | None = None
    subset_seed: int | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "names": list(self.names),
            "include": list(self.include),
            "num_fewshot": self.num_fewshot,
            "limit": self.limit,
            "subset_seed": self.subset_seed,
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Asked:
        return Asked(**{**values, "names": tuple(values["names"]), "include": tuple(values["include"])})


@dataclass
class Loaded:
    """lm-eval's Task and Group objects by name; names: everything that the catalogue knows."""

    tasks: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, Any] = field(default_factory=dict)
    names: Mapping[str, Name] = field(default_factory=dict)


def resolved(patterns: Sequence[str], include: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names that the patterns (names, globs, paths of YAML files) mean, and the files and folders they come from.

    UserError for a pattern that names nothing, with the nearest names, and for a broken file, with its line.
    """
    import fnmatch

    files = [pattern for pattern in patterns if pattern.endswith(".yaml")]
    places = tuple(str(Path(place).expanduser().resolve()) for place in (*include, *files))
    for place in places:
        if not Path(place).exists():
            raise UserError("no such lm-eval task file or folder", place)
    known = _known(places)
    names: dict[str, None] = {}
    for pattern in patterns:
        if pattern in files:
            own = str(Path(pattern).expanduser().resolve())
            found = [name.name for name in known.names.values() if name.path == own]
        elif any(mark in pattern for mark in "*?["):
            found = [
                name for name, one in known.names.items() if one.kind != "tag" and fnmatch.fnmatchcase(name, pattern)
            ]
        else:
            found = [pattern] if pattern in known.names else []
        if not found:
            raise _unknown(pattern, known)
        names |= dict.fromkeys(found)
    return tuple(names), places


@lru_cache(maxsize=2)
def _known(include: tuple[str, ...]) -> Catalogue:
    return catalogue(include)


def forget() -> None:
    """Read files again: they may have been edited since the last run of this process."""
    _known.cache_clear()
    load.cache_clear()


def _unknown(pattern: str, known: Catalogue) -> UserError:
    broken = [f"{where}: {reason}" for where, reason in known.broken.items() if pattern in Path(where).name]
    mend = f"lm-eval leaves out {broken[0]}" if broken else "see `darumeru tasks list --source lm-eval`"
    is_glob = any(mark in pattern for mark in "*?[")
    near = () if is_glob else [f"lm_eval:{name}" for name in near_names(pattern, known.names)]
    return UserError(f"lm-eval has no task `{pattern}`", "--tasks", mend, near)


@lru_cache(maxsize=4)
def load(asked: Asked) -> Loaded:
    """The objects of all names, their few-shot numbers and seeds set as `lm_eval.simple_evaluate` sets them.

    UserError for a task whose data, code or package is missing, that runs generated code, or that needs pictures.
    """
    known = _known(asked.include)
    found = Loaded(names=known.names)
    with quiet():
        from lm_eval.tasks import TaskManager

        manager = TaskManager(include_defaults=False)
        manager.task_index.update(_entries(known))
        for name in asked.names:
            _refuse_unsafe(name, known.names)
            with seeded():
                part = _built(name, known, partial(manager.load, [name]))
            for task_name, task in part["tasks"].items():
                _check(task_name, task)
                _set_shots(task, asked.num_fewshot)
                other = found.tasks.setdefault(task_name, task)
                if other is not task and str(other.dump_config()) != str(task.dump_config()):
                    raise UserError(f"lm-eval's `{task_name}` is asked for twice, with different settings", "--tasks")
            found.groups |= part["groups"]
    return found


def _entries(known: Catalogue) -> dict[str, Any]:
    """lm-eval's index. Paths stay text, which lm-eval reads too: to make 14,000 of them takes a third of a second."""
    from lm_eval.tasks._index import Entry, Kind

    kinds = {"task": Kind.TASK, "python": Kind.PY_TASK, "group": Kind.GROUP, "tag": Kind.TAG}
    return {
        name.name: Entry(
            name=name.name,
            kind=kinds[name.kind],
            yaml_path=name.path,
            tags=set(name.members) if name.kind == "tag" else set(),
        )
        for name in known.names.values()
    }


def _built(name: str, known: Catalogue, build: Callable[[], Any]) -> Any:
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    where = f"lm_eval:{name}"
    data = known.names[name].dataset or "its data set"
    try:
        return build()
    except (ConnectionError, OfflineModeIsEnabled, LocalEntryNotFoundError, HfHubHTTPError) as error:
        raise UserError(f"the Hub cannot be reached and {data} is not cached", where, OFFLINE) from error
    except (DatasetsError, FileNotFoundError) as error:
        raise UserError(f"{data} cannot be loaded: {_first_line(error)}", where, OFFLINE) from error
    except ModuleNotFoundError as error:
        raise missing(str(error.name), where) from error
    except Exception as error:  # a task is a stranger's code, which may raise anything
        place = known.names[name].path or where
        raise UserError(f"lm-eval cannot build {name}: {type(error).__name__}: {_first_line(error)}", place) from error


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")


def _refuse_unsafe(name: str, names: Mapping[str, Name], seen: frozenset[str] = frozenset()) -> None:
    """UserError when the name, or one that it holds, runs generated code; said before its metrics are looked for."""
    if name in seen or name not in names:
        return
    if names[name].unsafe:
        raise _unsafe(name)
    for member in names[name].members:
        _refuse_unsafe(member, names, seen | {name})


def _unsafe(name: str) -> UserError:
    mend = "run it with lm_eval itself, in a sandbox, with --confirm_run_unsafe_code"
    return UserError("the task runs generated code on this machine", f"lm_eval:{name}", mend)


def _check(name: str, task: Any) -> None:
    where = f"lm_eval:{name}"
    if getattr(task, "UNSAFE_CODE", False):
        raise _unsafe(name)
    if getattr(task, "MULTIMODAL", False):
        raise UserError("the task needs pictures or sound; Darumeru asks with text alone", where, "leave it out")


def _set_shots(task: Any, wanted: int | None) -> None:
    own = task.get_config("num_fewshot")
    if wanted is not None and own != 0:
        task.set_config(key="num_fewshot", value=wanted)
    elif own is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=OTHER_SEED)


def build_requests(
    name: str,
    task: Any,
    asked: Asked,
    system_prompt: str | None = None,
    chat_template: Callable[..., str] | None = None,
) -> None:
    """Fill task.instances with lm-eval's requests; UserError when the task's own code fails at it."""
    task.set_fewshot_seed(seed=OTHER_SEED)
    with quiet(), seeded():
        try:
            task.build_all_requests(
                limit=None if asked.subset_seed is not None else asked.limit,
                samples=_drawn(len(task.eval_docs), asked),
                system_instruction=system_prompt,
                apply_chat_template=chat_template is not None,
                fewshot_as_multiturn=True,
                chat_template=chat_template,
            )
        except Exception as error:  # a task is a stranger's code, which may raise anything
            reason = f"{type(error).__name__}: {_first_line(error)}"
            raise UserError(f"lm-eval cannot make its prompts: {reason}", f"lm_eval:{name}") from error


def _drawn(count: int, asked: Asked) -> list[int] | None:
    """Numbers of the documents that a seeded subset holds; None for the first ones."""
    import numpy as np

    if asked.subset_seed is None or asked.limit is None or asked.limit >= count:
        return None
    rng = np.random.default_rng(asked.subset_seed)
    return sorted(int(number) for number in rng.permutation(count)[: asked.limit])


@contextlib.contextmanager
def seeded() -> Iterator[None]:
    """Python's, numpy's and torch's generators seeded as lm-eval seeds them; afterwards they are as before."""
    import numpy as np

    before = random.getstate(), np.random.get_state()
    random.seed(RANDOM_SEED)
    np.random.seed(OTHER_SEED)
    try:
        with _torch_seeded() if find_spec("torch") else contextlib.nullcontext():
            yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


@contextlib.contextmanager
def _torch_seeded() -> Iterator[None]:
    import torch

    before = torch.random.get_rng_state()
    torch.manual_seed(OTHER_SEED)
    try:
        yield
    finally:
        torch.random.set_rng_state(before)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """lm-eval without progress bars, prints, warnings and child processes of its own."""
    import datasets
    import tqdm  # type: ignore[import-untyped]

    logger = logging.getLogger("lm_eval")
    level, bars, multi = logger.level, datasets.is_progress_bar_enabled(), os.environ.get("DISABLE_MULTIPROC")
    logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    os.environ["DISABLE_MULTIPROC"] = "1"
    # lm-eval's modules take `tqdm` from the package when they are imported or when they use it.
    import lm_eval.api.task as task_module

    shown = tqdm.tqdm, task_module.tqdm
    tqdm.tqdm = task_module.tqdm = _hidden(shown[0])
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tqdm.tqdm, task_module.tqdm = shown
        logger.setLevel(level)
        if bars:
            datasets.enable_progress_bars()
        if multi is None:
            del os.environ["DISABLE_MULTIPROC"]


def _hidden(bar: Any) -> Any:
    """The progress bar class `bar` without its display."""

    class Hidden(bar):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named | {"disable": True})

    return Hidden
