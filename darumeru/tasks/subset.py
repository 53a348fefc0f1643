"""Part of a task's samples: --limit, and the fixed stratified subset of training-time evaluation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

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

    A cluster that holds many records (an exam variant: options.records_per_cluster) counts as so many; at least one
    is kept. Questions with a subject are taken evenly over subjects. subject_limit: limit // 57 + 1 of each subject.
    seed None: the first ones; a seed: drawn at random, evenly over the right answers.
    """
    strata: dict[str, list[str]] = defaultdict(list)
    seen: set[str] = set()
    for sample in samples:
        if sample.cluster in seen:
            continue
        seen.add(sample.cluster)
        label = sample.meta.get("subject", "") if spec.format == "mmlu" else ""
        if seed is not None and not label and spec.method == "choice":
            label = str(sample.gold)
        strata[str(label)].append(sample.cluster)
    most = spec.most_records
    if limit is not None:
        most = limit if most is None else min(limit, most)
    if most is None or (most >= len(seen) and not spec.options.get("records_per_cluster")):
        return list(samples)
    wanted = max(1, most // int(spec.options.get("records_per_cluster", 1)))
    if subject_limit and spec.format == "mmlu":
        kept = {cluster for clusters in strata.values() for cluster in clusters[: most // MMLU_SUBJECTS + 1]}
    else:
        kept = set(_round_robin(list(strata.values()), wanted, seed))
    return [sample for sample in samples if sample.cluster in kept]


def _round_robin(strata: list[list[str]], wanted: int, seed: int | None) -> list[str]:
    if seed is not None:
        rng = np.random.default_rng(seed)
        strata = [[clusters[i] for i in rng.permutation(len(clusters))] for clusters in strata]
    order = sorted(
        (
            (rank / len(clusters) if seed is not None else rank, number, cluster)
            for number, clusters in enumerate(strata)
            for rank, cluster in enumerate(clusters)
        ),
        key=lambda item: (item[0], item[1]),
    )
    return [cluster for _, _, cluster in order[:wanted]]
