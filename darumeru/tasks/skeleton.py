"""A first task file for a file of records: what its columns look like, written down with a comment on each line."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from darumeru.core.errors import UserError
from darumeru.core.terminal import one_line
from darumeru.tasks.record import Record

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MOST_CLASSES = 12
LONGEST_CLASS = 40
EXAMPLES = 5
LOOKED_AT = 1000
WORDS = ["record", "choices", "letters", "loop", "true", "false", "none", "not", "and", "or", "in", "is", "if", "else"]
"""Names that mean something in a template."""
COMMENTS = 44
"""Column of the comments."""
TARGETS = ("answer", "target", "label", "correct", "right", "gold", "outputs", "output", "response", "ответ", "метка",
           "класс", "правильный_ответ")  # fmt: skip
CHOICES = ("choices", "options", "variants", "варианты", "ответы")
IDS = ("id", "meta", "uid", "idx")
# Columns with one choice each: A, option_b, choice3, вариант 4.
_ONE_CHOICE = re.compile(r"(?:(?:option|choice|variant|answer|вариант|ответ)[ _.-]?)?([a-hа-з1-8])", re.IGNORECASE)
Kind = Literal["letter", "number", "index", "text"]


@dataclass(frozen=True)
class Guess:
    """What a file of records seems to ask. fields: what the question is made of. target: field of the right answer.
    choices: the choices of a record, as YAML has them. classes: the closed set of answers, where there is one.
    kind: how the target names the right choice."""

    fields: tuple[str, ...]
    target: str
    choices: str = ""
    classes: tuple[str, ...] = ()
    kind: Kind = "text"


def guessed(records: Sequence[Record], where: str) -> Guess:
    """What the records seem to ask; UserError where they have one field alone."""
    names = [str(name) for name in records[0].values]
    target = next((name for word in TARGETS for name in names if name.casefold() == word), names[-1])
    listed = next((name for name in names if name != target and _is_list(records, name)), "")
    columns = [] if listed else [name for name in names if name != target and _ONE_CHOICE.fullmatch(name)]
    columns = columns if len(columns) > 1 and not any(_blank(records, name) for name in columns) else []
    taken = {target, listed, *columns}
    left = [name for name in names if name not in taken and name.casefold() not in IDS]
    fields = tuple(name for name in left if isinstance(records[0].values[name], str | int | float))
    if not fields:
        raise UserError("holds no field for a question beside the answer", where, f"its fields: {', '.join(names)}")
    if listed or columns:
        choices = _text(spoken(listed)) if listed else f"[{', '.join(_text(spoken(name)) for name in columns)}]"
        size = min(len(record.values[listed]) for record in records[:LOOKED_AT]) if listed else len(columns)
        return Guess(fields, target, choices, (), _kind(records, target, size))
    return Guess(fields, target, "", _classes(records, target))


def spoken(name: str) -> str:
    """A field in an expression: by its name, or through `record` where that is no name of Jinja's."""
    if name.isidentifier() and name.casefold() not in WORDS:
        return name
    quoted = json.dumps(name, ensure_ascii=False)
    return f"record['{name}']" if quoted == f'"{name}"' and "'" not in name else f"record[{quoted}]"


def _is_list(records: Sequence[Record], name: str) -> bool:
    values = [record.values.get(name) for record in records[:LOOKED_AT]]
    return all(isinstance(value, list) and len(value) > 1 for value in values)


def _blank(records: Sequence[Record], name: str) -> bool:
    return any(not str(record.values.get(name) or "").strip() for record in records[:LOOKED_AT])


def _kind(records: Sequence[Record], target: str, size: int) -> Kind:
    """How the right choice is named, as far as all records agree."""
    values = [record.values.get(target) for record in records]
    texts = {str(value).strip() for value in values}
    if texts <= set(LETTERS[:size]):
        return "letter"
    if all(text.isdecimal() for text in texts):
        numbers = {int(text) for text in texts}
        # Where neither 0 nor the last number occurs: people count from 1, programs from 0.
        counted = 0 not in numbers and (size in numbers or isinstance(values[0], str))
        if counted and max(numbers) <= size:
            return "number"
        if max(numbers) < size:
            return "index"
    return "text"


def _classes(records: Sequence[Record], target: str) -> tuple[str, ...]:
    """The different answers, where they are few and short and each comes more than once."""
    values = [record.values.get(target) for record in records]
    if any(isinstance(value, list | dict) or value is None for value in values):
        return ()
    texts = [str(value).strip() for value in values]
    found = sorted(set(texts))
    short = all(0 < len(text) <= LONGEST_CLASS for text in found)
    return tuple(found) if short and 2 <= len(found) <= MOST_CLASSES and len(texts) >= 2 * len(found) else ()


def skeleton(name: str, data: str, records: Sequence[Record]) -> str:
    """The text of a task file. data: path of the records as the file will say it."""
    guess = guessed(records, data)
    lines = [
        Line("", f"A task of your own, written by `darumeru tasks new` for {len(records)} records."),
        Line("", "Every field is explained in docs/tasks.md."),
        Line(f"name: {_text(name)}", "as --tasks calls it"),
        Line("group: Mine", "what it is averaged with"),
        Line(f"description: {_text(f'Questions of {Path(data).name}.')}"),
        *_method(guess),
        Line("format: template", "prompts are made of the fields of a record"),
        Line("source:"),
        Line(f"  file: {_text(data)}", "counts from this file"),
        *_examples(data, len(records)),
        Line(
            f"  # where: {_text(f'{spoken(guess.fields[0])} | length < 2000')}", "only records for which this is true"
        ),
        *_scoring(guess),
        Line("options:"),
        *_options(guess),
    ]
    return "".join(f"{line.written()}\n" for line in lines)


@dataclass(frozen=True)
class Line:
    """A line of the file with its comment."""

    text: str
    comment: str = ""

    def written(self) -> str:
        if not self.comment:
            return self.text
        return f"{self.text:<{COMMENTS}} # {self.comment}" if self.text else f"# {self.comment}"


def _method(guess: Guess) -> list[Line]:
    if guess.choices or guess.classes:
        lines = [Line("method: multiple_choice", "the most probable of the choices; or generate: greedy text")]
        known = json.dumps(list(guess.classes), ensure_ascii=False)
        return [*lines, Line(f"choices: {known}", "the closed set of answers")] if guess.classes else lines
    return [
        Line("method: generate", "greedy text; or multiple_choice: the most probable of the choices"),
        Line("max_new_tokens: 64", "budget of an answer"),
        Line('stop: ["\\n"]', "texts that end an answer"),
    ]


def _scoring(guess: Guess) -> list[Line]:
    metrics = "acc" if guess.choices else "acc, f1_macro" if guess.classes else "em, f1"
    score = "acc" if guess.choices or guess.classes else "f1"
    return [Line(f"metrics: [{metrics}]", "all that are reported"), Line(f"score: [{score}]", "the mean is the score")]


def _examples(data: str, count: int) -> list[Line]:
    if count < 4 * EXAMPLES:
        return [Line("  # shots_file: examples.csv", "few-shot examples, of the same fields")]
    return [
        Line(f"  shots_file: {_text(data)}", "the first records are the examples (--num-fewshot) and are not asked")
    ]


def _options(guess: Guess) -> list[Line]:
    lines = [Line("  prompt: |", "Jinja over the fields of a record")]
    if len(guess.fields) == 1:
        lines.append(Line(f"    {{{{ {spoken(guess.fields[0])} }}}}"))
    else:
        lines += [Line(f"    {_literal(field)}: {{{{ {spoken(field)} }}}}") for field in guess.fields]
    if guess.choices:
        said = ("{% for choice in choices %}", "{{ letters[loop.index0] }}. {{ choice }}", "{% endfor %}")
        lines += [Line(f"    {text}") for text in said]
    if guess.classes:
        lines.append(Line("    Варианты ответа: {{ choices | join(', ') }}"))
    lines.append(Line('  answer: "Ответ:"', "opens the model's answer"))
    lines.append(Line(f"  target: {_text(spoken(guess.target))}", "the right answer"))
    if guess.choices:
        lines += [
            Line(f"  choices: {guess.choices}", "a record's choices"),
            Line(f"  target_is: {guess.kind}", "what target names: letter, number (from 1), index (from 0) or text"),
            Line("  # choose: text", "the model says a choice's text, not its letter (and metric acc_norm)"),
        ]
    return lines


def _literal(text: str) -> str:
    """A text in a template, as it is."""
    text = one_line(text)
    return f"{{{{ {json.dumps(text, ensure_ascii=False)} }}}}" if "{" in text else text


def _text(text: str) -> str:
    """A text as YAML has it."""
    return text if re.fullmatch(r"[A-Za-z_][\w./-]*", text, re.ASCII) else json.dumps(text, ensure_ascii=False)


def task_name(path: Path) -> str:
    """mine/<stem> with what a name may hold."""
    stem = re.sub(r"[^\w.-]+", "_", path.stem).strip("._") or "task"
    return f"mine/{stem.replace('..', '_')}"


def read_few(path: Path) -> list[Record]:
    """The records of a file; UserError where they have not all the same fields as the first."""
    from darumeru.tasks.record_files import read_records

    if not path.is_file():
        raise UserError("no such file", str(path))
    records, _ = read_records(path, str(path))
    names = {str(name) for name in records[0].values}
    if len(names) < 2:
        raise UserError("a task needs a question and an answer, and the records have one field", str(path))
    for record in records[:LOOKED_AT]:
        if missing := names - {str(name) for name in record.values}:
            what = f"field `{one_line(sorted(missing)[0])}` is missing, which the first record has"
            raise UserError(what, record.where)
    return records


def write_skeleton(place: Path, data: Path, name: str | None, force: bool) -> str:
    """Write the task file for `data` to `place`; returns the task's name."""
    from darumeru.core.files import write_atomically

    records = read_few(data)
    if place.exists() and not force:
        raise UserError("is there already", str(place), "--force writes over it, or --output ANOTHER.yaml")
    if not place.parent.is_dir():
        raise UserError("no such folder", str(place.parent))
    absolute, home = data.resolve(), place.parent.resolve()
    shown = str(absolute.relative_to(home)) if absolute.is_relative_to(home) else str(absolute)
    name = name or task_name(data)
    write_atomically(place, skeleton(name, shown, records))
    return name
