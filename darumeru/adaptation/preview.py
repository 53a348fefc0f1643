"""What a recipe would do: its variants as a tree, what is done, how large models are. Loads and fetches nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from darumeru.adaptation.estimates import seconds_planned, seconds_taken
from darumeru.adaptation.pipeline import Pipeline
from darumeru.adaptation.protocols import Candidate
from darumeru.adaptation.store import Made
from darumeru.adaptation.variants import Ref, Variant
from darumeru.core import numbers
from darumeru.core.errors import RunFailed, UserError
from darumeru.core.options import to_plain
from darumeru.models.fingerprints import fingerprint
from darumeru.models.weight_files import read_shards

FLOAT32_BYTES = 4


@dataclass(frozen=True)
class Size:
    """bytes: of the model's files on disk. parameters: as the weight headers say. None where not known."""

    bytes: int | None = None
    parameters: int | None = None
    guessed: bool = False

    @property
    def dtype(self) -> str:
        """Of the weights, by their bytes."""
        halves = self.bytes is not None and self.parameters and self.bytes < 3 * self.parameters
        return "bfloat16" if halves else "float32"

    def __str__(self) -> str:
        if self.bytes is None:
            return "size not known"
        about = "about " if self.guessed else ""
        count = f", {_count(self.parameters)} parameters" if self.parameters is not None else ""
        return f"{about}{_bytes(self.bytes)}{count}"


@dataclass(frozen=True)
class PreviewLine:
    """A line of the plan. state: "done", "unfinished", "to do" or "not here" (a Hub model that is not in the cache).
    parent: the name that it hangs under; "" for the root. scored: how many of its models have scores. seconds: that it
    took or will take, scoring not counted."""

    name: str
    parent: str
    step: str
    state: str
    size: Size
    about: str = ""
    models: int = 0
    scored: int = 0
    path: str = ""
    seconds: float | None = None

    @property
    def time(self) -> str:
        """In words; "" where it is not known. seconds: measured where the line is done, else about."""
        if self.seconds is None:
            return ""
        return f"{'took' if self.state == 'done' else 'about'} {numbers.seconds(self.seconds)}"


def make_preview(pipeline: Pipeline) -> list[PreviewLine]:
    """Given models, then variants in working order. What depends on scores that are not there yet is "to do"."""
    known: dict[str, list[Made]] = {}
    sizes: dict[str, Size] = {}
    plan: list[PreviewLine] = []
    for name, where in pipeline.recipe.models.items():
        folder = local_folder(where)
        sizes[name] = model_size(folder) if folder else Size()
        if folder:
            made = Made(f"model {fingerprint(folder)}", name, Candidate(folder, label=name), lineage=(name,))
            pipeline.know(name, made)
        state = "given" if folder else "not here"
        plan.append(PreviewLine(name, "", "model", state, sizes[name], where, path=str(folder or where)))
    for variant in pipeline.variants:
        plan += _variant(pipeline, variant, known, sizes)
    return _timed(pipeline, plan)


def _timed(pipeline: Pipeline, plan: list[PreviewLine]) -> list[PreviewLine]:
    """What is not done as long as what is done of the same step took on the mean, else by its work."""
    variants = {one.name: one for one in pipeline.variants}
    sizes: dict[str, Size] = {}
    taken: dict[str, list[float]] = {}
    for one in plan:
        sizes[one.name] = one.size if one.size.parameters else sizes.get(one.parent, Size())
        if one.seconds is not None:
            taken.setdefault(variants[one.name].node.name, []).append(one.seconds)
    timed = []
    for one in plan:
        if one.name in variants and one.state != "done":
            variant = variants[one.name]
            like = taken.get(variant.node.name)
            size = sizes[one.parent or one.name]
            about = sum(like) / len(like) if like else seconds_planned(variant.step, size.parameters, size.dtype)
            one = replace(one, seconds=about)
        timed.append(one)
    return timed


def _variant(
    pipeline: Pipeline, variant: Variant, known: dict[str, list[Made]], sizes: dict[str, Size]
) -> list[PreviewLine]:
    parent = _first(variant.source)
    around = ", ".join(f"{key} = {ref}" for key, ref in variant.inputs.items())
    about = "; ".join(one for one in (f"from {variant.source}" if variant.source else "", around) if one)
    target = _first(variant.inputs["target"]) if "target" in variant.inputs else parent
    guess = replace(sizes.get(target, Size()), guessed=True, parameters=None) if parent else _from_nothing(variant.step)
    planned = PreviewLine(variant.name, parent, variant.step.name, "to do", guess, about)
    try:
        jobs = pipeline.look(variant) if all(name in known for name in variant.needs) else []
    except (RunFailed, LookupError, UserError):
        jobs = []
    made = [one for job in jobs for one in (pipeline.made_by(job) if job.folder.done else [])]
    if jobs and all(job.folder.done and not job.folder.lost() for job in jobs):
        known[variant.name] = made
        pipeline.remember(variant, jobs)
        here = [one for one in made if not one.deleted]
        size = model_size(here[-1].path) if here else Size()
        scored = sum(pipeline.scorer.known(one) is not None for one in made)
        took = seconds_taken([job.folder for job in jobs])
        path = str(made[-1].path)
        planned = replace(planned, state="done", size=size, models=len(made), scored=scored, path=path, seconds=took)
    elif any(job.folder.path.is_dir() for job in jobs):
        planned = replace(planned, state="unfinished")
    sizes[variant.name] = planned.size
    return [planned]


def _from_nothing(step: Any) -> Size:
    """What a step that has no model before it says of its own."""
    count = getattr(step, "planned_parameters", None)
    return Size(FLOAT32_BYTES * count, count, guessed=True) if count else Size()


def _first(ref: Ref | None) -> str:
    if ref is None:
        return ""
    return ref.model or next(iter((*ref.variants, *ref.models)))


def local_folder(where: str) -> Path | None:
    """The folder of a model, from the Hub cache if it is there; nothing is fetched."""
    if Path(where).is_dir():
        return Path(where).resolve()
    from huggingface_hub import errors, snapshot_download

    try:
        return Path(snapshot_download(where, local_files_only=True))
    except (errors.LocalEntryNotFoundError, errors.HFValidationError, OSError):
        return None


def model_size(folder: Path) -> Size:
    """Bytes of a model's files, and its parameters counted from the headers of its weights; those of a text's file."""
    if folder.is_file():
        return Size(folder.stat().st_size)
    files = [file for file in folder.rglob("*") if file.is_file()]
    total = sum(file.stat().st_size for file in files)
    try:
        shards = read_shards(folder)
    except UserError:
        return Size(total)
    return Size(total, sum(prod(entry.shape) for shard in shards for entry in shard.tensors))


def preview_json(pipeline: Pipeline, plan: list[PreviewLine]) -> dict[str, Any]:
    """The plan as JSON values."""
    parameters: Mapping[str, Any] = {one.name: _parameters(one) for one in pipeline.variants}
    return {
        "recipe": pipeline.recipe.name,
        "plan": [
            {
                "name": one.name,
                "parent": one.parent or None,
                "step": one.step,
                "state": one.state,
                "bytes": one.size.bytes,
                "parameters_count": one.size.parameters,
                "size_guessed": one.size.guessed,
                "models": one.models,
                "scored": one.scored,
                "seconds": one.seconds and round(one.seconds, 1),
                "path": one.path or None,
                "parameters": parameters.get(one.name),
            }
            for one in plan
        ],
    }


def _parameters(variant: Variant) -> dict[str, Any]:
    from dataclasses import asdict

    return {name: to_plain(value) for name, value in asdict(variant.step).items()}


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _count(count: int) -> str:
    for limit, unit in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= limit:
            return f"{count / limit:.1f}{unit}"
    return str(count)
