"""The plan of a run: every sample as a request, made and checked before any weight is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from darumeru.core.errors import UserError
from darumeru.core.message import Message
from darumeru.engines.request import Generate, LogLikelihood, MultipleChoice, Request
from darumeru.prompts import choice_tokens
from darumeru.prompts.builder import PromptBuilder
from darumeru.runs.config import AskConfig
from darumeru.runs.planned import Plan, PlannedSample, PlannedTask
from darumeru.tasks.formats import sample_maker
from darumeru.tasks.profiles import Profile, profile_named
from darumeru.tasks.records import Split, load_split
from darumeru.tasks.sample import Sample
from darumeru.tasks.spec import TaskSpec
from darumeru.tasks.subset import limited


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
        self.builder = builder
        self.identity = identity
        self.context = context
        self.profile: Profile = profile_named(config.profile)
        self._splits: dict[tuple[Any, ...], Split] = {}
        self._choices: dict[tuple[str, ...], MultipleChoice] = {}

    def plan(self, specs: Sequence[TaskSpec], sources: Sequence[TaskSource] = ()) -> Plan:
        """Read the data of all tasks, then make all requests. Raises UserError for anything the user must mend."""
        foreign = [task for source in sources for task in source.plan(self)]
        made = [(spec, *self._samples(spec)) for spec in specs]
        tasks = [self._task(spec, samples, data, cut) for spec, samples, data, cut in made]
        totals = [self.total(spec.max_length) for spec in specs] + [self.total() for _ in sources]
        return Plan((*tasks, *foreign), max(totals, default=0))

    @property
    def num_fewshot(self) -> int:
        """Shots asked for: the option, or 5 for a foundation model and 0 for one with a chat template."""
        asked = self.config.num_fewshot
        return (0 if self.builder.is_chat else 5) if asked == "auto" else asked

    def _split(self, spec: TaskSpec, name: str) -> Split:
        key = (spec.source.repository, spec.source.config, spec.source.revision, name)
        if key not in self._splits:
            self._splits[key] = load_split(spec.source, name, self.config.data)
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
            self.config.limit,
            subject_limit=self.profile.subject_limit,
            seed=self.config.subset_seed,
        )
        full = limited(everything, spec, None)
        data = {"origin": test.origin, "revision": test.revision, "sha256": hashes}
        return kept, data, len(kept) < len(full)

    def _new_tokens(self, spec: TaskSpec) -> int:
        thinks = self.config.thinking and spec.method == "generate"
        return spec.max_new_tokens + (self.config.thinking_tokens if thinks else 0)

    def total(self, needed: int | None = None) -> int:
        """Tokens of prompt and answer together. needed: a task's own minimum."""
        wanted = max(self.config.max_length, needed or 0)
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
        thinks = self.config.thinking and spec.method == "generate"
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
            self.keyed(Request(tuple(prompt), kind, text, messages))
            for prompt, kind, text, messages in zip(ids, kinds, texts, rendered, strict=True)
        ]

    def _choice(self, spec: TaskSpec) -> MultipleChoice:
        if self.builder.tokenizer is None:
            return MultipleChoice(spec.choices, ((),) * len(spec.choices), self.profile.top_k)
        if spec.choices not in self._choices:
            self._choices[spec.choices] = choice_tokens.spellings(self.builder, spec.choices, self.profile.top_k)
        return self._choices[spec.choices]

    def keyed(self, request: Request) -> Request:
        """The request with the key of its answer in the store: a hash over everything that the answer depends on, its
        token ids or, where a server makes those, its messages."""
        kind = {"kind": type(request.kind).__name__, **request.kind.__dict__}
        asked = request.prompt or [[message.role, message.content] for message in request.messages]
        content = json.dumps([self.identity, asked, kind], ensure_ascii=False, separators=(",", ":"))
        return replace(request, key=hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:32])

    def _planned(self, spec: TaskSpec, sample: Sample, request: Request, used: int) -> PlannedSample:
        meta = dict(sample.meta)
        if not spec.few_shot and sample.most:
            return PlannedSample(sample, (request,), 0, meta | {"context_turns": used})
        if spec.options.get("target") != "reference":
            return PlannedSample(sample, (request,), used, meta)
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
        return PlannedSample(sample, (request,), used, meta | lengths)


def _needs_ids(spec: TaskSpec) -> bool:
    return bool({"original_length_ratio", "token_copy_rate"} & set(spec.metrics))
