"""MMLU's accuracy: the mean over four categories of the mean over subjects of the subject's accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from darumeru.core.errors import UserError, near_names
from darumeru.core.row import SampleRow
from darumeru.metrics.choice import guess, hit, no_choice
from darumeru.metrics.clusters import by_cluster
from darumeru.metrics.measure import SHARE, Measure
from darumeru.metrics.statistic import FloatArray, Statistic

# Hendrycks et al., "Measuring Massive Multitask Language Understanding" (arXiv:2009.03300), as used by mmlu_ru.
_SUBJECTS = {
    "STEM": """abstract_algebra astronomy college_biology college_chemistry college_computer_science college_mathematics
        college_physics computer_security conceptual_physics electrical_engineering elementary_mathematics
        high_school_biology high_school_chemistry high_school_computer_science high_school_mathematics
        high_school_physics high_school_statistics machine_learning""",
    "humanities": """formal_logic high_school_european_history high_school_us_history high_school_world_history
        international_law jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy prehistory
        professional_law world_religions""",
    "social sciences": """econometrics high_school_geography high_school_government_and_politics
        high_school_macroeconomics high_school_microeconomics high_school_psychology human_sexuality
        professional_psychology public_relations security_studies sociology us_foreign_policy""",
    "other": """anatomy business_ethics clinical_knowledge college_medicine global_facts human_aging management
        marketing medical_genetics miscellaneous nutrition professional_accounting professional_medicine virology""",
}

CATEGORY_OF: Mapping[str, str] = {
    subject: category for category, subjects in _SUBJECTS.items() for subject in subjects.split()
}

SMALLEST_STRATUM = 5


@dataclass(frozen=True)
class CategoryMean:
    """combine for sums [..., 2S]: hits of S subjects, then their question counts.

    categories: the category number of each subject. Subjects without questions do not count, nor do categories
    without subjects.
    """

    categories: tuple[int, ...]

    @property
    def parameters(self) -> tuple[int, ...]:
        """What statistics.npz stores, because it depends on which subjects were asked."""
        return self.categories

    def with_parameters(self, parameters: Sequence[int]) -> CategoryMean:
        return CategoryMean(tuple(parameters))

    def __call__(self, sums: FloatArray) -> FloatArray:
        hits, asked = np.split(np.asarray(sums), 2, axis=-1)
        present = asked > 0
        accuracy = np.where(present, hits / np.where(present, asked, 1), 0)
        member = np.eye(max(self.categories, default=-1) + 1)[list(self.categories)]
        subjects = present @ member
        filled = subjects > 0
        means = np.where(filled, accuracy @ member / np.where(filled, subjects, 1), 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            result: FloatArray = np.asarray(means.sum(axis=-1) / filled.sum(axis=-1))
        return result


@dataclass(frozen=True)
class AccuracyByCategory:
    """row.meta["subject"] names the subject; resampling keeps the number of questions of each subject."""

    name: str = "acc_by_category"
    description: str = "mean over the four MMLU categories of the mean over subjects of accuracy (nlpcoreteam MMLU)"
    measure: Measure = SHARE

    def values(self, row: SampleRow) -> Mapping[str, float]:
        """Whether this one question is answered right."""
        return {self.name: hit(row)}

    def unparsed(self, row: SampleRow) -> bool:
        return no_choice(row)

    def statistic(self, rows: Sequence[SampleRow]) -> Statistic:
        """Raises UserError for a subject that is not one of the 57."""
        clusters = by_cluster(rows)
        subjects = sorted({_subject(row) for row in clusters.rows})
        place = {subject: number for number, subject in enumerate(subjects)}
        at = np.array([place[_subject(row)] for row in clusters.rows], dtype=np.int64)
        here = np.arange(len(at))
        values = np.zeros((len(at), 2 * len(subjects)))
        values[here, at] = [hit(row) for row in clusters.rows]
        values[here, len(subjects) + at] = 1
        strata = np.zeros(len(clusters.ids), dtype=np.int64)
        strata[clusters.index] = at
        order = list(_SUBJECTS)
        combine = CategoryMean(tuple(order.index(CATEGORY_OF[subject]) for subject in subjects))
        chance = float(np.mean([guess(row) for row in clusters.rows])) if clusters.rows else 0.0
        # Resampling one or two questions of a subject shows no spread: then resample over all subjects together.
        small = np.bincount(strata).min(initial=SMALLEST_STRATUM) < SMALLEST_STRATUM
        columns = clusters.sums(values)
        hits = columns[:, : len(subjects)].sum(axis=1) if clusters.single else None
        return Statistic(clusters.ids, columns, combine, None if small else strata, hits, chance)


def _subject(row: SampleRow) -> str:
    subject = str(row.meta.get("subject"))
    if subject not in CATEGORY_OF:
        raise UserError(
            f"`{subject}` is not one of the 57 subjects of MMLU",
            f"{row.task} {row.id}",
            near=near_names(subject, CATEGORY_OF),
        )
    return subject


ACCURACY_BY_CATEGORY = AccuracyByCategory()
