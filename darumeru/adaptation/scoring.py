"""Scores of candidates: the same harness, the same tasks and samples for each, one engine kept between them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from darumeru.adaptation.recipe import ScoreConfig
from darumeru.adaptation.store import Made
from darumeru.core.errors import UserError
from darumeru.core.files import content_hash
from darumeru.core.options import Effect, declared, plain
from darumeru.metrics.measure import SCORE, Measure
from darumeru.models.fingerprints import fingerprint
from darumeru.runs.apart import Apart, one_of_many
from darumeru.runs.config import RunConfig, config_as
from darumeru.runs.progress import Progress, Silent
from darumeru.runs.results import Score


@dataclass(frozen=True)
class Scored:
    """scores: by name, aggregates first. main: the name of the one that selects. run: the run folder. failed: why
    there is no score. measures: what those scores are that are no plain ones. samples: answered in all. part: records
    a task that a race has asked so far, where those are not all."""

    run: Path
    scores: Mapping[str, Score] = field(default_factory=dict)
    main: str | None = None
    failed: str | None = None
    measures: Mapping[str, Measure] = field(default_factory=dict)
    samples: int = 0
    part: int | None = None

    @property
    def value(self) -> float | None:
        """The number that selects."""
        return self.scores[self.main].value if self.main else None

    @property
    def merit(self) -> float | None:
        """The number that selects, turned so that a larger one is better."""
        if self.main is None or self.value is None:
            return None
        return self.measures.get(self.main, SCORE).sign * self.value


class Scorer:
    """Scores models into OUT/runs. Finished runs are read, not repeated; failed ones are tried once a start."""

    def __init__(self, output: Path, settings: ScoreConfig, progress: Progress | None = None) -> None:
        self.output = output
        self.settings = settings
        self.progress = progress or Silent()
        self.key = _key(settings)
        self._tried: dict[str, Scored] = {}
        self._kept: Any = None
        self._apart = Apart()

    def folder(self, made: Made) -> Path:
        """The run folder of a candidate under these settings."""
        return self.output / "runs" / f"{made.label}-{content_hash([made.id, self.key])[:8]}"

    def known(self, made: Made) -> Scored | None:
        """Its scores where they are stored or have failed in this process."""
        if made.id in self._tried:
            return self._tried[made.id]
        from darumeru.runs.run import load_run

        folder = self.folder(made)
        try:
            run = load_run(folder)
        except UserError:
            return None
        if run.results.failed:
            return None
        self._tried[made.id] = self._scored(folder, run.results)
        return self._tried[made.id]

    def score(self, made: Made) -> Scored:
        """Score a candidate, or say why that failed; never raises for a model that cannot be scored."""
        known = self.known(made)
        if known is not None and known.part is None:
            return known
        if made.deleted:
            return Scored(self.folder(made), failed="deleted before it was scored")
        return self._tried_run(made, self.progress, {})

    def part(self, made: Made, records: int, seed: int) -> Scored:
        """Score a candidate by the first `records` of each task in the order of `seed`; what was answered before
        counts. One that is scored in full stays so."""
        known = self.known(made)
        if known is not None and known.failed is None and known.part in (None, records):
            return known
        return self._tried_run(made, _Unremarked(self.progress), {"limit": records, "subset_seed": seed})

    def _tried_run(self, made: Made, progress: Progress, options: Mapping[str, Any]) -> Scored:
        folder = self.folder(made)
        try:
            with _random_state_kept():
                scored = self._run(made, folder, progress, options)
        except Exception as error:  # whatever an engine raises for one model must not stop the others
            if not self.settings.cluster:
                self.close()
            what = error.line() if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            scored = Scored(folder, failed=" ".join(what.split())[:500])
        self._tried[made.id] = scored
        return scored

    def learn(self, made: Made, scored: Scored) -> None:
        """Take over what another process found."""
        self._tried[made.id] = scored

    def close(self) -> None:
        """End the engine, and the scorings that are under way."""
        self._apart.close()
        self._apart = Apart()
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _run(self, made: Made, folder: Path, progress: Progress, more: Mapping[str, Any]) -> Scored:
        from darumeru.runs import evaluate
        from darumeru.runs.run import load_run
        from darumeru.training.kept_engine import KeptEngine

        settings = self.settings
        if settings.cluster:
            outcome = self._apart.run(one_of_many(self._config(made, folder, more)), progress)
            if outcome.error:
                return Scored(folder, failed=" ".join(outcome.error.split())[:500])
            return self._scored(folder, load_run(folder).results)
        if self._kept is None:
            self._kept = KeptEngine()
        run, failures = evaluate.run(self._config(made, folder, more), progress, self._kept.load)
        if settings.engine != "vllm":
            self.close()
        if failures.tasks:
            reasons = "; ".join(f"{task}: {reason}" for task, reason in failures.tasks.items())
            return Scored(folder, failed=" ".join(reasons.split())[:500])
        return self._scored(folder, run.results)

    def _config(self, made: Made, folder: Path, more: Mapping[str, Any]) -> RunConfig:
        return config_as(RunConfig, self.settings, model=str(made.path), output=str(folder), name=made.label, **more)

    def _scored(self, folder: Path, results: Any) -> Scored:
        from darumeru.leaderboard.curve import MEAN, MICRO_AVG, measures_of, scores_of

        scores = scores_of(results)
        wanted = [self.settings.metric] if self.settings.metric else [MICRO_AVG, MEAN]
        main = next((name for name in wanted if name in scores), None)
        failed = None if main else f"no score is called {' or '.join(wanted)}; there are {', '.join(scores) or 'none'}"
        limit = results.manifest["limit"]
        part = limit if limit != self.settings.limit else None
        if part is not None:
            # Of few samples a score may have no meaning yet.
            failed = next((f"{name}: {reason}" for name, reason in results.failed.items()), None)
        samples = sum(task.n for task in results.tasks.values())
        return Scored(folder, scores, main, failed, measures_of(results), samples, part)


class _Unremarked(Silent):
    """Passes on how far a round of a race is; remarks come with the run in full."""

    def __init__(self, progress: Progress) -> None:
        self.phase, self.start, self.advance = progress.phase, progress.start, progress.advance  # type: ignore[method-assign]


def _key(settings: ScoreConfig) -> str:
    """Hash over what changes answers and scores; files and a folder of data count by content, wherever they lie."""
    counts = [one.name for one in declared(ScoreConfig) if one.option.effect is not Effect.NOTHING]
    values = {name: value for name, value in plain(settings).items() if name in counts}
    values["include"] = [fingerprint(Path(path)) for path in settings.include]
    if settings.has_own_data:
        values["data"] = fingerprint(Path(settings.data))
    if settings.chat_template not in (None, "none"):
        values["chat_template"] = fingerprint(Path(str(settings.chat_template)))
    return content_hash(values)


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Engines seed global generators; a step that goes on afterwards must not notice."""
    import numpy
    import torch

    states = random.getstate(), numpy.random.get_state(), torch.get_rng_state()
    on_gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(states[0])
        numpy.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if on_gpu is not None:
            torch.cuda.set_rng_state_all(on_gpu)
