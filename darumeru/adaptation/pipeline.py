"""A recipe carried out: steps in order, each output kept under its content key, each candidate scored."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from darumeru.adaptation.board_line import board_line
from darumeru.adaptation.identity import step_key
from darumeru.adaptation.protocols import Candidate, StepContext
from darumeru.adaptation.racing import Held, Racing
from darumeru.adaptation.ranks import is_first, join, on_first
from darumeru.adaptation.recipe import STEP, Recipe
from darumeru.adaptation.scoring import Scored, Scorer
from darumeru.adaptation.store import Made, StepFolder, locked
from darumeru.adaptation.variants import SEED, Ref, Variant, expand, makes_text
from darumeru.core import numbers
from darumeru.core.errors import RunFailed, UserError
from darumeru.core.files import write_atomically
from darumeru.leaderboard.candidates import CandidateBoard, write_board
from darumeru.models.fingerprints import fingerprint
from darumeru.runs.progress import Progress

if TYPE_CHECKING:
    from darumeru.adaptation.on_cluster import ClusterSteps


class Reporter(Progress, Protocol):
    """Told how far a pipeline is; its run methods are those of a scoring."""

    def begin(self, name: str, number: int, total: int) -> None:
        """A variant begins: the number-th of total."""

    def say(self, text: str) -> None:
        """What the step says of itself."""

    def end(self, line: str) -> None:
        """A piece of work is done; the line stays."""


@dataclass(frozen=True)
class StepRun:
    """One piece of work: a variant on one parent."""

    variant: Variant
    parent: Made | None
    inputs: Mapping[str, Made]
    key: str
    folder: StepFolder
    label: str


STARTS = 3
"""How often a step is begun whose nodes are lost."""


def told_one_at_a_time(reporter: Reporter) -> Any:
    """A reporter for several threads."""
    lock = threading.RLock()

    class Told:
        def __getattr__(self, name: str) -> Any:
            def tell(*words: Any) -> None:
                with lock:
                    getattr(reporter, name)(*words)

            return tell

    return Told()


class Pipeline:
    """Carries out a recipe in a folder; made again on the same folder it goes on."""

    def __init__(
        self, recipe: Recipe, output: Path, reporter: Reporter, cluster: str | None = None, workers: int = 1
    ) -> None:
        """cluster: of Ray, where steps and scorings go that do not wait for each other; default: as the recipe's
        `score` says. workers: processes of a training step there."""
        recipe = replace(recipe, score=replace(recipe.score, cluster=cluster or recipe.score.cluster))
        self.cluster, self.workers = recipe.score.cluster, workers
        self.steps: ClusterSteps | None = None
        self._lock = threading.RLock()
        self.recipe = recipe
        self.output = output
        self.reporter = reporter = told_one_at_a_time(reporter) if self.cluster else reporter
        self.variants = expand(recipe)
        self.scorer = Scorer(output, recipe.score, reporter)
        self.board = CandidateBoard(recipe.name)
        self.made: dict[str, list[Made]] = {}
        self.handed: dict[str, list[Made]] = {}
        self._given: dict[str, Made] = {}
        self._running = False
        self._raced: dict[str, str] = {}
        self.racing = Racing(self.scorer, recipe.race, recipe.seed, reporter.end, self._note, self._step_of)

    def run(self) -> CandidateBoard:
        """Do what is not done yet. UserError: a model that cannot be found, a step that refuses, a folder that is not
        a pipeline's. RunFailed: the best of nothing scored was asked for."""
        join()
        self._running = True
        with ExitStack() as stack:
            on_first(lambda: stack.enter_context(locked(self.output)))
            try:
                if is_first():
                    write_atomically(self.output / "recipe.yaml", self.recipe.file.text())
                if self.cluster:
                    self._all_at_once(self.cluster)
                    return self.board
                for name in self._used_models():
                    self._score_given(name)
                for number, variant in enumerate(self.variants, 1):
                    self._begin(variant, number)
                self._race_the_rest()
            finally:
                self.scorer.close()
            on_first(lambda: write_board(self.board, self.output))
        return self.board

    def _begin(self, variant: Variant, number: int) -> None:
        self.reporter.begin(variant.name, number, len(self.variants))
        self._do(variant)

    def _all_at_once(self, address: str) -> None:
        """Every variant as soon as those are done that it takes models from; Ray finds room for them. The first error
        is raised when the others have ended."""
        from darumeru.adaptation.on_cluster import ClusterSteps

        self.steps = ClusterSteps(address, self.workers, self.output)
        threads = ThreadPoolExecutor(len(self.variants) + len(self.recipe.models))
        try:
            given = [threads.submit(self._score_given, name) for name in self._used_models()]
            futures: dict[str, Future[None]] = {}
            for number, variant in enumerate(self.variants, 1):
                refs = [ref for ref in (variant.source, *variant.inputs.values()) if ref]
                needs = [*given, *(futures[name] for ref in refs for name in ref.variants)]
                futures[variant.name] = threads.submit(self._after, needs, variant, number)
            wait([*given, *futures.values()])
            for future in [*given, *futures.values()]:
                future.result()
            self._race_the_rest()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            self.steps.close()
            if self.board.lines:
                write_board(self.board, self.output)

    def _after(self, needs: list[Future[None]], variant: Variant, number: int) -> None:
        for one in needs:
            one.result()
        self._begin(variant, number)

    def _used_models(self) -> list[str]:
        refs = [ref for one in self.variants for ref in (one.source, *one.inputs.values()) if ref]
        used = [name for ref in refs for name in ((ref.model,) if ref.model else ref.models)]
        return list(dict.fromkeys([*used, *self.recipe.score.models]))

    def _score_given(self, name: str) -> None:
        if name in self.recipe.score.models:
            made = on_first(lambda: self.given(name))
            self.scorer.learn(made, on_first(lambda: self._score(made)))

    def given(self, name: str) -> Made:
        """A model of the recipe, downloaded where it is on the Hub."""
        if name not in self._given:
            from darumeru.models.model_files import find_model

            where = self.recipe.models[name]
            self.reporter.phase(f"looking at {where}")
            try:
                path = Path(where) if Path(where).is_dir() else find_model(where).path
            except UserError as error:
                place = self.recipe.file.where("models", name)
                raise UserError(f"{error.where}: {error.what}", place, error.mend, error.near) from error
            candidate = Candidate(path.resolve(), label=name)
            self._given[name] = Made(f"model {fingerprint(path)}", name, candidate, lineage=(name,))
        return self._given[name]

    def know(self, name: str, made: Made) -> None:
        """Use what is known of a given model instead of looking for it."""
        self._given[name] = made

    def look(self, variant: Variant) -> list[StepRun]:
        """The work of a variant as far as it can be told without fetching models; LookupError where it cannot."""
        for ref in (variant.source, *variant.inputs.values()):
            for name in ((ref.model,) if ref.model else ref.models) if ref else ():
                if name not in self._given:
                    raise LookupError(name)
        return self.jobs(variant)

    def remember(self, variant: Variant, jobs: list[StepRun]) -> None:
        """Take over finished work, for the sake of what comes after it."""
        made = [(job, self.made_by(job)) for job in jobs]
        self.made[variant.name] = [one for _, ones in made for one in ones]
        self.handed[variant.name] = [one for job, ones in made for one in self._select(job, ones)]

    def jobs(self, variant: Variant) -> list[StepRun]:
        """The work of a variant: one job for each model that its source hands on."""
        parents: list[Made | None] = [None] if variant.source is None else [*self._models(variant.source, variant)]
        inputs = {key: self._models(ref, variant)[0] for key, ref in variant.inputs.items()}
        jobs = []
        for parent in parents:
            key = step_key(variant, parent.id if parent else "", {name: one.id for name, one in inputs.items()})
            label = variant.name
            if len(parents) > 1 and parent:
                label = f"{variant.name}-of-{parent.label}"
            folder = StepFolder(self.output / "steps" / f"{label}-{key[:12]}")
            jobs.append(StepRun(variant, parent, inputs, key, folder, label))
        return jobs

    def _models(self, ref: Ref, variant: Variant) -> list[Made]:
        if ref.model:
            return [self.given(ref.model)]
        every = [one for name in ref.variants for one in self.made[name] if not one.deleted]
        raced = any(one.node in self.recipe.racing for one in every)
        if not ref.best and not raced:
            return self.handed[ref.variants[0]]
        every += [self.given(name) for name in ref.models]
        return [(self._race if raced else self._best)(every, f"`{variant.name}` takes the {ref}")]

    def _best(self, candidates: list[Made], who: str) -> Made:
        scored = [(self._merit(one), one) for one in candidates]
        known = [(value, one) for value, one in scored if value is not None]
        if not known:
            reasons = [score.failed for one in candidates if (score := self.scorer.known(one)) and score.failed]
            raise RunFailed(f"{who}, but no candidate has a score" + (f": {reasons[0]}" if reasons else ""))
        top = max(value for value, _ in known)
        return next(one for value, one in known if value == top)

    def _race(self, candidates: list[Made], who: str) -> Made:
        """The winner of a race, or the first of those that it does not tell apart."""
        held = on_first(lambda: self.racing.known(candidates))
        if held is None and not self._running:
            raise LookupError("the race is not held yet")
        if held is None:
            self.reporter.phase(f"race of {len(candidates)} models")
            held = on_first(lambda: self.racing.hold(candidates))
        self._take_over(held, candidates)
        winner = next((one for one in candidates if one.label == held.outcome.leader), None)
        if winner is None or self._merit(winner) is None:
            reasons = [*held.outcome.why.values(), *(one.failed for one in map(self.scorer.known, candidates) if one)]
            raise RunFailed(f"{who}, but no candidate has a score: {next(filter(None, reasons), '')}")
        return winner

    def _take_over(self, held: Held, candidates: list[Made]) -> None:
        """Put what a race found on the board; once for each race."""
        if not self._running:
            return
        for line in held.lines:
            if line not in self.board.notes:
                self.board.notes.append(line)
                self.reporter.end(line)
        for one in candidates:
            self._raced[one.id] = held.said(one.label)
            known = on_first(partial(self.scorer.known, one))
            scored = known or Scored(self.scorer.folder(one), failed=held.outcome.why.get(one.label, "not scored"))
            self.scorer.learn(one, scored)
            self._note(one, scored)

    def _race_the_rest(self) -> None:
        """Racing steps of which nobody takes the best; those of one seed together."""
        groups: dict[tuple[str, Any], list[Made]] = {}
        for variant in self.variants:
            if variant.node.name in self.recipe.racing:
                groups.setdefault((variant.node.name, variant.axes.get(SEED)), []).extend(self.made[variant.name])
        for (name, _), made in groups.items():
            if made and not any(one.id in self._raced for one in made):
                self._race(made, f"`{name}` races")

    def _step_of(self, made: Made) -> Any:
        return next((one.step for one in self.variants if one.node.name == made.node), None)

    def _merit(self, made: Made) -> float | None:
        scored = self.scorer.known(made)
        return scored.merit if scored else None

    def _do(self, variant: Variant) -> None:
        self.made[variant.name], self.handed[variant.name] = [], []
        for job in self.jobs(variant):
            if not on_first(partial(self._is_done, job)):
                self._work(job)
            made = self.made_by(job)
            if makes_text(variant.step):
                self.made[variant.name] += made
                self.handed[variant.name] += made
                continue
            if variant.node.score and variant.node.name not in self.recipe.racing:
                self._score_all(made)
            else:
                for one in made:
                    self._note(one, self.scorer.known(one) if variant.node.score else None)
            handed = self._select(job, made)
            made = self._prune(job, made, handed)
            self.made[variant.name] += made
            self.handed[variant.name] += handed

    def _score_all(self, made: list[Made]) -> None:
        if self.cluster and made:
            with ThreadPoolExecutor(len(made)) as threads:
                list(threads.map(self._score, made))
            return
        for one in made:
            self.scorer.learn(one, on_first(partial(self._score, one)))

    def _is_done(self, job: StepRun) -> bool:
        if job.folder.lost():
            self.reporter.say(f"{job.label}: its output is gone, so it is made again")
            job.folder.reopen()
        return job.folder.done

    def _work(self, job: StepRun) -> None:
        """Do the work: on all ranks where the step says so, else on the first while the others wait."""
        step = job.variant.step
        on_first(lambda: job.folder.open(resumable=bool(getattr(step, "resumable", False))))
        if getattr(step, "on_all_ranks", False):
            self._run_step(job)
            on_first(lambda: None)
        else:
            on_first(lambda: self._run_step(job))

    def _run_step(self, job: StepRun) -> None:
        step = _with_outputs(job.variant.step, {name: made.path for name, made in job.inputs.items()})
        context = StepContext(
            output=job.folder.work,
            inputs={name: made.path for name, made in job.inputs.items()},
            seed=job.variant.seed,
            say=self.reporter.say,
        )
        began = time.monotonic()
        parent = replace(job.parent.candidate, label=job.parent.label) if job.parent else Candidate(Path(), "nothing")
        try:
            for candidate in self._yielded(job, step, context, parent):
                if is_first():
                    job.folder.add(candidate)
                    if job.variant.node.score == "during":
                        self._score(self.made_by(job)[-1])
        except UserError as error:
            where = self.recipe.file.where("steps", job.variant.node.place)
            what = f"step `{job.label}`: " + (f"{error.where}: {error.what}" if error.where else error.what)
            raise UserError(what, where, error.mend, error.near) from error
        if is_first():
            self._finish(job, time.monotonic() - began)

    def _yielded(self, job: StepRun, step: Any, context: StepContext, parent: Candidate) -> Iterator[Candidate]:
        """What the step yields, here or on the cluster; a step that lost its node is begun again there."""
        if self.steps is None:
            yield from step.run(context, parent)
            return
        from darumeru.adaptation.on_cluster import NodeLost

        for left in reversed(range(STARTS)):
            try:
                yield from self.steps.run(step, context, parent, self.reporter.say)
                return
            except NodeLost as lost:
                if not left:
                    raise RunFailed(f"step `{job.label}` lost its node {STARTS} times: {lost}") from lost
                self.reporter.end(f"{job.label} lost its node and is begun again: {lost}")
                job.folder.open(resumable=bool(getattr(job.variant.step, "resumable", False)))

    def _finish(self, job: StepRun, seconds: float) -> None:
        count = len(job.folder.candidates())
        if not count:
            raise RunFailed(f"step `{job.label}` made nothing")
        inputs = {name: made.label for name, made in job.inputs.items()}
        parent_label = job.parent.label if job.parent else None
        job.folder.finish({"key": job.key, "seconds": round(seconds, 3), "parent": parent_label, "inputs": inputs})
        what = "text" if makes_text(job.variant.step) else f"{count} model{'s' * (count > 1)}"
        self.reporter.end(f"{job.label}: {what} in {numbers.seconds(seconds)}")

    def made_by(self, job: StepRun) -> list[Made]:
        """The candidates of a job so far, with labels and lineage."""
        candidates, gone = job.folder.candidates(), job.folder.deleted()
        made = []
        for number, candidate in enumerate(candidates, 1):
            label = job.label
            if candidate.training_step is not None and len(candidates) > 1:
                label = f"{job.label}-step{candidate.training_step}"
            elif len(candidates) > 1:
                label = f"{job.label}-{number}"
            relative = job.folder.relative(candidate.path)
            lineage = (*(job.parent.lineage if job.parent else ()), label)
            parents = tuple(one.label for one in (job.parent, *job.inputs.values()) if one)
            made.append(
                Made(
                    id=f"{job.key}/{relative}",
                    label=label,
                    candidate=replace(candidate, parents=parents),
                    job=job.folder.path.name,
                    variant=job.label,
                    node=job.variant.node.name,
                    lineage=lineage,
                    deleted=relative in gone,
                )
            )
        return made

    def _score(self, made: Made) -> Scored:
        known = self.scorer.known(made)
        if known is None:
            self.reporter.phase(f"scoring {made.label}")
            known = self.scorer.score(made)
            value = numbers.number(known.value)
            shown = f"failed: {known.failed}" if known.value is None else f"{known.main} {value}"
            self.reporter.end(f"{made.label}: {shown}")
        self._note(made, known)
        return known

    def _note(self, made: Made, scored: Scored | None) -> None:
        with self._lock:
            if self.board.put(board_line(made, scored, self.output, self._raced.get(made.id, ""))) and is_first():
                write_board(self.board, self.output)

    def _select(self, job: StepRun, made: list[Made]) -> list[Made]:
        select = job.variant.node.select
        here = [one for one in made if not one.deleted]
        if job.variant.node.name in self.recipe.racing:
            return here
        if select == "best":
            return [self._best(here, f"`{job.label}` selects the best")]
        if select == "last":
            return here[-1:]
        return self._top(job, here)

    def _top(self, job: StepRun, made: list[Made]) -> list[Made]:
        """The best `keep` candidates, and those without a score; all without `keep`."""
        keep = job.variant.node.keep
        if keep is None:
            return made
        ranked = sorted((one for one in made if self._merit(one) is not None), key=lambda one: -(self._merit(one) or 0))
        return [one for one in made if one in ranked[:keep] or one not in ranked]

    def _prune(self, job: StepRun, made: list[Made], handed: list[Made]) -> list[Made]:
        """Delete what `keep` gives up: never what is handed on, and what another step takes as the best is in it."""
        kept = self._top(job, [one for one in made if not one.deleted])
        result = []
        for one in made:
            if one.deleted or not (one in kept or one in handed):
                why = f"not among the best {job.variant.node.keep}"
                on_first(partial(job.folder.delete, one.candidate, why))
                one = replace(one, deleted=True)
                self._note(one, self.scorer.known(one))
            result.append(one)
        return result


def _with_outputs(step: Any, outputs: Mapping[str, Path]) -> Any:
    """The step with the places of other steps' outputs for `step.NAME` in its parameters."""

    def filled(value: Any) -> Any:
        if isinstance(value, str):
            return str(outputs[value]) if value.startswith(STEP) and value in outputs else value
        return type(value)(map(filled, value)) if isinstance(value, tuple | list) else value

    values = {one.name: getattr(step, one.name) for one in fields(step)}
    changed = {name: filled(value) for name, value in values.items() if filled(value) != value}
    return replace(step, **changed) if changed else step
