"""statistics.npz: the additive form of every score of a run, so that boards need not parse prompts and answers."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from darumeru.core.errors import UserError
from darumeru.core.files import file_hash, write_atomically
from darumeru.metrics import metric as metric_named
from darumeru.metrics.statistic import FloatArray, Statistic

STATISTICS = "statistics.npz"
SCHEMA = 1
_TYPES = (np.uint8, np.uint16, np.int32)


@runtime_checkable
class RowDependent(Protocol):
    """A `combine` that depends on the rows by some numbers, which are stored beside the columns."""

    @property
    def parameters(self) -> tuple[int, ...]: ...

    def with_parameters(self, parameters: Sequence[int]) -> Callable[[FloatArray], FloatArray]:
        """The combine that has these parameters."""
        ...


def write_statistics(
    run: Path, statistics: Mapping[str, Mapping[str, Statistic]], files: Mapping[str, str]
) -> str | None:
    """Write RUN/statistics.npz and return its sha256; None, and no file, when there is nothing to store.

    statistics: task -> metric -> Statistic. files: sha256 of the files that they were computed from. A metric whose
    `combine` cannot be rebuilt without its rows is left out.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    index: dict[str, dict[str, Any]] = {}
    for task, of_task in statistics.items():
        for name, statistic in of_task.items():
            parameters = _parameters(statistic)
            if not _rebuilds(name, statistic, parameters):
                continue
            key = str(len(arrays))
            arrays[f"clusters{key}"] = _bytes(list(statistic.clusters))
            arrays[f"columns{key}"] = _small(statistic.columns)
            if statistic.strata is not None:
                arrays[f"strata{key}"] = _small(statistic.strata)
            if statistic.binary is not None:
                arrays[f"binary{key}"] = _small(statistic.binary)
            entry = {"key": key, "parameters": parameters, "chance": statistic.chance}
            index.setdefault(task, {})[name] = entry
    path = run / STATISTICS
    if not index:
        path.unlink(missing_ok=True)
        return None
    arrays["index"] = _bytes({"schema": SCHEMA, "files": dict(files), "tasks": index})
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_atomically(path, buffer.getvalue())
    return file_hash(path)


class StoredStatistics:
    """RUN/statistics.npz, read task by task."""

    def __init__(self, path: Path, tasks: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
        self._path = path
        self._tasks = tasks

    def of(self, task: str, metrics: Sequence[str]) -> tuple[Statistic, ...] | None:
        """The statistics of these metrics; None when one is not stored."""
        entries = self._tasks.get(task, {})
        if not metrics or any(name not in entries for name in metrics):
            return None
        with np.load(self._path, allow_pickle=False) as arrays:
            return tuple(_read(arrays, name, entries[name]) for name in metrics)


def open_statistics(run: Path, files: Mapping[str, str]) -> StoredStatistics | None:
    """The stored statistics of a run whose results.json lists `files`; None when it has none.

    Raises UserError when the file is not the one that results.json lists.
    """
    path = run / STATISTICS
    if STATISTICS not in files or not path.is_file():
        return None
    if file_hash(path) != files[STATISTICS]:
        raise UserError("differs from what results.json lists", str(path), "`darumeru score` computes it again")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            index = json.loads(arrays["index"].tobytes())
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"is broken: {error}", str(path), "`darumeru score` computes it again") from error
    bound = {name: files.get(name) for name in index["files"]}
    if index["schema"] != SCHEMA or index["files"] != bound:
        return None
    return StoredStatistics(path, index["tasks"])


def _read(arrays: Mapping[str, npt.NDArray[Any]], metric: str, entry: Mapping[str, Any]) -> Statistic:
    key = entry["key"]
    strata, binary = f"strata{key}", f"binary{key}"
    return Statistic(
        clusters=tuple(json.loads(arrays[f"clusters{key}"].tobytes())),
        columns=arrays[f"columns{key}"].astype(np.float64),
        combine=_combine(metric, entry["parameters"]),
        strata=arrays[strata].astype(np.int64) if strata in arrays else None,
        binary=arrays[binary].astype(np.float64) if binary in arrays else None,
        chance=entry["chance"],
    )


def _parameters(statistic: Statistic) -> list[int] | None:
    return list(statistic.combine.parameters) if isinstance(statistic.combine, RowDependent) else None


def _combine(metric: str, parameters: Sequence[int] | None) -> Callable[[FloatArray], FloatArray]:
    combine = metric_named(metric).statistic([]).combine
    if parameters is None or not isinstance(combine, RowDependent):
        return combine
    return combine.with_parameters(parameters)


def _rebuilds(metric: str, statistic: Statistic, parameters: Sequence[int] | None) -> bool:
    """Whether the rebuilt combine gives the same scores on all of the data and on each half of it."""
    halves = [statistic.columns, statistic.columns[::2], statistic.columns[1::2]]
    sums = np.stack([half.sum(axis=0) for half in halves])
    if not np.isfinite(statistic.chance):
        return False
    try:
        rebuilt = _combine(metric, parameters)(sums)
    except (ValueError, IndexError):
        return False
    return bool(np.array_equal(rebuilt, statistic.combine(sums), equal_nan=True))


def _bytes(value: Any) -> npt.NDArray[np.uint8]:
    return np.frombuffer(json.dumps(value, ensure_ascii=False).encode(), dtype=np.uint8)


def _small(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same numbers in the smallest of a few types that holds them exactly."""
    for kind in _TYPES:
        bounds = np.iinfo(kind)
        fits = values.size == 0 or (values.min() >= bounds.min and values.max() <= bounds.max)
        if fits and (values == np.rint(values)).all():
            return values.astype(kind)
    return values
