"""lm-eval's tasks in a run of Darumeru: lm-eval makes the texts, the run's planner, engine and store do the rest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from darumeru.core.errors import UserError
from darumeru.engines.request import Generate, LogLikelihood, Request
from darumeru.lm_eval_bridge.chat import ChatRenderer
from darumeru.lm_eval_bridge.instances import by_document, plain
from darumeru.lm_eval_bridge.languages import is_in
from darumeru.lm_eval_bridge.loading import Asked, Loaded, build_requests, forget, load, resolved
from darumeru.lm_eval_bridge.questions import Wish, generation, questions
from darumeru.lm_eval_bridge.tokens import TokenRules
from darumeru.prompts.thoughts import switches
from darumeru.runs.config import AskConfig
from darumeru.runs.plan import Planner
from darumeru.runs.planned import PlannedSample, PlannedTask
from darumeru.tasks.sample import Sample
from darumeru.tasks.spec import Method, RecordSource, TaskSpec

NAME = "lm_eval"
METHODS: Mapping[str, Method] = {
    "multiple_choice": "multiple_choice",
    "generate_until": "generate",
    "loglikelihood": "loglikelihood",
    "loglikelihood_rolling": "loglikelihood",
}


class LmEvalSource:
    """patterns: names of lm-eval's tasks, groups and tags, globs, or paths of YAML files."""

    def __init__(self, patterns: Sequence[str], config: AskConfig) -> None:
        forget()
        names, include = resolved(patterns, config.include)
        shots = None if config.num_fewshot == "auto" else config.num_fewshot
        self.asked = Asked(names, include, shots, config.limit, config.subset_seed)

    def plan(self, planner: Planner) -> list[PlannedTask]:
        """One planned task for each of lm-eval's; a sample is one request, its cluster one document."""
        if planner.builder.tokenizer is None:
            raise UserError("lm-eval's tasks need the model's tokenizer here", "lm_eval:", "name it with --tokenizer")
        loaded = load(self.asked)
        rules = TokenRules(planner.builder.tokenizer)
        return [TaskPlan(name, task, planner, rules).planned(self.asked, loaded) for name, task in loaded.tasks.items()]


class TaskPlan:
    """The plan of one lm-eval task."""

    def __init__(self, name: str, task: Any, planner: Planner, rules: TokenRules) -> None:
        self.name = name
        self.task = task
        self.planner = planner
        self.rules = rules
        self.room = planner.total()
        self.where = f"{NAME}:{name}"
        self.thinks = planner.config.thinking and planner.builder.is_chat and task.OUTPUT_TYPE == "generate_until"
        self.sampled = ""

    def planned(self, asked: Asked, loaded: Loaded) -> PlannedTask:
        """UserError for whatever cannot be asked of a text model or has no room."""
        build_requests(self.name, self.task, asked, self.planner.config.system_prompt, self._chat())
        documents = by_document(self.task.instances)
        fitting: list[PlannedSample] = []
        too_long: list[str] = []
        for made in self._samples(documents):
            if all(_length(one.request) <= self.room for one in made):
                fitting += made
            else:
                too_long += [one.sample.id for one in made]
        total = len(self.task.eval_docs)
        return PlannedTask(
            spec=self._spec(loaded),
            samples=tuple(fitting),
            too_long=tuple(too_long),
            num_fewshot=int(self.task.get_config("num_fewshot") or 0),
            data={"origin": NAME, "revision": None, "sha256": {self._split(): _hash(documents)}},
            limited=len(documents) < total,
            source=NAME,
            settings=asked.to_dict(),
        )

    def _chat(self) -> ChatRenderer | None:
        builder = self.planner.builder
        if not builder.is_chat:
            return None
        variables = switches(builder.template.source or "", self.thinks)
        return ChatRenderer(replace(builder.template, variables=variables))

    def _samples(self, documents: Mapping[int, Sequence[Any]]) -> list[list[PlannedSample]]:
        """The requests of each document; those of one type are tokenized together."""
        wanted: dict[str, list[tuple[int, int, Any]]] = {}
        for document, instances in documents.items():
            for place, instance in enumerate(instances):
                wanted.setdefault(instance.request_type, []).append((document, place, instance))
        made: dict[int, list[tuple[Request, dict[str, Any]]]] = {document: [] for document in documents}
        for kind, placed in wanted.items():
            maker = {
                "loglikelihood": self._likelihoods,
                "loglikelihood_rolling": self._rolling,
                "generate_until": self._texts,
            }.get(kind)
            if maker is None:
                raise UserError(f"requests of the type `{kind}` are not known", self.where)
            try:
                for document, request, meta in maker(placed):
                    made[document].append((request, meta))
            except ValueError as error:
                raise UserError(str(error), self.where) from error
        return [self._document(document, documents[document][0].doc, requests) for document, requests in made.items()]

    def _likelihoods(self, placed: Sequence[tuple[int, int, Any]]) -> list[tuple[int, Request, dict[str, Any]]]:
        texts = [instance.args for _, _, instance in placed]
        pairs = self.rules.pairs([(str(context), str(rest)) for context, rest in texts])
        grouped: dict[int, list[int]] = {}
        for number, (document, _, _) in enumerate(placed):
            grouped.setdefault(document, []).append(number)
        made = []
        for document, numbers in grouped.items():
            for question in questions([pairs[number] for number in numbers]):
                own = [numbers[place] for place in question.places]
                meta = {
                    "instances": [placed[number][1] for number in own],
                    "continuations": [texts[number][1] for number in own],
                    "tokens": list(question.tokens),
                    "part": question.part,
                    "parts": question.parts,
                }
                made.append((document, Request(question.prompt, question.kind, str(texts[own[0]][0])), meta))
        return made

    def _rolling(self, placed: Sequence[tuple[int, int, Any]]) -> list[tuple[int, Request, dict[str, Any]]]:
        made = []
        for document, place, instance in placed:
            pairs = self.rules.windows(instance.args[0], self.room)
            for number, pair in enumerate(pairs):
                meta = {"instances": [place], "part": number, "parts": len(pairs), "rolling": True}
                made.append((document, Request(pair.context, LogLikelihood(pair.continuation)), meta))
        return made

    def _texts(self, placed: Sequence[tuple[int, int, Any]]) -> list[tuple[int, Request, dict[str, Any]]]:
        contexts = self.rules.encode([instance.args[0] for _, _, instance in placed])
        tokenizer = self.rules.tokenizer
        end = None if tokenizer.eos_token_id is None else str(tokenizer.decode(tokenizer.eos_token_id))
        made = []
        for (document, place, instance), context in zip(placed, contexts, strict=True):
            wish = generation(instance.args[1], end)
            self.sampled = self.sampled or wish.sampled
            meta = {"instances": [place], "until": list(wish.until), "arguments": plain(instance.args[1])}
            made.append((document, Request(context, self._kind(wish), str(instance.args[0])), meta))
        return made

    def _kind(self, wish: Wish) -> Generate:
        kind = replace(wish.kind, keep=self.planner.builder.thought_tokens)
        if self.thinks:  # its stops are applied to what follows the thoughts
            budget = kind.max_new_tokens + self.planner.config.thinking_tokens
            kind = replace(kind, max_new_tokens=budget, stop=())
        if kind.max_new_tokens >= self.room:
            raise UserError(
                f"{self.where} needs {kind.max_new_tokens} tokens for an answer, and prompt and answer together may "
                f"have {self.room}",
                "--max-length",
                "leave the task out, or use a model with a longer context",
            )
        return kind

    def _document(
        self, document: int, doc: Any, requests: Sequence[tuple[Request, dict[str, Any]]]
    ) -> list[PlannedSample]:
        target = self._target(document, doc)
        shots = int(self.task.get_config("num_fewshot") or 0)
        made = []
        for number, (request, meta) in enumerate(requests):
            name = str(document) if len(requests) == 1 else f"{document}-{number}"
            about = {"document": document} | meta
            sample = Sample(self.where, name, str(document), lambda k: (), 0, target, about)
            made.append(PlannedSample(sample, (self.planner.keyed(request),), shots, about))
        return made

    def _target(self, document: int, doc: Any) -> Any:
        try:
            return plain(self.task.doc_to_target(doc))
        except Exception as error:  # a task is a stranger's code, which may raise anything
            raise UserError(
                f"the right answer of document {document} cannot be read: {type(error).__name__}: {error}", self.where
            ) from error

    def _split(self) -> str:
        return str(self.task.get_config("test_split") or self.task.get_config("validation_split") or "test")

    def _spec(self, loaded: Loaded) -> TaskSpec:
        metrics = tuple(self.task.aggregation()) or ("acc",)
        known = loaded.names.get(self.name)
        russian = known is not None and is_in(known, "ru", loaded.names)
        method = METHODS.get(self.task.OUTPUT_TYPE, "generate")
        config = self.task.get_config
        return TaskSpec(
            name=self.where,
            group=NAME,
            description=f"lm-eval's task {self.name}",
            method=method,
            format=NAME,
            source=RecordSource(str(config("dataset_path") or ""), config("dataset_name"), self._split(), None),
            metrics=metrics,
            score=metrics[:1],
            leaderboard=False,
            language="ru" if russian else "",
            differs=(f"the task {self.sampled}; answers are greedy",) if self.sampled else (),
        )


def _length(request: Request) -> int:
    kind = request.kind
    if isinstance(kind, Generate):
        return len(request.prompt) + kind.max_new_tokens
    return len(request.prompt) + (len(kind.continuation) if isinstance(kind, LogLikelihood) else 1)


def _hash(documents: Mapping[int, Sequence[Any]]) -> str:
    hasher = hashlib.sha256()
    for instances in documents.values():
        hasher.update(json.dumps(plain(instances[0].doc), ensure_ascii=False, sort_keys=True).encode())
    return hasher.hexdigest()
