"""A task as data: what is asked, of which records, and how it is scored."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from darumeru.core.errors import UserError, near_names
from darumeru.core.fields import checked_fields
from darumeru.core.options import Effect, Option, declared
from darumeru.core.yaml_file import YamlFile, describe
from darumeru.tasks.profiles import PROFILES

ANSWERS, SCORES, NOTHING = Effect.ANSWERS, Effect.SCORES, Effect.NOTHING

Method = Literal["multiple_choice", "generate", "loglikelihood"]
METHOD_ALIASES = {"choice": "multiple_choice", "continue": "loglikelihood"}
"""As older task files call the methods."""

MOST_CHARACTERS = 200
"""Of a task's name."""


OWN_FILE, SHOTS_FILE = "file", "shots_file"
"""Names of the splits that lie in files of a task's own."""


@dataclass(frozen=True)
class RecordSource:
    """Where the records are: a Hub data set, which may also lie below a local folder, or files of the task's own, whose
    paths count from the folder of the task file and are absolute here.

    With `file` the split that is asked is OWN_FILE; with `shots_file` that of the examples is SHOTS_FILE, or OWN_FILE
    where both are one file.
    """

    repository: Annotated[str, Option("OWNER/NAME of a Hub data set.", ANSWERS)] = ""
    config: Annotated[str | None, Option("Configuration of the data set.", ANSWERS)] = None
    test: Annotated[str, Option("Split that is asked.", ANSWERS)] = "test"
    shots: Annotated[str | None, Option("Split of the few-shot records; none when there are none.", ANSWERS)] = "prompt"
    revision: Annotated[str | None, Option("Pinned commit.", ANSWERS, material=True)] = None
    configs: Annotated[
        tuple[str, ...], Option("Configurations whose records are put together, instead of one.", ANSWERS)
    ] = ()
    file: Annotated[
        str | None,
        Option("File with the records that are asked, instead of a data set: .jsonl, .json, .csv, .tsv, .parquet or "
               ".txt.", ANSWERS, material=True),
    ] = None  # fmt: skip
    shots_file: Annotated[
        str | None, Option("File with the few-shot records; that of `file` too.", ANSWERS, material=True)
    ] = None
    folder: Annotated[
        str | None, Option("Folder with a file for each split, instead of a data set.", ANSWERS, material=True)
    ] = None
    where: Annotated[
        str | None, Option("Expression over the fields; only records for which it is true are asked.", ANSWERS)
    ] = None
    shots_where: Annotated[
        str | None, Option("The same for the few-shot records; default: `where` if both are of one split.", ANSWERS)
    ] = None

    @property
    def place(self) -> str:
        """What people call it."""
        if self.file or self.folder:
            return Path(self.file or self.folder or "").name
        return "/".join(filter(None, (self.repository, self.config)))


@dataclass(frozen=True)
class TaskSpec:
    """One task of the benchmark, complete and with its profile already applied.

    Each field says what has to be done again when it changes: ANSWERS, the samples are asked again; SCORES, stored
    answers are scored again.
    """

    name: Annotated[str, Option("By which it is chosen and shown.", NOTHING)]
    group: Annotated[str, Option("What it is averaged with.", SCORES)]
    description: Annotated[str, Option("What it asks, in one sentence.", NOTHING)]
    method: Annotated[
        Method,
        Option(
            "How the model is asked: next-token probabilities, greedy text, or log-probabilities of a given answer.",
            ANSWERS,
        ),
    ]
    format: Annotated[str, Option("Which record format reads the data (darumeru/tasks/formats).", ANSWERS)]
    source: Annotated[RecordSource, Option("Where the records are.", ANSWERS)]
    metrics: Annotated[tuple[str, ...], Option("All that are reported.", SCORES)]
    score: Annotated[tuple[str, ...], Option("Those whose unweighted mean is the task's score.", SCORES)]
    choices: Annotated[tuple[str, ...], Option("The closed set of answers.", ANSWERS)] = ()
    max_new_tokens: Annotated[
        int, Option("Part of the token budget that is kept for the answer.", ANSWERS, least=1)
    ] = 64
    stop: Annotated[tuple[str, ...], Option("Texts that end an answer.", ANSWERS)] = ()
    first_shot: Annotated[int, Option("Index of the first few-shot record.", ANSWERS, least=0)] = 0
    few_shot: Annotated[bool, Option("Whether examples are given at all.", ANSWERS)] = True
    leaderboard: Annotated[bool, Option("One of the 17 of Micro-Avg.", SCORES)] = True
    language: Annotated[str, Option("Of the records.", SCORES)] = "ru"
    most_records: Annotated[int | None, Option("Cap of the published protocol.", SCORES, least=1)] = None
    max_length: Annotated[
        int | None, Option("Total tokens when the task needs more than the run's default.", ANSWERS, least=16)
    ] = None
    thinking_tokens: Annotated[
        int | None, Option("Token budget of thoughts when the task needs another than the run's.", ANSWERS, least=1)
    ] = None
    temperature: Annotated[
        float | None, Option("Draw generated answers at this temperature; greedy without it.", ANSWERS, least=0)
    ] = None
    top_p: Annotated[
        float | None, Option("Draw among the tokens that make up this probability.", ANSWERS, least=0.001, most=1)
    ] = None
    top_k: Annotated[int | None, Option("Draw among so many most probable tokens.", ANSWERS, least=1)] = None
    num_samples: Annotated[int | None, Option("Drawn answers of each question.", ANSWERS, least=1, most=1000)] = None
    repetition_penalty: Annotated[
        float | None, Option("Of tokens of prompt and answer in generated answers; none without it.", ANSWERS, least=1)
    ] = None
    annotators: Annotated[
        tuple[str, ...], Option("What parses a raw answer before metrics read it, one after the other.", SCORES)
    ] = ()
    judge: Annotated[
        str | None, Option("Rubric by which a judge model scores the answers (`darumeru judge`).", SCORES)
    ] = None
    prompt_limit: Annotated[
        int | None, Option("Tokens that a prompt may have; the answer's come beside them.", ANSWERS, least=16)
    ] = None
    num_fewshot: Annotated[
        int | None, Option("Examples before each question, whatever the run says.", ANSWERS, least=0)
    ] = None
    options: Annotated[Mapping[str, Any], Option("Settings of the format.", ANSWERS)] = field(default_factory=dict)
    differs: Annotated[
        tuple[str, ...], Option("Sentences on where this task departs from its published program.", NOTHING)
    ] = ()

    @property
    def copies_reference(self) -> bool:
        """Whether the right answer is a text that stands in the prompt."""
        return self.format == "standard" and self.options.get("target") == "reference"

    def asking(self) -> dict[str, Any]:
        """What decides the prompts and requests, as plain JSON; the content of the records comes beside it."""
        return self._plain(ANSWERS)

    def scoring(self) -> dict[str, Any]:
        """What decides the scores of given answers, as plain JSON; metrics may read options too."""
        return {**self._plain(SCORES), "options": self._plain(ANSWERS)["options"]}

    def definition(self) -> dict[str, Any]:
        """All that decides what the task's number means, as plain JSON."""
        return {**self.asking(), **self.scoring()}

    def _plain(self, effect: Effect) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        # A revision, a file and a folder are names of content, and content is hashed itself.
        for name in ("revision", "file", "shots_file", "folder"):
            values["source"].pop(name)
        for name in ("configs", "where", "shots_where"):
            if not values["source"][name]:
                values["source"].pop(name)
        # What a task leaves to the run is no part of its definition.
        later = {name for name in _LEFT_TO_THE_RUN if values[name] is None}
        names = [one.name for one in declared(TaskSpec) if one.option.effect is effect and one.name not in later]
        return {name: values[name] for name in names}


_LEFT_TO_THE_RUN = (
    *("prompt_limit", "num_fewshot", "judge", "temperature", "top_p", "top_k", "num_samples"),
    "repetition_penalty",
)


def parse_spec(file: YamlFile, profile: str) -> TaskSpec:
    """A TaskSpec from one YAML file; `profiles: {name: overrides}` is applied for `profile`.

    Raises UserError with file, line and field for anything missing, unknown, of the wrong type or out of its range.
    """
    values = profile_values(file, profile)

    def fail(what: str, place: tuple[str, ...], mend: str = "", near: Sequence[str] = ()) -> UserError:
        return file.error(what, *placed(file, profile, *place), mend=mend, near=near)

    spec = TaskSpec(**checked_fields("the task", TaskSpec, _spelt_as_now(values), fail, "field"))
    for name, wrong in _nonsense(spec):
        raise fail(f"`{name.rpartition('.')[2]}` {wrong}", tuple(name.split(".")))
    return replace(spec, source=_located(spec.source, file.path.parent))


def _located(source: RecordSource, folder: Path) -> RecordSource:
    """A source whose own files are absolute paths and whose splits are named after them."""

    def path(given: str | None) -> str | None:
        return given and str((folder / Path(given).expanduser()).resolve())

    found = replace(source, file=path(source.file), shots_file=path(source.shots_file), folder=path(source.folder))
    if found.file:
        found = replace(found, test=OWN_FILE, shots=None)
    if found.shots_file:
        found = replace(found, shots=OWN_FILE if found.shots_file == found.file else SHOTS_FILE)
    return found


def placed(file: YamlFile, profile: str, *place: str) -> tuple[str, ...]:
    """Where in the file a field stands that `profile` may override."""
    overrides = (file.values.get("profiles") or {}).get(profile) or {}
    return ("profiles", profile, *place) if place and place[0] in overrides else place


def profile_values(file: YamlFile, profile: str) -> dict[str, Any]:
    """The fields of a file with the profile's overrides; UserError for `profiles` that are none."""
    own = {name: value for name, value in file.values.items() if name != "profiles"}
    profiles = file.values.get("profiles")
    if profiles is None:
        return own
    if not isinstance(profiles, dict):
        raise file.error(f"`profiles` must map profile names to fields, not {describe(profiles)}", "profiles")
    for name, values in profiles.items():
        if name not in PROFILES:
            raise file.error(f"unknown profile `{name}`", "profiles", name, near=near_names(name, PROFILES))
        if not isinstance(values, dict):
            what = f"`{name}` of `profiles` must be a mapping of fields, not {describe(values)}"
            raise file.error(what, "profiles", name)
    return {**own, **profiles.get(profile, {})}


def _spelt_as_now(values: dict[str, Any]) -> dict[str, Any]:
    """Names of older files as they are called now; whole numbers among texts as texts."""
    result = dict(values)
    method, options = values.get("method"), values.get("options")
    if isinstance(method, str):
        result["method"] = METHOD_ALIASES.get(method, method)
    if isinstance(options, dict) and "gold" in options and "target" not in options:
        result["options"] = {"target" if name == "gold" else name: value for name, value in options.items()}
    for name in ("choices", "stop"):
        if isinstance(values.get(name), list):
            result[name] = [str(one) if type(one) is int else one for one in values[name]]
    return result


_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


def _nonsense(spec: TaskSpec) -> Iterator[tuple[str, str]]:
    """Fields that have the right type and cannot be meant: (name, what is wrong)."""
    for name, text in (("name", spec.name), ("group", spec.group), ("language", spec.language)):
        if wrong := _wrong_name(text):
            yield name, wrong
    yield from _nonsense_of(spec.source)
    for name in ("metrics", "score"):
        if not getattr(spec, name):
            yield name, "must name at least one metric"
    for name in spec.score:
        if name not in spec.metrics:
            yield "score", f"names `{name}`, which is not among `metrics`"
    brought = not spec.choices and spec.format == "template"  # by the records
    if spec.method == "multiple_choice" and len(spec.choices) < 2 and not brought:
        yield "choices", "of a choice task must hold at least two answers"
    for name in ("metrics", "score", "choices", "stop"):
        values = getattr(spec, name)
        if len(set(values)) < len(values) or "" in values:
            yield name, f"must hold texts that differ, none of them empty, not {list(values)}"
    if spec.max_length is not None and spec.max_length <= spec.max_new_tokens:
        yield "max_length", f"{spec.max_length} leaves no room for a prompt beside max_new_tokens {spec.max_new_tokens}"


def _nonsense_of(source: RecordSource) -> Iterator[tuple[str, str]]:
    given = [name for name in ("repository", "file", "folder") if getattr(source, name)]
    if not given:
        yield "source", "needs `repository`, `file` or `folder`"
    if len(given) > 1:
        yield f"source.{given[1]}", f"and `{given[0]}` cannot both be given"
    if source.repository and (not _REPOSITORY.fullmatch(source.repository) or ".." in source.repository):
        yield "source.repository", f"must be OWNER/NAME of a data set, not {source.repository!r}"
    if source.config and source.configs:
        yield "source.configs", "and `config` cannot both be given"
    for config in source.configs:
        if wrong := _wrong_name(config):
            yield "source.configs", wrong
    for name in ("config", "test", "shots", "revision"):
        text = getattr(source, name)
        if text is not None and (wrong := _wrong_name(text)):
            yield f"source.{name}", wrong
    for name in ("file", "shots_file", "folder", "where", "shots_where"):
        text = getattr(source, name)
        if text is not None and (not text.strip() or "\0" in text):
            yield f"source.{name}", "must not be empty"


def _wrong_name(text: str) -> str:
    """What is wrong with a name that may become part of a path, of a table and of a list on the command line."""
    if not text.strip():
        return "must not be empty"
    if len(text) > MOST_CHARACTERS:
        return f"may have {MOST_CHARACTERS} characters, has {len(text)}"
    if not text.isprintable():
        return f"must hold no control characters, is {text!r}"
    if text.startswith("/") or ".." in text or text != text.strip() or "," in text:
        return f"must hold no `..`, no comma, no slash or space in front, is {text!r}"
    return ""
