"""Part of a task's samples: --limit, and the fixed stratified subset of training-time evaluation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from darumeru.tasks.sample import Sample
from darumeru.tasks.spec import TaskSpec

MMLU_SUBJECTS = 57


def limited(
    samples: Sequence[Sample],
    spec: TaskSpec,
    limit: int | None,
    *,
    subject_limit: bool = False,
    seed: int | None = None,
) -> list[Sample]:
    """About `limit` records of the task, whole clusters only, in their original order.

    With options.whole_clusters (exam variants) a cluster counts as the records it holds; at least one is kept.
    Questions with a subject are taken evenly over subjects. subject_limit: limit // 57 + 1 of each subject.
    seed None: the first ones; a seed: drawn at random, evenly over the right answers, from the records of the whole
    task; a larger limit adds to a smaller one.
    """
    if limit is not None and seed is not None and spec.most_records is not None:
        samples = limited(samples, spec, None)
    strata: dict[str, list[str]] = defaultdict(list)
    sizes: dict[str, int] = defaultdict(int)
    for sample in samples:
        sizes[sample.cluster] += 1
        if sizes[sample.cluster] > 1:
            continue
        label = sample.meta.get("subject", "") if spec.format == "mmlu" else ""
        if seed is not None and not label and spec.method == "multiple_choice":
            label = str(sample.target)
        strata[str(label)].append(sample.cluster)
    most = min((cap for cap in (limit, spec.most_records) if cap is not None), default=None)
    if most is None:
        return list(samples)
    if subject_limit and spec.format == "mmlu":
        kept = {cluster for clusters in strata.values() for cluster in clusters[: most // MMLU_SUBJECTS + 1]}
    else:
        weights = sizes if spec.options.get("whole_clusters") else dict.fromkeys(sizes, 1)
        kept = _first(_in_order(list(strata.values()), seed), weights, most)
    return [sample for sample in samples if sample.cluster in kept]


def _in_order(strata: list[list[str]], seed: int | None) -> list[str]:
    """Clusters in turn from each stratum; with a seed shuffled, and in proportion to the strata's sizes."""
    if seed is not None:
        rng = np.random.default_rng(seed)
        strata = [[clusters[i] for i in rng.permutation(len(clusters))] for clusters in strata]
    places = [
        (rank / len(clusters) if seed is not None else rank, number, cluster)
        for number, clusters in enumerate(strata)
        for rank, cluster in enumerate(clusters)
    ]
    return [cluster for _, _, cluster in sorted(places, key=lambda place: place[:2])]


def _first(clusters: Sequence[str], weights: Mapping[str, int], most: int) -> set[str]:
    kept: set[str] = set()
    total = 0
    for cluster in clusters:
        if kept and total + weights[cluster] > most:
            continue
        kept.add(cluster)
        total += weights[cluster]
        if total >= most:
            break
    return kept
