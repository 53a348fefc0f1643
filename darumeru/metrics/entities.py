"""Named entities: F1 of multisets of (class, text), macro over a fixed list of classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from darumeru.core.row import SampleRow
from darumeru.metrics.clusters import by_cluster
from darumeru.metrics.entity_readers import (
    Entity,
    from_flat_marks,
    from_json,
    from_lines,
    from_nested_marks,
    same_text,
    same_tokens,
)
from darumeru.metrics.measure import SHARE, Measure
from darumeru.metrics.statistic import FloatArray, Statistic


def read(row: SampleRow) -> list[Entity] | None:
    """The entities of an answer, of the classes that are asked for; None where a marked answer is not the text. The
    target says in which form they are (formats/entities.py)."""
    target, answer = row.target, row.answer.text or ""
    classes, mended = target["classes"], target["mended"]
    if target["form"] == "lines":
        found = from_lines(answer, mended)
    elif target["form"] == "json":
        found = from_json(answer, classes, mended)
    elif target["nested"]:
        if not same_text(answer, target["text"]):
            return None
        found = from_nested_marks(answer)
    else:
        whole = same_text(answer, target["text"]) if mended else same_tokens(answer, target["tokens"])
        if not whole:
            return None
        found = from_flat_marks(answer)
    return [(name, text) for name, text in found if name in classes]


def counts(row: SampleRow) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Entities of each class: found, missed, invented."""
    right = Counter((name, text) for name, text in row.target["entities"])
    said = Counter(read(row) or ())
    return _by_class(right & said), _by_class(right - said), _by_class(said - right)


def _by_class(entities: Counter[Entity]) -> Counter[str]:
    result: Counter[str] = Counter()
    for (name, _), number in entities.items():
        result[name] += number
    return result


def f1_of_counts(sums: FloatArray) -> FloatArray:
    """F1 averaged over all K classes, 0 for a class of which nothing was found. sums: [..., 3K], K counts each of what
    was found, missed and invented. NaN without classes."""
    found, missed, invented = np.split(np.asarray(sums), 3, axis=-1)
    total = 2 * found + missed + invented
    f1 = np.where(found > 0, 2 * found / np.where(total > 0, total, 1), 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        result: FloatArray = np.asarray(f1.sum(axis=-1) / f1.shape[-1])
    return result


@dataclass(frozen=True)
class EntityF1:
    """A sample's values are its numbers of entities that were found, missed and invented."""

    name: str = "entity_f1_macro"
    description: str = "F1 of named entities as (class, text), averaged over the fixed list of classes (NER tasks)"
    measure: Measure = SHARE

    def values(self, row: SampleRow) -> Mapping[str, float]:
        found, missed, invented = counts(row)
        return {"found": found.total(), "missed": missed.total(), "invented": invented.total()}

    def unparsed(self, row: SampleRow) -> bool:
        """Whether nothing at all could be read although the text has entities."""
        return bool(row.target["entities"]) and not read(row)

    def statistic(self, rows: Sequence[SampleRow]) -> Statistic:
        clusters = by_cluster(rows)
        classes: list[str] = list(clusters.rows[0].target["classes"]) if clusters.rows else []
        values = np.array(
            [[each[name] for each in counts(row) for name in classes] for row in clusters.rows], dtype=np.float64
        ).reshape(len(clusters.rows), 3 * len(classes))
        return Statistic(clusters.ids, clusters.sums(values), f1_of_counts)

    def most(self, row: SampleRow) -> float:
        return float(len(row.target["entities"]))


ENTITY_F1 = EntityF1()
