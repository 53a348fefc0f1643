"""Sampled answers: how each is drawn, and a sample for each of several draws of one record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from darumeru.core.errors import UserError
from darumeru.engines.request import Sampling
from darumeru.metrics.repeated import DRAW, DRAWN_FOR
from darumeru.runs.config import AskConfig
from darumeru.tasks.sample import Sample
from darumeru.tasks.spec import TaskSpec


class Draws:
    """Sampling of generated answers as a config says it, and a task where the config says nothing; greedy where neither
    does. generates: whether a task's answers, or the thoughts before them, are generated."""

    def __init__(self, config: AskConfig, generates: Callable[[TaskSpec], bool]) -> None:
        self.config = config
        self.generates = generates

    def temperature(self, spec: TaskSpec) -> float:
        """0 is greedy; choices and continuations themselves are never drawn."""
        if not self.generates(spec):
            return 0.0
        said = (self.config.temperature, spec.temperature)
        return next((one for one in said if one is not None), 0.0)

    def count(self, spec: TaskSpec) -> int:
        """Answers of each sample; UserError for several of a greedy answer, which would all be the same."""
        asked = self.config.num_samples
        if self.temperature(spec):
            return asked or spec.num_samples or 1
        if asked is not None and asked > 1 and self.generates(spec):
            what = f"{asked} greedy answers of {spec.name} are one answer"
            raise UserError(what, "--num-samples", "give --temperature too, for example 0.7")
        return 1

    def drawn(self, spec: TaskSpec, samples: Sequence[Sample]) -> list[Sample]:
        """Each sample as often as it is answered: the first under its own id, the others under ID~NUMBER. They keep
        their cluster, so that the draws of one record stand or fall together in every interval."""
        count = self.count(spec)
        if count == 1:
            return list(samples)
        return [
            replace(
                sample,
                id=f"{sample.id}~{number}" if number else sample.id,
                meta={**sample.meta, DRAWN_FOR: sample.id, DRAW: number},
            )
            for sample in samples
            for number in range(count)
        ]

    def sampling(self, spec: TaskSpec, sample: Sample) -> Sampling | None:
        """How this sample's answer is drawn; None for a greedy one. Each draw has a seed of its own."""
        temperature = self.temperature(spec)
        if not temperature:
            return None
        top_p = self.config.top_p if self.config.top_p is not None else spec.top_p
        seed = self.config.sampling_seed + int(sample.meta.get(DRAW, 0))
        return Sampling(temperature, 1.0 if top_p is None else top_p, spec.top_k or 0, seed)
