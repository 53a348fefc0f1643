"""Scores the checkpoints of a training as they appear, from another process or another machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from darumeru.core.errors import RunFailed, UserError
from darumeru.engines import check_package
from darumeru.leaderboard.curve import CURVE, Point, add_point, point_of, read_curve
from darumeru.runs import evaluate
from darumeru.runs.apart import at_once, one_of_many
from darumeru.runs.config import RunConfig, config_as
from darumeru.runs.many import run_many
from darumeru.runs.progress import Progress, Silent
from darumeru.runs.run import Run, load_run
from darumeru.training.checkpoints import Checkpoint, check_layout, list_checkpoints, look
from darumeru.training.config import WatchConfig
from darumeru.training.kept_engine import KeptEngine
from darumeru.training.served_adapter import check_server, served_adapter

# Looks at a folder that stays as it is, and still no model, before it is called broken.
PATIENCE = 3


class Watcher:
    """broken: checkpoint -> why it could not be scored. say: told one line a checkpoint that is skipped."""

    def __init__(
        self, config: WatchConfig, progress: Progress | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.config = config
        self.progress = progress or Silent()
        self.broken: dict[str, str] = {}
        self.engine = KeptEngine()
        self._sleep = sleep
        self._looks: dict[Path, object] = {}
        self._strikes: dict[Path, int] = {}
        self._at_once = 1
        self._folder = Path(config.folder)
        self._output = config.place
        self._done = {point.step for point in read_curve(self._output / CURVE)}

    def points(self) -> Iterator[Point]:
        """Yield a point for each checkpoint, lowest step first (on a cluster those that are there are scored
        together and come as they end); those of an earlier watch are not asked again.

        UserError for what no checkpoint could mend (tasks, data, the folder itself). A checkpoint that is being
        written is waited for; one that is broken or whose engine fails is reported, and watching goes on.
        """
        if not self._folder.is_dir():
            raise UserError("no such folder", str(self._folder), "give the trainer's output folder")
        self._check()
        last_news = time.monotonic()
        waiting = False
        try:
            while True:
                ready = self._next()
                if ready:
                    yield from (
                        self._together(ready)
                        if self.config.cluster and not self.config.server
                        else self._score(ready[0])
                    )
                    last_news = time.monotonic()
                    waiting = False
                    if self.config.until_step is not None and ready[-1].step >= self.config.until_step:
                        return
                    continue
                if self.config.once and not self._unsettled():
                    return
                if self.config.idle is not None and time.monotonic() - last_news > self.config.idle:
                    return
                if not waiting:
                    self.progress.phase(f"waiting for checkpoints in {self._folder}")
                    waiting = True
                self._sleep(min(self.config.poll, 1.0) if self.config.once else self.config.poll)
        finally:
            self.engine.close()

    def _check(self) -> None:
        """What can be wrong with the command without any checkpoint."""
        from darumeru.runs.sources import open_sources, split
        from darumeru.tasks.records import load_split
        from darumeru.tasks.registry import load_registry

        check_package(self.config.engine)
        own, foreign = split(self.config.patterns)
        for spec in load_registry(self.config.profile, self.config.include).select(own):
            load_split(spec.source, spec.source.test, self.config.data)
        open_sources(foreign, self.config)
        if self.config.server is not None:
            check_server(self.config.server, self.config.engine_args)
        elif self.config.cluster:
            self._at_once = at_once(self.config)
        self._output.mkdir(parents=True, exist_ok=True)

    def _candidates(self) -> list[Checkpoint]:
        output = self._output.resolve()
        return [
            one
            for one in list_checkpoints(self._folder)
            if one.step not in self._done and output not in (one.path.resolve(), *one.path.resolve().parents)
        ]

    def _unsettled(self) -> bool:
        return any(self._strikes.get(one.path, 0) < PATIENCE for one in self._candidates())

    def _next(self) -> list[Checkpoint]:
        """The first checkpoints that are whole, as far as files show: as many as are scored together."""
        from darumeru.models.model_files import find_model

        ready: list[Checkpoint] = []
        last = self.config.until_step
        for one in self._candidates():
            seen, now = self._looks.get(one.path), look(one.path)
            self._looks[one.path] = now
            if seen != now:
                self._strikes[one.path] = 0
                continue
            if self._strikes.get(one.path, 0) >= PATIENCE:
                continue
            try:
                if one.base is None:
                    if not (one.path / "config.json").is_file():
                        check_layout(one.path)
                    find_model(str(one.path), trust_remote_code=self.config.trust_remote_code)
                ready.append(one)
                if len(ready) >= self._at_once or (last is not None and one.step >= last):
                    break
            except UserError as error:
                self._strikes[one.path] = self._strikes.get(one.path, 0) + 1
                if self._strikes[one.path] == PATIENCE:
                    self._skip(one, error.line())
        return ready

    def _skip(self, one: Checkpoint, reason: str) -> None:
        self.broken[one.name] = reason
        self._strikes[one.path] = PATIENCE
        self.progress.note(f"{one.name} is skipped: {reason}")

    def _config(self, one: Checkpoint) -> RunConfig:
        model, lora = (one.base, str(one.path)) if one.base else (str(one.path), None)
        return config_as(RunConfig, self.config, model=model, lora=lora, output=str(self._output / _folder(one)))

    def _score(self, one: Checkpoint) -> Iterator[Point]:
        started = time.monotonic()
        try:
            run = self._run(one)
        except (UserError, RunFailed) as error:
            self.engine.close()
            self._skip(one, error.line() if isinstance(error, UserError) else str(error))
        else:
            yield self._point(one, run, started)

    def _together(self, ready: Sequence[Checkpoint]) -> Iterator[Point]:
        started = time.monotonic()
        configs = {str(config.output): (one, config) for one in ready for config in [one_of_many(self._config(one))]}
        for config, outcome in run_many([config for _, config in configs.values()], self.progress):
            one, _ = configs[str(config.output)]
            if outcome.scored:
                yield self._point(one, load_run(outcome.folder), started)
            else:
                self._skip(one, outcome.error)

    def _point(self, one: Checkpoint, run: Run, started: float) -> Point:
        self._done.add(one.step)
        self.broken.pop(one.name, None)
        extra = {
            "checkpoint": one.name,
            "engine": self.config.engine if self.config.server is None else "openai",
            "seconds": round(time.monotonic() - started, 3),
        }
        point = point_of(run.results, one.step, _folder(one).as_posix(), extra)
        add_point(self._output / CURVE, point)
        return point

    def _run(self, one: Checkpoint) -> Run:
        server, config = self.config.server, self._config(one)
        if server is None:
            return evaluate.run(config, self.progress, self.engine.load)[0]
        if one.base is None:
            raise UserError("a server is given adapters alone", str(one.path), "score whole models without --server")
        arguments = dict(self.config.engine_args)
        with served_adapter(server, arguments, one.path, f"darumeru-{one.name}") as name:
            arguments["model"] = name
            config = replace(config, model=server, tokenizer=one.base, lora=None, engine_args=arguments)
            return evaluate.run(config, self.progress, self.engine.load)[0]


def _folder(one: Checkpoint) -> Path:
    return Path("steps") / f"step-{one.step:08d}"
