"""The plan of a run: every sample as a request, made and checked before any weight is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from darumeru.core.errors import UserError
from darumeru.core.message import Message
from darumeru.engines.request import Generate, LogLikelihood, MultipleChoice, Request
from darumeru.prompts import choice_tokens
from darumeru.prompts.builder import PromptBuilder
from darumeru.runs.options import RunOptions
from darumeru.tasks.formats import sample_maker
from darumeru.tasks.profiles import Profile, profile_named
from darumeru.tasks.records import Split, load_split
from darumeru.tasks.sample import Sample
from darumeru.tasks.spec import TaskSpec
from darumeru.tasks.subset import limited

if TYPE_CHECKING:
    from darumeru.runs.sources import Source


@dataclass(frozen=True)
class PlannedSample:
    """A sample and the request that asks it. shots: examples (or context turns) that fitted. meta: the sample's meta
    with the reference lengths that length metrics need."""

    sample: Sample
    request: Request
    shots: int
    meta: Mapping[str, Any]


@dataclass(frozen=True)
class PlannedTask:
    """A task of the run. too_long: ids of samples whose prompt does not fit even without examples. num_fewshot: shots
    asked for. data: origin, revision and hashes of the records. error: why the task cannot be asked at all.
    source: who plans and scores it (runs/sources.py), "" for Darumeru's own; settings: what that source needs to score
    it again, plain JSON."""

    spec: TaskSpec
    samples: tuple[PlannedSample, ...]
    too_long: tuple[str, ...]
    num_fewshot: int
    data: Mapping[str, Any]
    limited: bool = False
    error: str | None = None
    source: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def row_metrics(self) -> tuple[str, ...]:
        """Metrics whose value on each sample is stored with it."""
        return () if self.source else self.spec.metrics

    @property
    def expected(self) -> int:
        """Samples that a complete answer to this task has."""
        return len(self.samples) + len(self.too_long)


@dataclass(frozen=True)
class Plan:
    """All tasks of a run and the total length (prompt and answer) that the engine must hold."""

    tasks: tuple[PlannedTask, ...]
    max_length: int
    identity: str = ""
    planned: tuple[PlannedSample, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "planned", tuple(one for task in self.tasks for one in task.samples))


class Planner:
    """Makes the plan of one run: options, prompts of one tokenizer, and the identity that fingerprints carry.

    identity: hash over model, tokenizer, engine and template; context: the model's own context length.
    """

    def __init__(self, options: RunOptions, builder: PromptBuilder, identity: str, context: int | None) -> None:
        self.options = options
        self.builder = builder
        self.identity = identity
        self.context = context
        self.profile: Profile = profile_named(options.profile)
        self._splits: dict[tuple[Any, ...], Split] = {}
        self._choices: dict[tuple[str, ...], MultipleChoice] = {}

    def plan(self, specs: Sequence[TaskSpec], sources: Sequence[Source] = ()) -> Plan:
        """Read the data of all tasks, then make all requests. Raises UserError for anything the user must mend."""
        foreign = [task for source in sources for task in source.plan(self)]
        made = [(spec, *self._samples(spec)) for spec in specs]
        tasks = [self._task(spec, samples, data, cut) for spec, samples, data, cut in made]
        totals = [self.total(spec.max_length) for spec in specs] + [self.total() for _ in sources]
        return Plan((*tasks, *foreign), max(totals, default=0), self.identity)

    @property
    def num_fewshot(self) -> int:
        """Shots asked for: the option, or 5 for a foundation model and 0 for one with a chat template."""
        asked = self.options.num_fewshot
        return asked if asked is not None else (0 if self.builder.is_chat else 5)

    def _split(self, spec: TaskSpec, name: str) -> Split:
        key = (spec.source.repository, spec.source.config, spec.source.revision, name)
        if key not in self._splits:
            self._splits[key] = load_split(spec.source, name, self.options.data)
        return self._splits[key]

    def _samples(self, spec: TaskSpec) -> tuple[list[Sample], dict[str, Any], bool]:
        wanted = self.num_fewshot if spec.few_shot else 0
        test = self._split(spec, spec.source.test)
        hashes = {spec.source.test: test.sha256}
        shots: tuple[Any, ...] = ()
        records = test.records
        if spec.source.shots and wanted:
            shots = self._split(spec, spec.source.shots).records
            hashes[spec.source.shots] = self._split(spec, spec.source.shots).sha256
            if spec.source.shots == spec.source.test:
                records = records[spec.first_shot + wanted :]
        everything = sample_maker(spec.format, spec.name)(spec, records, shots, wanted)
        kept = limited(
            everything,
            spec,
            self.options.limit,
            subject_limit=self.profile.subject_limit,
            seed=self.options.subset_seed,
        )
        full = limited(everything, spec, None)
        data = {"origin": test.origin, "revision": test.revision, "sha256": hashes}
        return kept, data, len(kept) < len(full)

    def _new_tokens(self, spec: TaskSpec) -> int:
        thinks = self.options.prompts.thinking and spec.method == "generate"
        return spec.max_new_tokens + (self.options.thinking_tokens if thinks else 0)

    def total(self, needed: int | None = None) -> int:
        """Tokens of prompt and answer together. needed: a task's own minimum."""
        wanted = max(self.options.max_length, needed or 0)
        return min(wanted, self.context) if self.context else wanted

    def _task(self, spec: TaskSpec, samples: Sequence[Sample], data: Mapping[str, Any], cut: bool) -> PlannedTask:
        room = self.total(spec.max_length) - self._new_tokens(spec)
        if room <= 0:
            raise UserError(
                f"{spec.name} needs {self._new_tokens(spec)} tokens for an answer, and prompt and answer "
                f"together may have {self.total(spec.max_length)}",
                "context" if self.context and self.context <= room + self._new_tokens(spec) else "--max-length",
                "leave the task out with --tasks, or use a model with a longer context",
            )
        wanted = self.num_fewshot if spec.few_shot else 0
        if spec.method == "multiple_choice" and self.profile.choice_rule == "spellings" and samples:
            try:
                self._choice(spec)
            except UserError as error:
                return PlannedTask(spec, (), tuple(sample.id for sample in samples), wanted, data, cut, error.line())
        planned, too_long = self._fit(spec, samples, room)
        return PlannedTask(spec, tuple(planned), tuple(too_long), wanted, data, cut)

    def _fit(self, spec: TaskSpec, samples: Sequence[Sample], room: int) -> tuple[list[PlannedSample], list[str]]:
        shots = {number: sample.most for number, sample in enumerate(samples)}
        ready: dict[int, PlannedSample] = {}
        lost: list[int] = []
        waiting = list(shots)
        while waiting:
            rendered = [self._messages(spec, samples[number].conversation(shots[number])) for number in waiting]
            texts = [self.builder.text(messages) for messages in rendered]
            requests = self._requests(spec, [samples[number] for number in waiting], rendered, texts)
            again = []
            for number, request in zip(waiting, requests, strict=True):
                length = len(request.prompt) + (
                    len(request.kind.continuation) if isinstance(request.kind, LogLikelihood) else 0
                )
                if length <= room:
                    ready[number] = self._planned(spec, samples[number], request, shots[number])
                elif shots[number] == 0:
                    lost.append(number)
                else:
                    # Long dialogues have hundreds of turns: come down by the share that is too much, at least by one.
                    share = int(shots[number] * room / length) if shots[number] > 16 else shots[number]
                    shots[number] = max(0, min(shots[number] - 1, share))
                    again.append(number)
            waiting = again
        return [ready[number] for number in sorted(ready)], [samples[number].id for number in sorted(lost)]

    def _messages(self, spec: TaskSpec, conversation: Sequence[Message]) -> tuple[Message, ...]:
        thinks = self.options.prompts.thinking and spec.method == "generate"
        if thinks and conversation[-1].role == "assistant":
            conversation = conversation[:-1]
        return self.builder.conversation(conversation)

    def _requests(
        self, spec: TaskSpec, samples: Sequence[Sample], rendered: Sequence[tuple[Message, ...]], texts: Sequence[str]
    ) -> list[Request]:
        texts = list(texts)
        kinds: list[MultipleChoice | Generate | LogLikelihood]
        if spec.method == "loglikelihood":
            kinds = [LogLikelihood(tuple(self.builder.tokens(sample.continuation or ""))) for sample in samples]
        elif spec.method == "generate":
            kinds = [Generate(self._new_tokens(spec), spec.stop)] * len(texts)
        elif self.profile.choice_rule == "spellings":
            kinds = [self._choice(spec)] * len(texts)
        else:
            pairs = [choice_tokens.continuation(self.builder, text, spec.choices, self.profile.top_k) for text in texts]
            texts, kinds = [text for text, _ in pairs], [choice for _, choice in pairs]
        ids = self.builder.ids(texts)
        return [
            self.fingerprinted(Request(tuple(prompt), kind, text, messages))
            for prompt, kind, text, messages in zip(ids, kinds, texts, rendered, strict=True)
        ]

    def _choice(self, spec: TaskSpec) -> MultipleChoice:
        if self.builder.tokenizer is None:
            return MultipleChoice(spec.choices, ((),) * len(spec.choices), self.profile.top_k)
        if spec.choices not in self._choices:
            self._choices[spec.choices] = choice_tokens.spellings(self.builder, spec.choices, self.profile.top_k)
        return self._choices[spec.choices]

    def fingerprinted(self, request: Request) -> Request:
        """The request with the key of its answer in the store."""
        kind = {"kind": type(request.kind).__name__, **request.kind.__dict__}
        content = json.dumps([self.identity, request.prompt, kind], ensure_ascii=False, separators=(",", ":"))
        return replace(request, fingerprint=hashlib.sha256(content.encode()).hexdigest()[:32])

    def _planned(self, spec: TaskSpec, sample: Sample, request: Request, used: int) -> PlannedSample:
        meta = dict(sample.meta)
        if not spec.few_shot and sample.most:
            return PlannedSample(sample, request, 0, meta | {"context_turns": used})
        if spec.options.get("target") != "reference":
            return PlannedSample(sample, request, used, meta)
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
        return PlannedSample(sample, request, used, meta | lengths)


def _needs_ids(spec: TaskSpec) -> bool:
    return bool({"original_length_ratio", "token_copy_rate"} & set(spec.metrics))
