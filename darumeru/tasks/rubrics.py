"""Rubrics: what a judge model is asked about answers, and what its verdicts are worth. One YAML file a rubric
(tasks/rubrics); `judge: NAME` of a task names one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from darumeru.core.errors import UserError, near_names
from darumeru.core.fields import checked_fields
from darumeru.core.files import parse_json
from darumeru.core.message import Message
from darumeru.core.shipped import tasks_folder
from darumeru.core.yaml_file import YamlFile, read_yaml
from darumeru.tasks.published import FOLDER as PUBLISHED
from darumeru.tasks.published import published_text
from darumeru.tasks.spec import TaskSpec, placed, profile_values

FOLDER = "rubrics"
# Of an answer, then of a pair of answers; published texts call them otherwise.
FIELDS: Mapping[str, tuple[str, ...]] = {
    "answer": ("question", "answer", "references"),
    "pair": ("question", "first", "second"),
}
_OTHER_NAMES = {"instruction": "question", "output_m": "first", "output_M": "second"}


@dataclass(frozen=True, kw_only=True)
class Rubric:
    """kind: what is judged, one "answer" or a "pair" of them, which is asked in both orders. system, instruction: the
    conversation; in the instruction the names of FIELDS stand in braces. examples: earlier turns, each with `role` and
    `content`. opening: an assistant message that the judge goes on with. labels: what the judge may say -> what it is
    worth; of a pair 1 where the first answer is the better one, 0 where the second is, 0.5 for neither. reading: how a
    text is read, by its "word", by what it "starts" with, or from six "scores" in JSON. by: "probability" of the labels
    where the engine gives it, or "text" in any case. published: fields -> what they are with the authors' texts
    (DARUMERU_PROMPTS): a file's name for a text, and for `messages` a JSON list of which all but the last are examples.
    """

    name: str
    description: str
    kind: Literal["answer", "pair"]
    instruction: str
    labels: dict[str, float]
    system: str = ""
    examples: tuple[dict[str, str], ...] = ()
    opening: str = ""
    reading: Literal["word", "starts", "scores"] = "word"
    by: Literal["probability", "text"] = "probability"
    max_new_tokens: int = 16
    prompt_limit: int = 16000
    published: dict[str, Any] = field(default_factory=dict)

    def conversation(self, values: Mapping[str, str]) -> tuple[Message, ...]:
        """The messages about these values; a mark within a value stays as it is."""
        fill = {**values, **{other: values[name] for other, name in _OTHER_NAMES.items() if name in values}}
        text = re.sub(r"\{(\w+)\}", lambda found: fill.get(found[1], found[0]), self.instruction)
        system = (Message("system", self.system),) if self.system else ()
        turns = (Message(turn["role"], turn["content"]) for turn in self.examples)
        answer = (Message("assistant", self.opening),) if self.opening else ()
        return (*system, *turns, Message("user", text), *answer)

    def to_dict(self) -> dict[str, Any]:
        """All that verdicts depend on, as plain JSON."""
        values = json.loads(json.dumps(asdict(self)))
        return {name: value for name, value in values.items() if name not in ("description", "published")}


def find_rubric(name: str, profile: str = "darumeru") -> Rubric:
    """The rubric of that name, or of the YAML file of that path; UserError with the nearest names."""
    known = _shipped()
    path = Path(name).expanduser()
    if name not in known and not (path.suffix in (".yaml", ".yml") and path.is_file()):
        near = near_names(name, known)
        raise UserError(f"unknown rubric `{name}`", near=near, mend=f"known: {', '.join(known)}, or a YAML file")
    return read_rubric(known.get(name, path), profile)


@cache
def _shipped() -> Mapping[str, Path]:
    return {path.stem: path for path in sorted((tasks_folder() / FOLDER).glob("*.yaml"))}


def check_rubric(spec: TaskSpec, file: YamlFile, profile: str) -> None:
    """UserError with the task's file and line for a judged task without such a rubric, or whose rubric is of pairs."""
    if spec.judge is None:
        return
    place = placed(file, profile, "judge")
    try:
        rubric = find_rubric(spec.judge, profile)
    except UserError as error:
        raise file.error(error.what, *place, mend=error.mend, near=error.near) from error
    if rubric.kind != "answer":
        raise file.error(f"rubric `{spec.judge}` is of pairs, a task needs one of single answers", *place)
    if spec.method != "generate":
        raise file.error("only answers in words are judged (`method: generate`)", *place)


def read_rubric(path: Path, profile: str = "darumeru") -> Rubric:
    """A rubric's file with the profile's overrides; UserError with file, line and field for what is wrong."""
    file = read_yaml(path)

    def fail(what: str, place: tuple[str, ...], mend: str = "", near: Sequence[str] = ()) -> UserError:
        return file.error(what, *placed(file, profile, *place), mend=mend, near=near)

    rubric = Rubric(**checked_fields("the rubric", Rubric, profile_values(file, profile), fail, "field"))
    if os.environ.get(PUBLISHED) and rubric.published:
        texts = _published(rubric.published, Path(os.environ[PUBLISHED]).expanduser())
        rubric = Rubric(**{**asdict(rubric), **texts})
    _check(rubric, fail)
    return rubric


def _check(rubric: Rubric, fail: Callable[[str, tuple[str, ...]], UserError]) -> None:
    if rubric.max_new_tokens < 1 or rubric.prompt_limit < 16:
        raise fail("`max_new_tokens` must be at least 1 and `prompt_limit` at least 16", ())
    if len(rubric.labels) < 2 or not all(label.strip() == label != "" for label in rubric.labels):
        raise fail("`labels` must map at least two words to numbers", ("labels",))
    if not all(0 <= value <= 1 for value in rubric.labels.values()):
        raise fail("what `labels` are worth must lie between 0 and 1", ("labels",))
    if rubric.kind == "pair" and set(rubric.labels.values()) != {0.0, 0.5, 1.0}:
        raise fail("`labels` of a pair must be worth 1 (the first is better), 0 (the second) and 0.5", ("labels",))
    named = {_OTHER_NAMES.get(name, name) for name in re.findall(r"\{(\w+)\}", rubric.instruction)}
    needed = {"answer"} if rubric.kind == "answer" else {"first", "second"}
    if lacking := sorted(needed - named):
        raise fail(f"`instruction` does not name {{{lacking[0]}}}", ("instruction",))
    for turn in rubric.examples:
        if turn.keys() != {"role", "content"} or turn["role"] not in ("user", "assistant"):
            raise fail("`examples` must list turns with `role` (user or assistant) and `content`", ("examples",))


def _published(names: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The fields that the authors' texts replace."""
    found: dict[str, Any] = {}
    for name, value in names.items():
        if name == "messages":
            found |= _messages(folder / str(value))
        else:
            found[name] = published_text(folder / value) if isinstance(value, str) and value.endswith(".txt") else value
    return found


def _messages(path: Path) -> dict[str, Any]:
    """A conversation whose last message is "{}", which stands for the question in our own form."""
    try:
        turns = parse_json(published_text(path))
        examples = tuple({"role": str(turn["role"]), "content": str(turn["content"])} for turn in turns[:-1])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"is not a list of messages: {error}", str(path)) from error
    return {"system": "", "examples": examples}
