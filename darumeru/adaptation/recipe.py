"""Recipes: which steps make which models from which, checked whole before anything runs (docs/recipes.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from darumeru.adaptation.race_settings import RaceConfig, check_race, read_race
from darumeru.adaptation.recipe_file import RecipeFile, read_recipe_file
from darumeru.core.errors import UserError, near_names
from darumeru.core.options import Effect, Option, WrongValue, declared
from darumeru.core.yaml_file import describe, yaml_value
from darumeru.runs.config import AskConfig, EngineConfig

Select = Literal["best", "race", "last", "all"]
NODE_KEYS = ("name", "step", "from", "inputs", "with", "matrix", "select", "keep", "score", "seed")
RECIPE_KEYS = ("name", "seed", "seeds", "models", "data", "score", "race", "steps")
_PLAIN = "letters, digits, `_`, `-` and `.`"
STEP = "step."
"""Before the name of a step whose output a parameter names."""


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(EngineConfig, AskConfig):
    """How every candidate is scored: the options of `darumeru run`, and what selects."""

    ABSENT: ClassVar[dict[str, str]] = dict.fromkeys(
        ("model", "name", "revision", "tokenizer", "lora", "output"), "the candidate that is scored decides it"
    )
    """Options of `darumeru run` that are none here -> why."""

    metric: Annotated[
        str | None,
        Option(
            'What selects: "micro_avg", "mean" (of the tasks), a group or a task. Default: Micro-Avg where all its '
            "tasks are asked, else the mean.",
            Effect.NOTHING,
        ),
    ] = None
    models: Annotated[Sequence[str], Option("Given models that are scored too.", Effect.NOTHING)] = ()

    @property
    def has_own_data(self) -> bool:
        """Whether `data` is a folder."""
        return self.data not in ("hub", "bundled")


@dataclass(frozen=True)
class Origin:
    """Where a node takes a model from. names: models or nodes. best: the best-scored candidate of all of them, one for
    each combination of the axes `per`; otherwise what the one name hands on."""

    names: tuple[str, ...]
    best: bool = False
    per: tuple[str, ...] = ()

    def __str__(self) -> str:
        per = f" per {', '.join(self.per)}" if self.per else ""
        return f"best of {', '.join(self.names)}{per}" if self.best else self.names[0]


@dataclass(frozen=True)
class Node:
    """One entry of `steps`. axes: matrix, name -> value -> extra parameters. seed: its own, None for the recipe's.
    place: index in the file."""

    name: str
    step: str
    source: Origin | None
    inputs: Mapping[str, Origin]
    parameters: Mapping[str, Any]
    axes: Mapping[str, Mapping[Any, Mapping[str, Any]]]
    select: Select
    keep: int | None
    score: bool | Literal["during"]
    seed: int | None
    place: int


@dataclass(frozen=True)
class Recipe:
    """A recipe whose names and references are right. seeds: everything is done for each of them; empty: once, with
    `seed`. models: name -> folder or Hub id. data: name -> files. nodes: in an order in which each comes after those it
    needs."""

    file: RecipeFile
    name: str
    seed: int
    seeds: tuple[int, ...]
    models: Mapping[str, str]
    data: Mapping[str, tuple[str, ...]]
    score: ScoreConfig
    nodes: tuple[Node, ...]
    race: RaceConfig = field(default_factory=RaceConfig)
    racing: frozenset[str] = frozenset()

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)


def load_recipe(path: str | Path, overrides: Mapping[str, str] | None = None, race: bool = False) -> Recipe:
    """Read and check a recipe; UserError names file and line. Parameters are checked by `expand`. race: find by a race
    whatever is taken as the best (but not of steps that `keep` by score)."""
    file = read_recipe_file(Path(path), overrides)
    file.check_keys(file.values, RECIPE_KEYS, "the recipe")
    seed = file.values.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise file.error(f"`seed` must be a whole number, not {describe(seed)}", "seed")
    models = {name: _one(file, value, "models", name) for name, value in _section(file, "models").items()}
    data = {name: _files(file, value, "data", name) for name, value in _section(file, "data").items()}
    seeds = _seeds(file, file.values.get("seeds"))
    nodes = _nodes(file, models)
    score, racing = _score(file, models), _racing(nodes, race)
    if racing:
        check_race(file, score, score.metric)
    return Recipe(
        file=file,
        name=_name(file, file.values.get("name", file.path.stem), "name"),
        seed=seed,
        seeds=seeds,
        models={name: _located(file, value) for name, value in models.items()},
        data=data,
        score=score,
        nodes=_ordered(file, nodes),
        race=read_race(file),
        racing=racing,
    )


def _seeds(file: RecipeFile, value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    whole = isinstance(value, list) and all(isinstance(one, int) and not isinstance(one, bool) for one in value)
    if not whole or not value or len(set(value)) < len(value):
        raise file.error(f"`seeds` must be a list of different whole numbers, not {describe(value)}", "seeds")
    return tuple(value)


def _racing(nodes: Sequence[Node], every: bool) -> frozenset[str]:
    found = {node.name for node in nodes if node.select == "race"}
    if every:
        sources = [source for node in nodes for source in (node.source, *node.inputs.values()) if source]
        taken = {name for source in sources if source.best for name in source.names}
        able = [node for node in nodes if node.keep is None and node.score is True]
        found |= {node.name for node in able if node.select == "best" or node.name in taken}
    return frozenset(found)


def _section(file: RecipeFile, name: str) -> dict[str, Any]:
    values = file.values.get(name) or {}
    if not isinstance(values, dict):
        raise file.error(f"`{name}` must be a mapping of names, not {describe(values)}", name)
    for key in values:
        _name(file, key, name, key)
    return values


def _name(file: RecipeFile, value: Any, *place: str | int) -> str:
    if not isinstance(value, str) or not value or not all(c.isalnum() or c in "_-." for c in value) or value[0] in ".-":
        raise file.error(f"a name is made of {_PLAIN}, not {describe(value)}", *place)
    return value


def _one(file: RecipeFile, value: Any, *place: str | int) -> str:
    if not isinstance(value, str) or not value:
        raise file.error(f"must be a folder or Hub id, not {describe(value)}", *place)
    return file.filled(value, *place)


def _located(file: RecipeFile, value: str) -> str:
    """A folder beside the recipe, else the name as it is (a folder here or a Hub id)."""
    beside = file.path.parent / Path(value).expanduser()
    return str(beside.resolve()) if beside.is_dir() else value


def _files(file: RecipeFile, value: Any, *place: str | int) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    paths = []
    for text in values:
        if not isinstance(text, str) or not text:
            raise file.error(f"must be a file or a list of files, not {describe(text)}", *place)
        given = Path(file.filled(text, *place)).expanduser()
        path = next((one for one in (file.path.parent / given, given) if one.exists()), None)
        if path is None:
            raise file.error(f"no such file: {file.path.parent / given}", *place)
        paths.append(str(path.resolve()))
    return tuple(paths)


def _score(file: RecipeFile, models: Mapping[str, str]) -> ScoreConfig:
    values = file.values.get("score") or {}
    defaults = {one.name: one.default for one in declared(ScoreConfig)}
    file.check_keys(values, defaults, "`score`", "score")
    # null is the default, also where that is a word.
    values = {name: value for name, value in values.items() if value is not None or defaults[name] is None}
    if isinstance(values.get("models"), str):
        values["models"] = (values["models"],)
    if values.get("limit") is not None:
        # Part of the records is drawn at random here, so that no candidate profits from the order of a file.
        values.setdefault("subset_seed", values.get("seed", 0))
    try:
        config = ScoreConfig(**values)
        if config.has_own_data:
            config = replace(config, data=_located(file, file.filled(config.data, "score", "data")))
        if config.chat_template not in (None, "none"):
            config = replace(config, chat_template=_files(file, config.chat_template, "score", "chat_template")[0])
        config = replace(config, include=_files(file, list(config.include), "score", "include"))
    except WrongValue as error:
        what = f"`{error.name}` of `score`: {error.what}"
        raise file.error(what, "score", error.name, mend=error.mend, near=error.near) from error
    for name in config.models:
        if name not in models:
            raise file.error(f"no model is called `{name}`", "score", "models", near=near_names(name, models))
    _check_asked(file, config)
    return config


def _check_asked(file: RecipeFile, config: ScoreConfig) -> None:
    """UserError with the line for tasks and engines that are not known and for tasks that have no room."""
    from darumeru.engines import engine_registry
    from darumeru.runs.sources import split
    from darumeru.tasks.registry import load_registry

    key = "tasks"
    try:
        own, _ = split(config.patterns)
        for spec in load_registry(config.profile, config.include).select(own):
            if spec.max_new_tokens >= max(config.max_length, spec.max_length or 0):
                what = f"{spec.name} needs {spec.max_new_tokens} tokens for an answer alone"
                raise UserError(what, mend="raise max_length or leave the task out")
        key = "engine"
        if config.engine not in engine_registry().names():
            engine_registry().get(config.engine)
    except UserError as error:
        raise file.error(error.what, "score", key, mend=error.mend, near=error.near) from error


def _nodes(file: RecipeFile, models: Mapping[str, str]) -> list[Node]:
    values = file.values.get("steps")
    if not isinstance(values, list) or not values:
        raise file.error("`steps` must be a list of steps", "steps")
    nodes: dict[str, Node] = {}
    for place, one in enumerate(values):
        file.check_keys(one, NODE_KEYS, "a step", "steps", place)
        node = _node(file, one, place)
        if node.name in nodes or node.name in models:
            raise file.error(f"the name `{node.name}` is given twice", "steps", place, "name")
        nodes[node.name] = node
    known = [*models, *nodes]
    for node in nodes.values():
        for key, source in [("from", node.source), *((f"inputs.{name}", one) for name, one in node.inputs.items())]:
            for name in source.names if source else ():
                if name not in known:
                    what = f"`{node.name}` takes `{key}` from `{name}`, which is neither a model nor a step"
                    raise file.error(what, "steps", node.place, *key.split("."), near=near_names(name, known))
    return list(nodes.values())


def _node(file: RecipeFile, values: dict[str, Any], place: int) -> Node:
    at = ("steps", place)
    for needed in ("name", "step"):
        if needed not in values:
            raise file.error(f"a step needs `{needed}`", *at, mend=f"add `{needed}: ...`")
    name = _name(file, values["name"], *at, "name")
    if not isinstance(values["step"], str):
        raise file.error(f"`step` must be text, not {describe(values['step'])}", *at, "step")
    parameters, inputs = values.get("with") or {}, values.get("inputs") or {}
    for key, section in (("with", parameters), ("inputs", inputs)):
        if not isinstance(section, dict):
            raise file.error(f"`{key}` must be a mapping, not {describe(section)}", *at, key)
    select, keep, score = values.get("select", "last"), values.get("keep"), values.get("score", True)
    if select not in ("best", "race", "last", "all"):
        raise file.error(f"`select` must be best, race, last or all, not {describe(select)}", *at, "select")
    if keep is not None and (not isinstance(keep, int) or isinstance(keep, bool) or keep < 1):
        raise file.error(f"`keep` must be a number from 1 up, not {describe(keep)}", *at, "keep")
    if not (isinstance(score, bool) or score == "during"):
        raise file.error(f"`score` of a step must be true, false or during, not {describe(score)}", *at, "score")
    if score is False and (select == "best" or keep is not None):
        raise file.error("`select: best` and `keep` need scores, and this step has `score: false`", *at, "score")
    if select == "race" and (score is not True or keep is not None):
        what = "`select: race` decides itself what is scored: it stands with neither `keep` nor `score`"
        raise file.error(what, *at, "select")
    own_seed = values.get("seed")
    if own_seed is not None and (not isinstance(own_seed, int) or isinstance(own_seed, bool)):
        raise file.error(f"`seed` must be a whole number, not {describe(own_seed)}", *at, "seed")
    return Node(
        name=name,
        step=values["step"],
        source=_source(file, values["from"], *at, "from") if values.get("from") is not None else None,
        inputs={key: _source(file, one, *at, "inputs", key) for key, one in inputs.items()}
        | {text: Origin((text.removeprefix(STEP),)) for text in _outputs([parameters, values.get("matrix")])},
        parameters=parameters,
        axes=_axes(file, values.get("matrix") or {}, *at, "matrix"),
        select=select,
        keep=keep,
        score=score,
        seed=own_seed,
        place=place,
    )


def _outputs(value: Any) -> list[str]:
    """The `step.NAME` among the values of parameters."""
    if isinstance(value, dict | list):
        return [text for one in (value.values() if isinstance(value, dict) else value) for text in _outputs(one)]
    return [value] if isinstance(value, str) and value.startswith(STEP) and value.split() == [value] else []


def _source(file: RecipeFile, value: Any, *place: str | int) -> Origin:
    if isinstance(value, str):
        return Origin((value,))
    file.check_keys(value, ("best", "per"), f"`{place[-1]}`", *place)
    names, per = (_texts(value.get(key)) for key in ("best", "per"))
    if names is None or not names or per is None:
        raise file.error(f"`{place[-1]}` must be a name or {{best: NAME}}", *place)
    return Origin(names, best=True, per=per)


def _texts(value: Any) -> tuple[str, ...] | None:
    values = [] if value is None else value if isinstance(value, list) else [value]
    return tuple(values) if all(isinstance(one, str) for one in values) else None


def _axes(file: RecipeFile, values: Any, *place: str | int) -> dict[str, dict[Any, dict[str, Any]]]:
    if not isinstance(values, dict):
        raise file.error(f"`matrix` must be a mapping of axes, not {describe(values)}", *place)
    axes: dict[str, dict[Any, dict[str, Any]]] = {}
    for axis, points in values.items():
        _name(file, axis, *place, axis)
        if isinstance(points, list) and points and all(isinstance(one, str | int | float) for one in points):
            axes[axis] = {one: {} for one in points}
        elif isinstance(points, dict) and points and all(isinstance(one, dict | None) for one in points.values()):
            axes[axis] = {_point(one, file.where(*place, axis)): extra or {} for one, extra in points.items()}
        else:
            what = f"`{axis}` must be a list of values or a mapping of values to parameters, not {describe(points)}"
            raise file.error(what, *place, axis)
        for one in axes[axis]:
            _name(file, str(one), *place, axis)
    return axes


def _point(text: str, where: str) -> str | int | float:
    """A key, which is text for the reader, as the number or boolean that it may be."""
    value = yaml_value(text, where)
    return value if isinstance(value, int | float) else text


def _ordered(file: RecipeFile, nodes: list[Node]) -> tuple[Node, ...]:
    """Each node after those it needs, otherwise as in the file; UserError for a cycle."""
    by_name = {node.name: node for node in nodes}
    done: dict[str, Node] = {}

    def visit(node: Node, path: tuple[str, ...]) -> None:
        if node.name in path:
            circle = " -> ".join((*path[path.index(node.name) :], node.name))
            raise file.error(f"the steps go round in a circle: {circle}", "steps", node.place, "from")
        if node.name in done:
            return
        for source in (node.source, *node.inputs.values()):
            for name in source.names if source else ():
                if name in by_name:
                    visit(by_name[name], (*path, node.name))
        done[node.name] = node

    for node in nodes:
        visit(node, ())
    return tuple(done.values())
