"""Cleaning of a corpus as a step of a recipe, whose output other steps take as `step.NAME`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar

from darumeru.adaptation.protocols import Candidate, StepContext
from darumeru.core.errors import UserError
from darumeru.core.packages import require
from lep_plugins.corpora.cleaning import Cleaning, Job
from lep_plugins.corpora.documents import Split, documents
from lep_plugins.corpora.quality import Rules, fitted, rules_of


@dataclass(frozen=True)
class CorpusStep:
    """files: text (plain, JSON lines, Parquet; also .xz, .gz). language: "ru" or "en". field: of JSON lines and
    Parquet. split: what a document of plain text is: "blank" (what stands between blank lines) or "line".
    language_score: least score of the language; None: median less one standard deviation, between 0.3 and 0.9.
    deduplicate: MinHash. min_words: of a document. reference: good text of the language, to whose tails (`tail` of it
    on each side) the other thresholds are fitted; none: the authors' thresholds for the language. rehydrate: most
    copies of a document that had duplicates and is of a kind that seldom fails; 1 for none."""

    files: tuple[str, ...] = ()
    language: str = "ru"
    field: str = "text"
    split: Split = "blank"
    language_score: float | None = None
    deduplicate: bool = True
    min_words: int = 50
    reference: tuple[str, ...] = ()
    tail: float = 0.02
    rehydrate: int = 10

    name: ClassVar[str] = "corpus"
    resumable: ClassVar[bool] = True
    from_nothing: ClassVar[bool] = True
    makes_text: ClassVar[bool] = True

    def __post_init__(self) -> None:
        rules_of(self.language)
        if not 0 <= self.tail < 0.5:
            raise UserError(f"must be from 0 to 0.5, not {self.tail}", "tail")
        for name in ("rehydrate", "min_words"):
            if getattr(self, name) < 1:
                raise UserError(f"must be 1 or more, not {getattr(self, name)}", name)

    def job(self) -> Job:
        """The work, with fitted thresholds. UserError: datatrove is not installed, too little reference text."""
        require("datatrove", self.name)
        rules: Rules = replace(rules_of(self.language), min_words=self.min_words)
        if self.reference:
            good = (one.text for one in documents(self.reference, self.field, self.split))
            rules = fitted(rules, good, self.tail)
        shared = {name: getattr(self, name) for name in ("files", "field", "split", "language", "language_score")}
        return Job(**shared, deduplicate=self.deduplicate, rules=rules, rehydrate=self.rehydrate)

    def run(self, context: StepContext, candidate: Candidate) -> Iterator[Candidate]:
        """Yield the one file of cleaned text; goes on where context.output was left."""
        text = Cleaning(self.job(), context.output, context.say).run()
        parameters = asdict(self) | {"files": list(self.files), "reference": list(self.reference)}
        yield Candidate(text, self.name, parameters, label=self.name)


def clean(step: CorpusStep, output: Path, say: object = print) -> Path:
    """Clean into a folder, which the same call goes on with. UserError where the folder holds other work."""
    import json

    from darumeru.core.files import content_hash, to_json, write_atomically
    from darumeru.core.options import to_plain
    from darumeru.models.fingerprints import fingerprint
    from lep_plugins.vocabulary.corpus import Corpus

    job = step.job()
    files = [fingerprint(path) for path in Corpus.of(step.files, step.field).paths]
    key = content_hash([files, to_plain({**asdict(job), "files": []})])
    mark = output / "job.json"
    if mark.is_file():
        if json.loads(mark.read_text(encoding="utf-8")).get("key") != key:
            raise UserError("holds a cleaning of other text or other rules", str(output), "choose another --output")
    elif output.is_dir() and any(output.iterdir()):
        raise UserError("the output folder holds other files", str(output), "choose an empty or new --output")
    output.mkdir(parents=True, exist_ok=True)
    write_atomically(mark, to_json({"schema": 1, "key": key, "rules": to_plain(asdict(job.rules))}))
    return Cleaning(job, output, say).run()  # type: ignore[arg-type]
