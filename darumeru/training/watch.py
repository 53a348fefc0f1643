"""Scores the checkpoints of a training as they appear, from another process or another machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from darumeru.core.errors import RunFailed, UserError
from darumeru.engines import check_package
from darumeru.leaderboard.curve import CURVE, Point, add_point, point_of, read_curve
from darumeru.runs import evaluate
from darumeru.runs.config import RunConfig, config_as
from darumeru.runs.progress import Progress, Silent
from darumeru.runs.run import Run
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
        self._folder = Path(config.folder)
        self._output = config.place
        self._done = {point.step for point in read_curve(self._output / CURVE)}

    def points(self) -> Iterator[Point]:
        """Yield a point for each checkpoint, lowest step first; those of an earlier watch are not asked again.

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
                if ready is not None:
                    point = self._score(ready)
                    last_news = time.monotonic()
                    waiting = False
                    if point is not None:
                        yield point
                    if self.config.until_step is not None and ready.step >= self.config.until_step:
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

    def _next(self) -> Checkpoint | None:
        """The first checkpoint that is whole, as far as files show."""
        from darumeru.models.model_files import find_model

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
                return one
            except UserError as error:
                self._strikes[one.path] = self._strikes.get(one.path, 0) + 1
                if self._strikes[one.path] == PATIENCE:
                    self._skip(one, error.line())
        return None

    def _skip(self, one: Checkpoint, reason: str) -> None:
        self.broken[one.name] = reason
        self._strikes[one.path] = PATIENCE
        self.progress.note(f"{one.name} is skipped: {reason}")

    def _score(self, one: Checkpoint) -> Point | None:
        folder = Path("steps") / f"step-{one.step:08d}"
        started = time.monotonic()
        try:
            run = self._run(one, str(self._output / folder))
        except (UserError, RunFailed) as error:
            self.engine.close()
            self._skip(one, error.line() if isinstance(error, UserError) else str(error))
            return None
        self._done.add(one.step)
        self.broken.pop(one.name, None)
        extra = {
            "checkpoint": one.name,
            "engine": self.config.engine if self.config.server is None else "openai",
            "seconds": round(time.monotonic() - started, 3),
        }
        point = point_of(run.results, one.step, folder.as_posix(), extra)
        add_point(self._output / CURVE, point)
        return point

    def _run(self, one: Checkpoint, output: str) -> Run:
        server = self.config.server
        if server is None:
            model, lora = (one.base, str(one.path)) if one.base else (str(one.path), None)
            config = config_as(RunConfig, self.config, model=model, lora=lora, output=output)
            return evaluate.run(config, self.progress, self.engine.load)[0]
        if one.base is None:
            raise UserError("a server is given adapters alone", str(one.path), "score whole models without --server")
        arguments = dict(self.config.engine_args)
        with served_adapter(server, arguments, one.path, f"darumeru-{one.name}") as name:
            arguments["model"] = name
            config = config_as(
                RunConfig, self.config, model=server, tokenizer=one.base, engine_args=arguments, output=output
            )
            return evaluate.run(config, self.progress, self.engine.load)[0]
