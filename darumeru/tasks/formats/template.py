"""Records of any shape: prompts are Jinja templates over their fields, choices and right answers expressions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from darumeru.core.errors import UserError
from darumeru.core.message import Message
from darumeru.core.template_trial import try_templates
from darumeru.core.terminal import one_line
from darumeru.tasks.formats.few_shot import chosen_shots, record_ids, reversed_before
from darumeru.tasks.formats.perfect_answers import check_metrics
from darumeru.tasks.formats.protocol import FormatOptions, RecordFormat
from darumeru.tasks.record import Record
from darumeru.tasks.record_template import RecordExpression, RecordTemplate, fields_of, tried
from darumeru.tasks.sample import Conversation, Sample
from darumeru.tasks.spec import TaskSpec

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
TEMPLATES = ("prompt", "system", "answer")
TURN = "turn "
EXPRESSIONS = ("choices", "target", "id", "cluster")
TargetKind = Literal["letter", "number", "index", "text"]


@dataclass(frozen=True, kw_only=True)
class Options(FormatOptions):
    """prompt, system, answer: templates of the user's message, of a system message, and of the text that opens the
    model's ("Ответ:"). turns: templates of what the user says after the model's answers; the last answer is scored.
    target: expression, the right answer; of generated answers also a list of right ones. choices:
    expression, the list of a record's choices, or one for each; without it the task's own `choices` are the answers.
    target_is: how `target` names the right choice: by its letter, number (from 1), index (from 0) or text. choose:
    whether the model says the letter of a choice or its text. id, cluster: expressions; records of one cluster belong
    together. meta: name -> expression, for metrics that read more than the answer."""

    prompt: str
    target: str
    system: str | None = None
    answer: str | None = None
    turns: tuple[str, ...] = ()
    choices: str | tuple[str, ...] | None = None
    target_is: TargetKind | None = None
    choose: Literal["letter", "text"] = "letter"
    id: str | None = None
    cluster: str | None = None
    meta: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """One record: what is said, the labels that are chosen among, and the right answer."""

    system: str | None
    prompt: str
    opening: str
    labels: tuple[str, ...] | None
    target: Any
    turns: tuple[str, ...] = ()

    @property
    def query(self) -> Conversation:
        """The question, with the answer left open where something opens it."""
        opened = (Message("assistant", self.opening),) if self.opening else ()
        return (Message("user", self.prompt), *opened)

    @property
    def example(self) -> Conversation:
        """The question with its answer."""
        said = self.target[0] if isinstance(self.target, list) else self.target
        return (Message("user", self.prompt), Message("assistant", f"{self.opening} {said}".strip()))


@dataclass(frozen=True)
class Maker:
    """Makes what is asked of one record of a task."""

    spec: TaskSpec

    @cached_property
    def options(self) -> Options:
        given = Options(**self.spec.options)
        several = isinstance(given.choices, list | tuple)
        return replace(given, choices=f"[{', '.join(given.choices or ())}]") if several else given

    @cached_property
    def templates(self) -> dict[str, RecordTemplate]:
        turns = [(f"{TURN}{number}", source) for number, source in enumerate(self.options.turns, 2)]
        given = [*_given(self.options, TEMPLATES), *turns]
        return {name: RecordTemplate(self.name(name), source) for name, source in given}

    @cached_property
    def expressions(self) -> dict[str, RecordExpression]:
        found = [
            *_given(self.options, EXPRESSIONS),
            *((f"meta.{one}", text) for one, text in self.options.meta.items()),
        ]
        return {name: RecordExpression(self.name(name), source) for name, source in found}

    def name(self, option: str) -> str:
        return f"`{option}` of {self.spec.name}"

    def asked(self, record: Record) -> Asked:
        """UserError, with the record's place, for one that cannot be asked."""
        choices = self._choices(record)
        labels = self._labels(choices, record)
        more = {"choices": list(choices or labels), "letters": list(labels)} if labels else {}
        texts = {name: template.render(record, more).strip("\n") for name, template in self.templates.items()}
        turns = {name: text for name, text in texts.items() if name.startswith(TURN)}
        for name in ("prompt", *turns):
            if not texts[name].strip():
                raise UserError(f"{self.name(name)} makes an empty text", record.where)
        said = choices if choices is not None and self.options.choose == "text" else labels
        asked = said if self.spec.method == "multiple_choice" else None
        target = self._target(record, choices, asked)
        opening = texts.get("answer", "").rstrip()
        return Asked(texts.get("system"), texts["prompt"], opening, asked, target, tuple(turns.values()))

    def _choices(self, record: Record) -> tuple[str, ...] | None:
        """The texts of the record's choices."""
        if self.options.choices is None:
            return None
        found = self.expressions["choices"].value(record)
        if not isinstance(found, list | tuple):
            what = f"{self.name('choices')} must be a list, is {one_line(repr(found))[:60]}"
            raise UserError(what, record.where, 'a text is made one with `field.split("|")` or `field | fromjson`')
        texts = tuple(str(one).strip() for one in found)
        if len(texts) < 2 or "" in texts or len(set(texts)) < len(texts):
            what = f"{self.name('choices')} must be two texts or more that differ, none of them empty"
            raise UserError(f"{what}, is {one_line(repr(list(texts)))[:80]}", record.where)
        return texts

    def _labels(self, choices: tuple[str, ...] | None, record: Record) -> tuple[str, ...]:
        """What stands for the choices in the answer."""
        if choices is None:
            return self.spec.choices
        known = self.spec.choices or tuple(LETTERS)
        if len(choices) > len(known):
            what = f"has {len(choices)} choices, and the task {len(known)} letters for them"
            raise UserError(what, record.where, "name more in `choices` of the task")
        return known[: len(choices)]

    def _target(self, record: Record, choices: tuple[str, ...] | None, asked: tuple[str, ...] | None) -> Any:
        value = self.expressions["target"].value(record)
        if asked is None:
            several = isinstance(value, list | tuple)
            said = [str(one).strip() for one in (value if several else [value])]
            if value is None or not said or "" in said:
                raise UserError(f"{self.name('target')} is empty", record.where)
            return said if several else said[0]
        texts = choices if choices is not None else asked
        return asked[self._place(record, value, self._labels(choices, record), texts)]

    def _place(self, record: Record, value: Any, labels: Sequence[str], texts: Sequence[str]) -> int:
        """Which of the choices is right."""
        kind = self.options.target_is or ("letter" if self.options.choices else "text")
        if kind in ("letter", "text"):
            known, said = (labels if kind == "letter" else texts), str(value).strip()
            if said not in known:
                shown = one_line(", ".join(known))
                what = f"{self.name('target')} is {one_line(repr(value))[:60]}, not one of {shown[:120]}"
                raise UserError(what, record.where, "" if self.options.target_is else "`target_is` says what it names")
            return list(known).index(said)
        first = int(kind == "number")
        number = int(value) if isinstance(value, int) or str(value).strip().lstrip("-").isdecimal() else None
        if number is None or isinstance(value, bool) or not first <= number < len(texts) + first:
            what = f"{self.name('target')} is {one_line(repr(value))[:60]}, not {first} to {len(texts) - 1 + first}"
            raise UserError(what, record.where)
        return number - first

    def try_on(self, records: Sequence[Record]) -> None:
        """UserError for templates that take more time or memory than any need."""
        some = tried(records)
        where = f"task {self.spec.name}"
        more = {"choices": [""] * 4, "letters": [*"ABCD"]} if self.options.choices or self.spec.choices else {}
        values = [fields_of(record, more) for record in some]
        about = f"{len(values)} records"
        try_templates("expression", [one.source for one in self.expressions.values()], values, about, where)
        try_templates("record", [one.source for one in self.templates.values()], values, about, where)


def samples(spec: TaskSpec, test: Sequence[Record], shots: Sequence[Record], wanted: int) -> list[Sample]:
    """One sample a record."""
    maker = Maker(spec)
    maker.try_on((*test, *shots))
    examples = [maker.asked(record).example for record in chosen_shots(spec, shots, wanted)]
    result = []
    for name, record in zip(_ids(maker, test), test, strict=True):
        asked = maker.asked(record)
        meta = {key: maker.expressions[f"meta.{key}"].value(record) for key in maker.options.meta}
        cluster = str(maker.expressions["cluster"].value(record)) if maker.options.cluster else name
        result.append(
            Sample(
                spec.name,
                name,
                cluster,
                _conversation(asked, examples),
                len(examples),
                asked.target,
                meta,
                choices=None if asked.labels == spec.choices else asked.labels,
                turns=asked.turns,
            )
        )
    check_metrics(spec, result)
    return result


def _conversation(asked: Asked, examples: Sequence[Conversation]) -> Any:
    system = (Message("system", asked.system),) if asked.system else ()
    after = reversed_before(examples, asked.query)
    return lambda shots: system + after(shots)


def _ids(maker: Maker, records: Sequence[Record]) -> list[str]:
    if not maker.options.id:
        # Places in the whole split: a condition that takes others in changes no name.
        places = [str(record.place) for record in records]
        named = record_ids(records)
        by_place = named == [str(place) for place in range(len(records))] and len(set(places)) == len(places)
        return places if by_place else named
    seen: dict[str, str] = {}
    for record in records:
        name = str(maker.expressions["id"].value(record))
        if name in seen:
            raise UserError(f"{maker.name('id')} is {one_line(name)!r}, as in {seen[name]}", record.where)
        seen[name] = record.where
    return list(seen)


def check(spec: TaskSpec) -> Iterator[tuple[str, str]]:
    """Options that no record can make right: (name, what is wrong)."""
    maker = Maker(spec)
    parts: dict[str, RecordTemplate | RecordExpression] = {**maker.templates, **maker.expressions}
    for name, one in parts.items():
        try:
            one.check()
        except UserError as error:
            yield name, error.what
    if spec.method == "multiple_choice" and not spec.choices and not spec.options.get("choices"):
        yield "choices", "must give a record's choices, or `choices` of the task name the closed set of answers"
    if spec.method != "generate" and spec.options.get("turns"):
        yield "turns", "are answered with texts: method generate"
    if spec.options.get("turns") and spec.num_fewshot != 0:
        yield "turns", "have no examples: `num_fewshot: 0`"
    if spec.method == "loglikelihood":
        yield "prompt", "cannot stand with method loglikelihood (format `document` scores whole texts)"
    if spec.method == "generate" and spec.options.get("choices") and spec.options.get("target_is"):
        yield "target_is", "cannot stand with method generate, whose answers are texts"
    if not spec.options.get("choices") and spec.options.get("choose") == "text":
        yield "choose", "text needs `choices`, an expression that gives a record's choices"


def _given(options: Options, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        source = getattr(options, name)
        if source is not None:
            yield name, source


FORMAT = RecordFormat(samples, Options, check)
