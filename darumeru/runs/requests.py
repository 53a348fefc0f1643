"""From the messages of a task's samples to the requests that ask them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

from darumeru.core.message import Message
from darumeru.engines.request import Generate, LogLikelihood, MultipleChoice, Request
from darumeru.prompts.builder import PromptBuilder
from darumeru.prompts.choice_tokens import ENDING, RULES, Spelled
from darumeru.runs.choice_tree import choice_requests
from darumeru.runs.config import AskConfig
from darumeru.runs.draws import Draws
from darumeru.runs.planned import Solver
from darumeru.runs.thought_budget import LEAST, ThoughtBudget, ThoughtfulChoice
from darumeru.runs.turns import Turns
from darumeru.runs.windows import Windows, window_requests
from darumeru.tasks.formats.document import WINDOW
from darumeru.tasks.profiles import Profile
from darumeru.tasks.sample import Sample
from darumeru.tasks.spec import TaskSpec

Conversation = Sequence[Message]
Labels = tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """The requests that ask one sample, and what makes one answer of theirs; None where one request's is its own. more:
    tokens that later requests may add to the prompt."""

    requests: tuple[Request, ...]
    solver: Solver | None = None
    more: int = 0

    @property
    def length(self) -> int:
        """Tokens of the longest prompt, with a continuation that is scored after it."""
        return max(map(_length, self.requests)) + self.more


def _length(request: Request) -> int:
    kind = request.kind
    return len(request.prompt) + (len(kind.continuation) if isinstance(kind, LogLikelihood) else 0)


class RequestMaker:
    """Makes the requests of one run: config, prompts of one tokenizer, profile, and the identity that keys carry."""

    def __init__(self, config: AskConfig, builder: PromptBuilder, profile: Profile, identity: str) -> None:
        self.config = config
        self.builder = builder
        self.profile = profile
        self.identity = identity
        self.draws = Draws(config, self._generates)
        self._spelled: dict[tuple[str, tuple[str, ...]], Spelled] = {}

    def new_tokens(self, spec: TaskSpec) -> int:
        """Tokens that an answer may have."""
        return spec.max_new_tokens + (self._thoughts(spec) if self._thinks(spec) else 0)

    def _thoughts(self, spec: TaskSpec) -> int:
        """Tokens that thoughts may have."""
        return max(spec.thinking_tokens or self.config.thinking_tokens, LEAST)

    def _generates(self, spec: TaskSpec) -> bool:
        return spec.method == "generate" or self._thinks(spec)

    def _thinks(self, spec: TaskSpec) -> bool:
        """Whether thoughts come first. Those before a choice take token ids, which a server keeps to itself."""
        able = spec.method == "generate" or (spec.method == "multiple_choice" and self.builder.tokenizer is not None)
        return able and self.config.thinking and self.builder.is_chat

    def asked(
        self, spec: TaskSpec, samples: Sequence[Sample], conversations: Sequence[Conversation], room: int
    ) -> list[Asked]:
        """What asks each of the samples, a whole text in windows of `room` tokens; TaskRefused for a task that cannot
        be asked with this tokenizer."""
        if spec.format == "document":
            most = min(room, spec.options.get("window", WINDOW))
            return [self._windows(sample.continuation or "", most) for sample in samples]
        if spec.method == "loglikelihood":
            return self._continuations(samples, conversations)
        rendered = [self._messages(spec, conversation) for conversation in conversations]
        texts = [self.builder.text(messages) for messages in rendered]
        if spec.method == "multiple_choice" and not self._thinks(spec):
            return self._choices([sample.choices or spec.choices for sample in samples], rendered, texts)
        kinds = [self._generated(spec, *each) for each in zip(samples, rendered, strict=True)]
        prompts = self.builder.ids(texts)
        requests = [
            self.keyed(Request(tuple(prompt), kind, text, messages))
            for prompt, kind, text, messages in zip(prompts, kinds, texts, rendered, strict=True)
        ]
        if spec.method == "multiple_choice":
            openings = [one[-1].content if one[-1].role == "assistant" else "" for one in conversations]
            return [self._thoughtful(spec, *each) for each in zip(samples, requests, openings, strict=True)]
        return [self._texts(spec, sample, request) for sample, request in zip(samples, requests, strict=True)]

    def _generated(self, spec: TaskSpec, sample: Sample, messages: Conversation) -> Generate:
        sampling = self.draws.sampling(spec, sample)
        if spec.method == "multiple_choice":
            return Generate(self._thoughts(spec), self.builder.thought_endings, self.builder.thought_tokens, sampling)
        stops = self._stops(spec, sample, messages)
        penalty = spec.repetition_penalty or 1.0
        return Generate(self.new_tokens(spec), stops, self.builder.thought_tokens, sampling, penalty)

    def _texts(self, spec: TaskSpec, sample: Sample, request: Request) -> Asked:
        if sample.turns:
            more = sum(self._tokens(text) + self.new_tokens(spec) for text in sample.turns)
            return Asked((request,), Turns(sample.turns, self.builder, self.keyed), more)
        if self._thinks(spec) and self.builder.tokenizer is not None:
            return Asked((request,), ThoughtBudget(self._thoughts(spec), spec.max_new_tokens, self.builder, self.keyed))
        return Asked((request,))

    def _tokens(self, text: str) -> int:
        """Tokens that a turn adds, with those that stand around it in a template; 0 where a server counts them."""
        return len(self.builder.tokens(text)) + self._around if self.builder.tokenizer is not None else 0

    @cached_property
    def _around(self) -> int:
        messages = Message("user", ""), Message("assistant", ""), Message("user", "")
        return len(self.builder.tokens(self.builder.text(messages)))

    def _windows(self, text: str, most: int) -> Asked:
        requests = tuple(map(self.keyed, window_requests(self.builder, text, most)))
        return Asked(requests, Windows() if len(requests) > 1 else None)

    def _continuations(self, samples: Sequence[Sample], conversations: Sequence[Conversation]) -> list[Asked]:
        answered = [
            self.builder.conversation((*conversation, Message("assistant", sample.continuation or "")))
            for sample, conversation in zip(samples, conversations, strict=True)
        ]
        return [
            Asked((self.keyed(Request(one.prompt, LogLikelihood(one.answer), one.text, messages)),))
            for one, messages in zip(self.builder.answers(answered), answered, strict=True)
        ]

    def _stops(self, spec: TaskSpec, sample: Sample, messages: Conversation) -> tuple[str, ...]:
        """Texts at which the engine may end the answer: none where thoughts may come first, which they must not cut;
        annotation cuts what follows those."""
        opened = messages[-1].role == "assistant" and self.builder.tokenizer is not None
        if self.builder.may_think and not opened:
            return ()
        reference = sample.target if spec.copies_reference else ""
        return self.profile.stops(spec.stop, self.builder.is_chat, reference)

    def _messages(self, spec: TaskSpec, conversation: Conversation) -> tuple[Message, ...]:
        if self._thinks(spec) and conversation[-1].role == "assistant":
            conversation = conversation[:-1]
        return self.builder.conversation(conversation)

    def _choices(
        self, labels: Sequence[Labels], rendered: Sequence[tuple[Message, ...]], texts: Sequence[str]
    ) -> list[Asked]:
        """labels: of each sample the answers that it is asked to choose among."""
        if self.builder.tokenizer is None:
            kinds = [MultipleChoice(each, ((),) * len(each), self.profile.top_k) for each in labels]
            return [Asked((self.keyed(Request((), *each)),)) for each in zip(kinds, texts, rendered, strict=True)]
        spelled = [self._spellings(*each) for each in zip(labels, texts, strict=True)]
        texts = [text + one.space for text, one in zip(texts, spelled, strict=True)]
        prompts = self.builder.ids(texts)
        return [
            self._choice(each, one, Request(tuple(prompt), _ANY, text, messages))
            for each, one, prompt, text, messages in zip(labels, spelled, prompts, texts, rendered, strict=True)
        ]

    def _spellings(self, labels: Labels, text: str) -> Spelled:
        place = text[-ENDING:], labels
        if place not in self._spelled:
            self._spelled[place] = RULES[self.profile.choice_rule](self.builder, *place)
        return self._spelled[place]

    def _choice(self, labels: Labels, spelled: Spelled, request: Request) -> Asked:
        requests, tree = choice_requests(request, labels, spelled, self.profile.top_k)
        return Asked(tuple(map(self.keyed, requests)), tree)

    def _thoughtful(self, spec: TaskSpec, sample: Sample, request: Request, opening: str) -> Asked:
        """A choice after thoughts. opening: what the task lets the answer begin with."""
        labels = sample.choices or spec.choices
        spelled = self._spellings(labels, opening)  # refuses what the tokenizer does not tell apart
        solver = ThoughtfulChoice(
            self._thoughts(spec),
            opening,
            labels,
            self.profile.top_k,
            self.profile.choice_rule,
            self.builder,
            self._spellings,
            self.keyed,
        )
        longest = max(len(ids) for spellings in spelled.spellings for ids in spellings)
        return Asked((request,), solver, len(self.builder.tokens(opening)) + longest)

    def keyed(self, request: Request) -> Request:
        """The request with the key of its answer in the store: a hash over everything that the answer depends on, its
        token ids or, where a server makes those, its messages."""
        kind = {"kind": type(request.kind).__name__, **request.kind.__dict__}
        if isinstance(request.kind, Generate):
            sampling = kind.pop("sampling")
            kind |= {"sampling": asdict(sampling)} if sampling else {}
            # What changes nothing is no part of a key.
            if request.kind.repetition_penalty == 1:
                del kind["repetition_penalty"]
        asked = request.prompt or [[message.role, message.content] for message in request.messages]
        content = json.dumps([self.identity, asked, kind], ensure_ascii=False, separators=(",", ":"))
        return replace(request, key=hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:32])


_ANY = MultipleChoice((), ())
