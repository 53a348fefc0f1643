"""The plan of a run: every sample as a request, made and checked before any weight is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from darumeru.core.errors import TaskRefused, UserError
from darumeru.engines.request import Request
from darumeru.prompts.builder import PromptBuilder
from darumeru.prompts.plain import FORMATS
from darumeru.runs.choice_tree import ChoiceTree
from darumeru.runs.config import AskConfig
from darumeru.runs.planned import Plan, PlannedSample, PlannedTask
from darumeru.runs.progress import Progress, Silent
from darumeru.runs.requests import Asked, RequestMaker
from darumeru.tasks.formats import sample_maker
from darumeru.tasks.profiles import Profile, profile_named
from darumeru.tasks.questions import questions_of
from darumeru.tasks.records import Split, load_split
from darumeru.tasks.sample import Sample
from darumeru.tasks.spec import RecordSource, TaskSpec
from darumeru.tasks.subset import limited

WHOLE_ANSWERS = "with this tokenizer an answer has several tokens: its probability is that of all of them"


class TaskSource(Protocol):
    """Made as SourceClass(names, config), which raises UserError for a name that it does not know."""

    def plan(self, planner: Planner) -> Sequence[PlannedTask]:
        """The tasks with all their requests; UserError for anything that the user must mend."""
        ...


class Planner:
    """Makes the plan of one run: config, prompts of one tokenizer, and the identity that keys of answers carry.

    identity: hash over all that answers depend on beside their requests (RunSpec.identity); context: the model's own
    context length.
    """

    def __init__(self, config: AskConfig, builder: PromptBuilder, identity: str, context: int | None) -> None:
        self.config = config
        self.context = context
        self.profile: Profile = profile_named(config.profile)
        plain = replace(FORMATS[self.profile.plain_format], bos=self.profile.plain_bos)
        self.builder = builder.in_format(plain)
        self.requests = RequestMaker(config, self.builder, self.profile, identity)
        self._splits: dict[tuple[Any, ...], Split] = {}

    def plan(
        self, specs: Sequence[TaskSpec], sources: Sequence[TaskSource] = (), progress: Progress | None = None
    ) -> Plan:
        """Read the data of all tasks, then make all requests. Raises UserError for anything the user must mend."""
        progress = progress or Silent()
        foreign = [task for source in sources for task in source.plan(self)]
        made, tasks = [], []
        for number, spec in enumerate(specs):
            progress.part(number, 2 * len(specs), f"data of {spec.name}")
            made.append((spec, *self._samples(spec)))
        for number, (spec, samples, data, cut) in enumerate(made, len(specs)):
            progress.part(number, 2 * len(specs), f"prompts of {spec.name}")
            tasks.append(self.task(spec, samples, data, cut))
        totals = [self.total(self.needed(spec)) for spec in specs] + [self.total() for _ in sources]
        return Plan((*tasks, *foreign), max(totals, default=0))

    @property
    def num_fewshot(self) -> int:
        """Shots asked for: the option, or 5 for a foundation model and 0 for one with a chat template."""
        asked = self.config.num_fewshot
        return (0 if self.builder.is_chat else 5) if asked == "auto" else asked

    def shots(self, spec: TaskSpec) -> int:
        """Shots asked for of one task: its own number or the run's."""
        if not spec.few_shot:
            return 0
        return self.num_fewshot if spec.num_fewshot is None else spec.num_fewshot

    def _split(self, source: RecordSource, name: str) -> Split:
        key = (replace(source, test="", shots=None, where=None, shots_where=None), name)
        if key not in self._splits:
            self._splits[key] = load_split(source, name, self.config.data)
        return self._splits[key]

    def _samples(self, spec: TaskSpec) -> tuple[list[Sample], dict[str, Any], bool]:
        wanted = self.shots(spec)
        found = questions_of(spec, wanted, self._split)
        everything = sample_maker(spec.format, spec.name)(spec, found.asked, found.shots, wanted)
        kept = limited(
            everything,
            spec,
            self.config.limit,
            subject_limit=self.profile.subject_limit,
            seed=self.config.subset_seed,
        )
        full = limited(everything, spec, None)
        test = found.splits[spec.source.test]
        data = {"origin": test.origin, "revision": test.revision, "sha256": found.hashes}
        return kept, data, len(kept) < len(full)

    def keyed(self, request: Request) -> Request:
        """The request with the key of its answer in the store."""
        return self.requests.keyed(request)

    def needed(self, spec: TaskSpec) -> int | None:
        """Tokens of prompt and answer together that a task needs, None where it leaves that to the run."""
        return spec.prompt_limit + self.requests.new_tokens(spec) if spec.prompt_limit else spec.max_length

    def total(self, needed: int | None = None) -> int:
        """Tokens of prompt and answer together. needed: a task's own minimum."""
        wanted = max(self.config.max_length, needed or 0)
        return min(wanted, self.context) if self.context else wanted

    def task(
        self, spec: TaskSpec, samples: Sequence[Sample], data: Mapping[str, Any], cut: bool = False
    ) -> PlannedTask:
        """A task with the requests of its samples. data: where they come from; cut: they are not all there are."""
        room = self.total(self.needed(spec)) - self.requests.new_tokens(spec)
        limit = spec.prompt_limit or self.profile.prompt_limit
        if limit:
            room = min(room, limit)
        if room <= 0:
            raise UserError(
                f"{spec.name} needs {self.requests.new_tokens(spec)} tokens for an answer, and prompt and answer "
                f"together may have {self.total(self.needed(spec))}",
                "context" if self.context and self.context <= room + self.requests.new_tokens(spec) else "--max-length",
                "leave the task out with --tasks, or use a model with a longer context",
            )
        wanted = self.shots(spec)
        samples = self.requests.draws.drawn(spec, samples)
        try:
            planned, too_long = self._fit(spec, samples, room)
        except TaskRefused as error:
            return PlannedTask(spec, (), tuple(sample.id for sample in samples), wanted, data, cut, error.line())
        if any(isinstance(one.solver, ChoiceTree) for one in planned):
            spec = replace(spec, differs=(*spec.differs, WHOLE_ANSWERS))
        return PlannedTask(spec, tuple(planned), tuple(too_long), wanted, data, cut)

    def _fit(self, spec: TaskSpec, samples: Sequence[Sample], room: int) -> tuple[list[PlannedSample], list[str]]:
        shots = {number: sample.most for number, sample in enumerate(samples)}
        ready: dict[int, PlannedSample] = {}
        lost: list[int] = []
        waiting = list(shots)
        while waiting:
            trying = [samples[number] for number in waiting]
            conversations = [samples[number].conversation(shots[number]) for number in waiting]
            again = []
            for number, asked in zip(waiting, self.requests.asked(spec, trying, conversations, room), strict=True):
                # As both programs of the authors do: a prompt exactly as long as the room loses a shot.
                if asked.length < room or (asked.length == room and not shots[number]):
                    ready[number] = self._planned(spec, samples[number], asked, shots[number])
                elif shots[number] == 0:
                    lost.append(number)
                else:
                    # Long dialogues have hundreds of turns: come down by the share that is too much, at least by one.
                    few = shots[number] <= 16
                    share = shots[number] if few else int(shots[number] * room / asked.length)
                    shots[number] = max(0, min(shots[number] - 1, share))
                    again.append(number)
            waiting = again
        return [ready[number] for number in sorted(ready)], [samples[number].id for number in sorted(lost)]

    def _planned(self, spec: TaskSpec, sample: Sample, asked: Asked, used: int) -> PlannedSample:
        meta = dict(sample.meta)
        if spec.judge and "question" not in meta:
            said = [message.content for message in sample.conversation(0) if message.role == "user"]
            meta["question"] = said[-1] if said else ""
        if not spec.few_shot and sample.most:
            return PlannedSample(sample, asked.requests, 0, meta | {"context_turns": used}, asked.solver)
        if not spec.copies_reference:
            return PlannedSample(sample, asked.requests, used, meta, asked.solver)
        text = sample.target
        ids = self.builder.tokens(text if self.builder.adds_leading_space else " " + text)
        tokens = len(ids)
        lengths: dict[str, Any] = {"reference_ids": ids} if _needs_ids(spec) else {}
        lengths |= {
            "reference_tokens": min(tokens, spec.max_new_tokens),
            "text_tokens": tokens,
            "text_symbols": len(text),
            "text_words": len(text.split()),
        }
        return PlannedSample(sample, asked.requests, used, meta | lengths, asked.solver)


def _needs_ids(spec: TaskSpec) -> bool:
    return bool({"original_length_ratio", "token_copy_rate"} & set(spec.metrics))
