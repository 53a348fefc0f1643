"""Session: the one way from questions to scores, whoever calls it: prepare -> ask -> annotate -> score."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from darumeru.core.answer import Answer
from darumeru.core.errors import RunFailed, UserError
from darumeru.core.options import Effect, declared, of_effect, plain
from darumeru.core.secrets import redacted
from darumeru.engines import free_arguments
from darumeru.engines.protocol import Engine, EngineOptions
from darumeru.engines.request import Generate
from darumeru.metrics.repeated import DRAW
from darumeru.runs.annotate import annotator, thought_counter
from darumeru.runs.ask import Failures, Pending, pending_samples, stream
from darumeru.runs.config import AskConfig
from darumeru.runs.manifest import MANIFEST, SessionLog, earlier_manifest
from darumeru.runs.plan import Planner, TaskSource
from darumeru.runs.planned import Plan
from darumeru.runs.progress import Progress, Silent
from darumeru.runs.run import Run, check_files, load_run
from darumeru.runs.score import score_run
from darumeru.runs.sources import open_sources, split
from darumeru.runs.spec import RunSpec, differences
from darumeru.runs.store import SAMPLES, SampleStore
from darumeru.runs.stored_plan import StoredPlan, StoredTask
from darumeru.runs.subject import Subject
from darumeru.tasks.registry import load_registry

EngineLoader = Callable[[str, EngineOptions], Engine]


@dataclass(frozen=True)
class Session:
    """What a config asks of a subject: `prepare` makes one, `carry_out` asks and scores it in a folder."""

    config: AskConfig
    subject: Subject
    plan: Plan
    stored: StoredPlan
    spec: RunSpec
    progress: Progress = field(default_factory=Silent)

    @staticmethod
    def prepare(
        config: AskConfig, subject: Subject, progress: Progress | None = None, given: Sequence[TaskSource] = ()
    ) -> Session:
        """Read the data and make every prompt, so that whatever is wrong is found (UserError) before any weight is
        loaded. given: what is asked instead of what the config's task names choose."""
        progress = progress or Silent()
        own, foreign = ([], {}) if given else split(config.patterns)
        specs = load_registry(config.profile, config.include).select(own)
        for name in {name for spec in specs for name in spec.annotators}:
            annotator(name)
        sources = [*given, *open_sources(foreign, config)]
        answers = _answers(config, subject)
        planner = Planner(config, subject.builder, RunSpec(answers).identity, subject.context)
        progress.phase("reading data, building prompts")
        plan = planner.plan(specs, sources, progress)
        for remark in subject.builder.remarks:
            progress.note(remark)
        stored = StoredPlan.of(plan)
        spec = RunSpec({**answers, "num_fewshot": planner.num_fewshot}, _scores(config, stored.tasks))
        return Session(config, subject, plan, stored, spec, progress)

    def answered_by(self, engine: str, name: str, progress: Progress) -> Session:
        """The same questions to the same model under another name, answered by another engine than was planned."""
        subject = replace(self.subject, name=name)
        spec = replace(self.spec, answers={**self.spec.answers, "engine": engine})
        return replace(self, subject=subject, spec=spec, progress=progress)

    @cached_property
    def incomplete(self) -> dict[str, str]:
        """Task -> why it will have no complete score, as far as the plan shows it."""
        too_long = f"prompts do not fit into {self.plan.max_length} tokens"
        found = {
            task.spec.name: task.error or (f"{len(task.too_long)} {too_long}" if task.too_long else None)
            for task in self.plan.tasks
        }
        return {name: reason for name, reason in found.items() if reason}

    def carry_out(
        self, folder: Path, load: EngineLoader, fresh: bool = False, about: Mapping[str, Any] | None = None
    ) -> tuple[Run, Failures]:
        """Ask what `folder` does not hold an answer of, and score everything there; a folder that holds the scores of
        exactly this run already is only read.

        load: gives the engine, when there is something to ask. fresh: what lies there is of other weights. about: more
        fields for the manifest. RunFailed when the engine dies: what was answered is stored and the same call goes on.
        """
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        earlier = earlier_manifest(folder)
        with SampleStore(folder) as store:
            pending = pending_samples(self.plan, store)
            finished = None if pending else self._finished(folder)
            if finished is not None:
                return finished, Failures()
            self._say_changes(earlier, len(pending))
            log = SessionLog(folder, {**self._about(), **(about or {})}, earlier, self._free())
            failures = Failures()
            try:
                self.stored.write(folder)
                log.write("running", to_ask=len(pending))
                if pending:
                    failures = self._ask(folder, pending, store, load)
            except BaseException as error:
                answered = len(self.plan.planned) - len(pending) + store.answered
                error.add_note(f"{answered} of {len(self.plan.planned)} answers are stored")
                log.write("interrupted")
                raise
            manifest = log.write("interrupted" if failures.died else "finished")
            self.progress.phase("computing scores")
            score_run(folder, manifest, failures.tasks)
            self.progress.stop()
        if failures.died:
            raise RunFailed(f"the engine died: {failures.died} (finished answers are stored; the same command goes on)")
        return load_run(folder), failures

    def _ask(self, folder: Path, pending: Sequence[Pending], store: SampleStore, load: EngineLoader) -> Failures:
        self.progress.phase(f"loading the model into {self.subject.engine}")
        log_file = str(folder / "engine.log")
        engine = load(
            self.subject.engine,
            replace(
                self.subject.options, max_model_len=self.plan.max_length, log_file=log_file, say=self.progress.note
            ),
        )
        try:
            for limit in getattr(engine, "limits", ()):
                self.progress.note(limit)
            self.progress.start(len(self.plan.planned), len(self.plan.planned) - len(pending))
            return stream(engine, pending, store.append, self.progress, self._finish())
        finally:
            engine.close()

    def _finish(self) -> Callable[[Answer], Answer]:
        builder = self.subject.builder
        return thought_counter(builder.decode) if builder.tokenizer is not None else lambda answer: answer

    def _finished(self, folder: Path) -> Run | None:
        """The folder's run when it is finished and is exactly this one."""
        try:
            stored = load_run(folder)
        except UserError:
            return None
        same = stored.results.manifest["spec"] == self.spec.to_dict() and stored.name == self.subject.name
        if not same or stored.results.failed:
            return None
        try:
            check_files(folder, stored.results)
        except UserError as edited:
            self.progress.note(f"{edited.where} {edited.what}: it is scored again")
            return None
        return stored

    def _say_changes(self, earlier: Mapping[str, Any] | None, pending: int) -> None:
        """One line on what differs from what the folder holds, and what is done about it."""
        if earlier is None:
            return
        old, new = RunSpec.from_dict(earlier["spec"]), self.spec
        changed = differences(old.answers, new.answers) + differences(old.scores, new.scores)
        if changed:
            total = len(self.plan.planned)
            doing = f"{pending} of {total} samples are asked" if pending else "nothing is asked"
            self.progress.note(
                f"changed since the folder's last run: {'; '.join(changed)}. {doing}, all is scored again"
            )

    def _about(self) -> dict[str, Any]:
        """What the manifest says of the run: its spec, and the same for people."""
        subject, config, prompts = self.subject, self.config, self.subject.builder.options
        sampling = self._sampling()
        return {
            "model": {"name": subject.name, "revision": subject.revision, "fingerprint": subject.identity["model"]},
            "tokenizer": {"fingerprint": subject.identity["tokenizer"]},
            "lora": subject.identity["adapter"],
            "template": {
                "hash": subject.builder.template_hash,
                "chat": subject.builder.is_chat,
                "system_prompt": prompts.system_prompt,
                "thinking": prompts.thinking,
                "date": self.spec.answers["date"],
            },
            "profile": config.profile,
            "engine": {
                "name": self.spec.answers["engine"],
                "dtype": subject.options.dtype,
                "args": self.spec.answers["engine_args"],
            },
            "max_length": config.max_length,
            "num_fewshot": config.num_fewshot,
            "num_fewshot_used": self.spec.answers["num_fewshot"],
            "tasks": list(config.patterns),
            "data": {
                "source": config.data,
                "tasks": {
                    task.spec.name: {**task.data, **_source(asdict(task.spec.source))} for task in self.plan.tasks
                },
            },
            "differs": {task.spec.name: list(task.spec.differs) for task in self.plan.tasks if task.spec.differs},
            "limit": config.limit,
            "subset_seed": config.subset_seed,
            "seed": config.seed,
            "resamples": config.resamples,
            "decoding": "sampled" if sampling else "greedy",
            "sampling": sampling,
            "spec": self.spec.to_dict(),
            "spec_hash": self.spec.hash,
        }

    def _sampling(self) -> dict[str, Any]:
        """Task -> how its answers are drawn, for tasks that are not greedy."""
        return {
            task.spec.name: {
                **{name: value for name, value in asdict(kind.sampling).items() if name != "seed"},
                "num_samples": 1 + max(int(one.sample.meta.get(DRAW, 0)) for one in task.samples),
            }
            for task in self.plan.tasks
            for kind in [task.samples[0].request.kind if task.samples else None]
            if isinstance(kind, Generate) and kind.sampling
        }

    def _free(self) -> dict[str, Any]:
        """What this command said that changes nothing by itself, for the manifest's list of sessions: free options,
        and where the material lies."""
        free = free_arguments(self.subject.engine)
        values = plain(self.config)
        declarations = declared(type(self.config))
        kept = [one.name for one in declarations if one.option.material or one.option.effect is Effect.NOTHING]
        arguments = {key: one for key, one in self.subject.options.extra.items() if key in free}
        return dict(redacted({**{name: values[name] for name in kept}, "engine_args": arguments}))


def _answers(config: AskConfig, subject: Subject) -> dict[str, Any]:
    """RunSpec.answers."""
    free = free_arguments(subject.engine)
    shown = subject.builder.options.date if subject.builder.template.prints_date else None
    return {
        **dict(of_effect(config, Effect.ANSWERS)),
        **subject.identity,
        "engine": subject.engine,
        "dtype": subject.options.dtype,
        "engine_args": redacted({key: one for key, one in subject.options.extra.items() if key not in free}),
        "template": subject.builder.template_hash,
        "date": shown and shown.isoformat(),
    }


def _scores(config: AskConfig, stored: Sequence[StoredTask]) -> dict[str, Any]:
    """RunSpec.scores."""
    return {
        **dict(of_effect(config, Effect.SCORES)),
        "definitions": {task.name: task.definition for task in stored},
        "data": {task.name: task.data.get("sha256") for task in stored},
        "targets": {task.name: task.targets for task in stored},
        "darumeru": version("darumeru"),
    }


def _source(values: Mapping[str, Any]) -> dict[str, Any]:
    """Where the records come from: repository, config and split, or the name of a file or folder of the task's own."""
    own = values["file"] or values["folder"]
    found = {"repository": values["repository"], "config": values["config"], "split": values["test"]}
    return {**found, "file": Path(own).name} if own else found


def output_folder(place: str | Path) -> Path:
    """The output folder, made and proven writable."""
    folder = Path(place).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror}", str(folder), "choose another --output") from error
    others = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    if others and not (folder / MANIFEST).exists() and not (folder / SAMPLES).exists():
        raise UserError("the output folder holds other files", str(folder), "choose an empty or new --output")
    return folder
