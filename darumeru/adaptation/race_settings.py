"""What a race is told: its options, the weights of the full score, and how many samples each task has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from darumeru.adaptation.race import Rules
from darumeru.adaptation.recipe_file import RecipeFile
from darumeru.core.errors import UserError, near_names
from darumeru.core.options import Effect, Option, WrongValue, declared
from darumeru.leaderboard.curve import MEAN, MICRO_AVG
from darumeru.leaderboard.measures import main_family
from darumeru.metrics import metric as metric_named
from darumeru.metrics.measure import combined
from darumeru.runs.config import Config, TaskConfig
from darumeru.runs.score import BENCHMARK_TASKS
from darumeru.runs.sources import split
from darumeru.tasks.formats import sample_maker
from darumeru.tasks.profiles import profile_named
from darumeru.tasks.records import load_split
from darumeru.tasks.registry import LEADERBOARD_GROUPS, load_registry
from darumeru.tasks.spec import TaskSpec
from darumeru.tasks.subset import limited
from darumeru.tasks.suites import CATEGORIES


@dataclass(frozen=True, kw_only=True)
class RaceConfig(Config):
    """`race:` of a recipe."""

    error: Annotated[
        float, Option("Chance of naming a wrong winner.", Effect.SCORES, least=1e-6, most=0.5)
    ] = 0.05  # fmt: skip
    margin: Annotated[
        float, Option("Candidates that differ by less than this are called equal.", Effect.SCORES, least=0)
    ] = 0.005  # fmt: skip
    first: Annotated[int, Option("Samples a task in the first round; each round doubles.", Effect.SCORES, least=2)] = 8
    resamples: Annotated[
        int, Option("Bootstrap replicates behind a standard error.", Effect.SCORES, least=50, most=100_000)
    ] = 400  # fmt: skip
    minutes: Annotated[
        float | None, Option("End a race after this time; what is not told apart then stays so.", Effect.NOTHING)
    ] = None


def read_race(file: RecipeFile) -> RaceConfig:
    """`race` of a recipe; UserError with its line."""
    values = file.values.get("race") or {}
    file.check_keys(values, [one.name for one in declared(RaceConfig)], "`race`", "race")
    try:
        return RaceConfig(**values)
    except WrongValue as error:
        raise file.error(f"`{error.name}` of `race`: {error.what}", "race", error.name, mend=error.mend) from error


def check_race(file: RecipeFile, score: TaskConfig, metric: str | None) -> None:
    """UserError with the line where the recipe's `score` is none that a race can be held over."""
    try:
        score_weights(asked_tasks(score), metric)
    except UserError as error:
        raise file.error(error.what, "score", error.where, mend=error.mend, near=error.near) from error


def asked_tasks(config: TaskConfig) -> list[TaskSpec]:
    """The tasks of a scoring; UserError for what a race cannot take samples of at random."""
    own, foreign = split(config.patterns)
    if foreign:
        what = f"a race draws samples of Darumeru's own tasks, and these are of {', '.join(sorted(foreign))}"
        raise UserError(what, "tasks", "leave them out, or choose without a race")
    if config.limit is not None and config.subset_seed is None:
        what = "a race draws samples at random, and `subset_seed: null` takes the first ones"
        raise UserError(what, "subset_seed", "leave it out")
    specs = load_registry(config.profile, config.include).select(own)
    if profile_named(config.profile).subject_limit and any(spec.format == "mmlu" for spec in specs):
        what = f"the profile {config.profile} takes the first questions of each subject, and a race draws them"
        raise UserError(what, "profile", "race with another profile")
    return list(specs)


def score_weights(specs: Sequence[TaskSpec], metric: str | None) -> dict[str, float]:
    """Task -> weight in the score that selects, negative where lower is better. UserError for an unknown metric."""
    measures = {spec.name: combined([metric_named(name).measure for name in spec.score]) for spec in specs}
    benchmark = [spec.name for spec in specs if spec.leaderboard and spec.group in LEADERBOARD_GROUPS]
    whole = len(benchmark) == BENCHMARK_TASKS
    names = {MEAN: main_family(measures)} | ({MICRO_AVG: benchmark} if whole else {})
    for group in (*LEADERBOARD_GROUPS, *CATEGORIES):
        of_group = [spec for spec in specs if spec.group == group]
        of_group = [spec for spec in of_group if spec.leaderboard or group in CATEGORIES]
        names |= {group: [spec.name for spec in of_group]} if of_group else {}
    names |= {spec.name: [spec.name] for spec in specs}
    wanted = metric or (MICRO_AVG if whole else MEAN)
    if wanted not in names:
        known = ", ".join(names)
        raise UserError(f"no score is called `{wanted}`", "metric", f"there are {known}", near_names(wanted, names))
    chosen = names[wanted]
    return {name: measures[name].sign / len(chosen) for name in chosen}


def task_sizes(specs: Sequence[TaskSpec], config: TaskConfig) -> dict[str, int]:
    """Task -> records, as `limit` counts them; at most, since examples for prompts may come from the same records."""
    sizes = {}
    for spec in specs:
        records = load_split(spec.source, spec.source.test, config.data).records
        samples = sample_maker(spec.format, spec.name)(spec, records, (), 0)
        kept = limited(samples, spec, config.limit, seed=config.subset_seed)
        whole = spec.options.get("whole_clusters")
        sizes[spec.name] = len(kept) if whole else len({sample.cluster for sample in kept})
    return sizes


def race_rules(config: RaceConfig, weights: Mapping[str, float], sizes: Mapping[str, int], seed: int) -> Rules:
    """The rules of a race over tasks of these sizes."""
    return Rules(
        largest=max(sizes[name] for name in weights),
        weights=weights,
        error=config.error,
        margin=config.margin,
        first=config.first,
        resamples=config.resamples,
        seed=seed,
    )
