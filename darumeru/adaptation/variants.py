"""The steps of a recipe multiplied by their matrices: what the pipeline goes through, with ready step objects."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from darumeru.adaptation.recipe import STEP, Node, Origin, Recipe
from darumeru.adaptation.registry import step_registry
from darumeru.core.errors import UserError, near_names
from darumeru.core.fields import checked_fields

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][\w.-]*)\}")
DATA = "data."
SEED = "seed"


@dataclass(frozen=True)
class Ref:
    """Models that a variant takes: a given model, what variants hand on, or the best candidate of variants."""

    model: str | None = None
    variants: tuple[str, ...] = ()
    best: bool = False
    models: tuple[str, ...] = ()
    said: str = field(default="", compare=False)

    def __str__(self) -> str:
        """As the recipe says it."""
        return self.said or self.model or self.variants[0]


@dataclass(frozen=True)
class Variant:
    """One node under one combination of axes. name: unique. step: the step object. source: None where the step makes
    a model from nothing. inputs: by the name that the step knows them by. seed: the node's own, else that of the axis
    `seed`, which a recipe with `seeds` has, else the recipe's."""

    name: str
    node: Node
    axes: Mapping[str, Any]
    step: Any
    source: Ref | None
    inputs: Mapping[str, Ref]
    seed: int

    @property
    def needs(self) -> tuple[str, ...]:
        """Variants that must be done before."""
        refs = (self.source, *self.inputs.values())
        return tuple(dict.fromkeys(name for ref in refs if ref for name in ref.variants))


def expand(recipe: Recipe) -> tuple[Variant, ...]:
    """All variants in working order. UserError with file and line: an unknown step or parameter, a wrong type, a step
    without `from` that needs one, an input that is not one model, axes that clash."""
    done: dict[str, list[Variant]] = {}
    for node in recipe.nodes:
        done[node.name] = _variants(recipe, node, done)
        names = [variant.name for variants in done.values() for variant in variants]
        if len(set(names)) < len(names) or set(names) & set(recipe.models):
            raise recipe.file.error(f"the variants of `{node.name}` have names that others have", *_at(node))
    return _by_seed(recipe, [variant for variants in done.values() for variant in variants])


def _by_seed(recipe: Recipe, variants: list[Variant]) -> tuple[Variant, ...]:
    """All of the first seed before the second's, so that a run that is stopped has whole seeds."""
    places: dict[str, int] = {}
    for variant in variants:
        own = recipe.seeds.index(variant.axes[SEED]) if recipe.seeds and SEED in variant.axes else -1
        places[variant.name] = max([own, *(places[name] for name in variant.needs)])
    return tuple(sorted(variants, key=lambda variant: places[variant.name]))


def makes_models(step: type) -> bool:
    """Whether a step starts from nothing, as its class says by `from_nothing = True`."""
    return bool(getattr(step, "from_nothing", False))


def makes_text(step: Any) -> bool:
    """Whether a step makes text and no model, as its class says by `makes_text = True`."""
    return bool(getattr(step, "makes_text", False))


def _at(node: Node, *place: str | int) -> tuple[str | int, ...]:
    return ("steps", node.place, *place)


def _variants(recipe: Recipe, node: Node, done: Mapping[str, list[Variant]]) -> list[Variant]:
    found = []
    for inherited, source in _sources(recipe, node, done):
        clash = set(inherited) & set(node.axes)
        if clash:
            what = f"the axis `{min(clash)}` is one of the step it comes from already"
            raise recipe.file.error(what, *_at(node, "matrix", min(clash)))
        all_axes = {**node.axes, **_seed_axis(recipe, node, inherited)}
        for own in product(*all_axes.values()):
            axes = {**inherited, **dict(zip(all_axes, own, strict=True))}
            extra: dict[str, Any] = {}
            for axis, value in zip(all_axes, own, strict=True):
                extra |= all_axes[axis][value]
            found.append(_variant(recipe, node, axes, extra, source, done))
    return found


def _seed_axis(recipe: Recipe, node: Node, inherited: Mapping[str, Any]) -> dict[str, dict[Any, dict[str, Any]]]:
    """The axis of the recipe's `seeds`, for a node that neither has a seed of its own nor comes from one with it."""
    if recipe.seeds and SEED in node.axes:
        raise recipe.file.error("`seeds` makes the axis `seed` already", *_at(node, "matrix", SEED))
    if node.seed is not None or SEED in inherited:
        return {}
    return {SEED: {seed: {} for seed in recipe.seeds}} if recipe.seeds else {}


def _sources(
    recipe: Recipe, node: Node, done: Mapping[str, list[Variant]]
) -> list[tuple[Mapping[str, Any], Ref | None]]:
    """What the node comes from, once for each variant of that, with the axes that go with it."""
    source = node.source
    if source is None:
        return [({}, None)]
    if not source.best:
        name = source.names[0]
        if name in recipe.models:
            return [({}, Ref(model=name))]
        _need_models(recipe, node, done[name], "from")
        return [(variant.axes, Ref(variants=(variant.name,))) for variant in done[name]]
    groups: dict[tuple[Any, ...], list[Variant]] = {}
    for name in source.names:
        _need_models(recipe, node, done.get(name, ()), "from")
    every = [one for name in source.names for one in done.get(name, ())]
    # The best of one seed: what is done for each seed never mixes them.
    seeded = bool(recipe.seeds and every and all(SEED in one.axes for one in every))
    per = (*source.per, SEED) if seeded and SEED not in source.per else source.per
    for variant in every:
        for axis in per:
            if axis not in variant.axes:
                what = f"`{variant.node.name}` has no axis `{axis}`"
                raise recipe.file.error(what, *_at(node, "from", "per"), near=near_names(axis, variant.axes))
        groups.setdefault(tuple(variant.axes[axis] for axis in per), []).append(variant)
    _need_scores(recipe, node, [one for group in groups.values() for one in group], source, "from")
    models = tuple(name for name in source.names if name in recipe.models)
    said = str(source)
    if not groups:
        return [({}, Ref(models=models, best=True, said=said))]
    return [
        (
            dict(zip(per, key, strict=True)),
            Ref(variants=tuple(variant.name for variant in group), models=models, best=True, said=said),
        )
        for key, group in groups.items()
    ]


def _need_models(recipe: Recipe, node: Node, variants: Sequence[Variant], *place: str) -> None:
    for variant in variants:
        if makes_text(variant.step):
            name = variant.node.name
            mend = f"name it in a parameter: step.{name}"
            raise recipe.file.error(
                f"`{name}` makes text, and `{node.name}` takes a model", *_at(node, *place), mend=mend
            )


def _need_scores(recipe: Recipe, node: Node, variants: Sequence[Variant], source: Origin, *place: str) -> None:
    for variant in variants:
        if variant.node.score is False:
            what = f"takes the best of `{variant.node.name}`, which is not scored (`score: false`)"
            raise recipe.file.error(f"`{node.name}` {what}", *_at(node, *place))
    for name in source.names:
        if name in recipe.models and name not in recipe.score.models:
            what = f"`{node.name}` takes the best of `{name}`, which is not scored"
            raise recipe.file.error(what, *_at(node, *place), mend=f"add it to `models` of `score`: [{name}]")


def _variant(
    recipe: Recipe,
    node: Node,
    axes: Mapping[str, Any],
    extra: Mapping[str, Any],
    source: Ref | None,
    done: Mapping[str, list[Variant]],
) -> Variant:
    step = _step_class(recipe, node, str(_replaced(recipe, node, node.step, axes, "step")))
    if source is None and not makes_models(step):
        raise recipe.file.error(f"`{node.name}` needs `from`: a model or a step", *_at(node), mend="add `from: ...`")
    values = {**node.parameters, **extra}
    filled = {key: _replaced(recipe, node, value, axes, "with", key) for key, value in values.items()}

    def fail(what: str, place: tuple[str, ...], mend: str, near: Sequence[str]) -> UserError:
        return recipe.file.error(what, *_at(node, "with", *place), mend=mend, near=near)

    parameters = checked_fields(f"step {step.name}", step, filled, fail)
    try:
        made = step(**parameters)
    except UserError as error:
        what = f"{error.where}: {error.what}" if error.where else error.what
        raise recipe.file.error(what, *_at(node, "with"), mend=error.mend, near=error.near) from error
    return Variant(
        name="-".join((node.name, *(_label(recipe, axis, value) for axis, value in axes.items()))),
        node=node,
        axes=axes,
        step=made,
        source=source,
        inputs={key: _input(recipe, node, key, one, axes, done) for key, one in node.inputs.items()},
        seed=node.seed if node.seed is not None else axes[SEED] if recipe.seeds and SEED in axes else recipe.seed,
    )


def _label(recipe: Recipe, axis: str, value: Any) -> str:
    return f"{SEED}{value}" if recipe.seeds and axis == SEED else str(value)


def _input(
    recipe: Recipe, node: Node, key: str, source: Origin, axes: Mapping[str, Any], done: Mapping[str, list[Variant]]
) -> Ref:
    """The one model of an input: among a step's variants the one whose axes agree."""
    place = _at(node, "inputs", key)
    if not source.best and source.names[0] in recipe.models:
        return Ref(model=source.names[0])
    agreeing = [
        variant
        for name in source.names
        for variant in done.get(name, ())
        if all(axes.get(axis, value) == value for axis, value in variant.axes.items())
    ]
    if source.best:
        _need_scores(recipe, node, agreeing, source, "inputs", key)
        models = tuple(name for name in source.names if name in recipe.models)
        variants = tuple(variant.name for variant in agreeing)
        return Ref(variants=variants, models=models, best=True, said=str(source))
    if len(agreeing) != 1 or agreeing[0].node.select == "all":
        count = "all its candidates" if len(agreeing) == 1 else f"{len(agreeing)} variants"
        mend = f"write {{best: {source.names[0]}}} or share its axes"
        raise recipe.file.error(f"`{key}` must be one model, `{source.names[0]}` hands on {count}", *place, mend=mend)
    if not key.startswith(STEP):
        _need_models(recipe, node, agreeing, "inputs", key)
    return Ref(variants=(agreeing[0].name,))


def _replaced(recipe: Recipe, node: Node, value: Any, axes: Mapping[str, Any], *place: str) -> Any:
    """`value` with {axis} replaced by its value and data.NAME by the files of that name."""
    if isinstance(value, list):
        items = []
        for one in value:
            new = _replaced(recipe, node, one, axes, *place)
            items += new if isinstance(new, list) and not isinstance(one, list) else [new]
        return items
    if isinstance(value, dict):
        return {key: _replaced(recipe, node, one, axes, *place) for key, one in value.items()}
    # Text of several lines is a prompt or a template, with braces of its own.
    if not isinstance(value, str) or "\n" in value:
        return value
    value = recipe.file.filled(value, *_at(node, *place))
    if value.startswith(DATA):
        name = value.removeprefix(DATA)
        if name not in recipe.data:
            raise recipe.file.error(
                f"no data is called `{name}`", *_at(node, *place), near=near_names(name, recipe.data)
            )
        files = recipe.data[name]
        return files[0] if len(files) == 1 else list(files)
    whole = _PLACEHOLDER.fullmatch(value)
    if whole and whole.group(1) in axes:
        return axes[whole.group(1)]
    for axis in _PLACEHOLDER.findall(value):
        if axis not in axes:
            raise recipe.file.error(
                f"`{{{axis}}}` is no axis of `{node.name}`", *_at(node, *place), near=near_names(axis, axes)
            )
    return _PLACEHOLDER.sub(lambda match: str(axes[match.group(1)]), value)


def _step_class(recipe: Recipe, node: Node, name: str) -> Any:
    """The class of a step; UserError with the line for an unknown one."""
    try:
        return step_registry().get(name)
    except UserError as error:
        raise recipe.file.error(error.what, "steps", node.place, "step", mend=error.mend, near=error.near) from error
