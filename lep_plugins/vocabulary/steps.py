"""The vocabulary schemes as adaptation steps: each makes a new tokenizer, then a whole model with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from darumeru.adaptation.protocols import Candidate, StepContext
from darumeru.core.errors import UserError
from lep_plugins.initialization.options import DEFAULTS, InitOptions
from lep_plugins.vocabulary.bpe import COVERAGE, Texts, train_bpe
from lep_plugins.vocabulary.corpus import Corpus, Normalization
from lep_plugins.vocabulary.description import Description
from lep_plugins.vocabulary.extend import extend
from lep_plugins.vocabulary.folder import open_model_tokenizer, write_tokenizer
from lep_plugins.vocabulary.merge import merge, unfinished, words_of
from lep_plugins.vocabulary.optimize import optimize
from lep_plugins.vocabulary.script import Script
from lep_plugins.vocabulary.trim import trim
from lep_plugins.vocabulary.unigram import SEEDS, train_unigram

Normal = Literal["NFKC", "NFC", "none"]


def _no_texts(normalization: Normalization = "NFC") -> Iterable[str]:
    return ()


def _check_method(name: str) -> None:
    """UserError for an unknown initializer, before anything is trained."""
    from lep_plugins.initialization.registry import INITIALIZERS

    INITIALIZERS.origin(name)


@dataclass(frozen=True)
class _Scheme:
    """corpus: text files. method: how rows of new tokens are initialized; init: the options of that method. field: of
    JSON lines and Parquet. share: of the documents, drawn at random (always the same ones)."""

    corpus: tuple[str, ...] = ()
    method: str = "mean"
    field: str = "text"
    share: float = 1.0
    init: InitOptions = DEFAULTS

    name = "vocab"
    resumable = True
    reads_text = True
    runs_out = "no allowed pair occurs often enough any more; add text, or lower the minimum frequency"

    def __post_init__(self) -> None:
        _check_method(self.method)

    def notes(self, old: Description, new: Description) -> list[str]:
        """What there is to say of the new tokenizer."""
        wanted, reached = getattr(self, "size", None) or 0, len(new.vocab)
        return [f"warning: {reached} of {wanted} tokens: {self.runs_out}"] if reached < wanted else []

    def describe(self, old: Description, texts: Texts) -> Description:
        """The new tokenizer. texts: opens the corpus anew, as often as it is called."""
        raise NotImplementedError

    def make_tokenizer(
        self,
        model: str | Path,
        output: Path,
        texts: Texts | None = None,
        say: Callable[[str], None] | None = None,
    ) -> Path:
        """Write the new tokenizer folder, with its vocabulary delta, to `output`. texts: instead of the corpus."""
        from darumeru.models.checkpoint_output import check_output

        check_output(output)
        opened = texts or (Corpus.of(self.corpus, self.field, self.share).texts if self.reads_text else _no_texts)
        source = open_model_tokenizer(model)
        new = self.describe(source.description, opened)
        if say is not None:
            for line in self.notes(source.description, new):
                say(line)
        return write_tokenizer(source, new, output, say)

    def run(self, context: StepContext, candidate: Candidate) -> Iterator[Candidate]:
        """Yield one model: `candidate` with the new tokenizer and initialized embeddings. A tokenizer that an earlier
        try has written, and rows that it has learnt, are gone on with."""
        from lep_plugins.initialization import initialize_embeddings

        tokenizer, model = context.output / "tokenizer", context.output / "model"
        if not tokenizer.is_dir():
            self.make_tokenizer(candidate.path, tokenizer, say=context.say)
        if not model.is_dir():
            initialize_embeddings(
                candidate.path,
                tokenizer,
                model,
                self.method,
                self.corpus,
                context.seed,
                say=context.say,
                field=self.field,
                options=self.init,
            )
        parameters = asdict(self) | {"corpus": list(self.corpus)}
        parents = (candidate.label or str(candidate.path),)
        yield Candidate(model, self.name, parameters, parents, label=f"{self.name}-{self.method}")


@dataclass(frozen=True)
class VocabBpe(_Scheme):
    """Substitution by BPE. size: tokens in all; normalization and coverage: of SentencePiece-style tokenizers."""

    size: int = 128_000
    normalization: Normal = "NFKC"
    coverage: float = COVERAGE

    name = "vocab_bpe"
    runs_out = "no pair occurs twice any more; add text"

    def describe(self, old: Description, texts: Texts) -> Description:
        normalization = None if self.normalization == "none" else self.normalization
        return train_bpe(old, texts, self.size, normalization, self.coverage)


@dataclass(frozen=True)
class VocabUnigram(_Scheme):
    """Substitution by Unigram. size: tokens in all; seeds: candidates to choose from."""

    size: int = 128_000
    normalization: Normal = "NFKC"
    coverage: float = COVERAGE
    seeds: int = SEEDS

    name = "vocab_unigram"
    runs_out = "the corpus holds no more candidates; add text, or raise `seeds`"

    def describe(self, old: Description, texts: Texts) -> Description:
        normalization = None if self.normalization == "none" else self.normalization
        return train_unigram(old, texts, self.size, normalization, self.coverage, seeds=self.seeds)


@dataclass(frozen=True)
class VocabExtend(_Scheme):
    """Extension by continued BPE. size: tokens in all; script: "cyrillic" or "any"; min_frequency: of a merge."""

    size: int = 174_816
    script: Script = "cyrillic"
    min_frequency: int = 2

    name = "vocab_extend"

    def describe(self, old: Description, texts: Texts) -> Description:
        return extend(old, texts("NFC"), self.size, self.script, self.min_frequency)


@dataclass(frozen=True)
class VocabOptimize(_Scheme):
    """Shrinking, then extension. size: tokens in all; keep: old tokens that stay, half of them by default."""

    size: int = 114_504
    keep: int | None = None
    script: Script = "cyrillic"
    min_frequency: int = 2

    name = "vocab_optimize"

    def describe(self, old: Description, texts: Texts) -> Description:
        return optimize(old, lambda: texts("NFC"), self.size, self.keep, self.script, self.min_frequency)


@dataclass(frozen=True)
class VocabTrim(_Scheme):
    """Trimming. min_count: occurrences in the corpus that save a token."""

    min_count: int = 1

    name = "vocab_trim"

    def describe(self, old: Description, texts: Texts) -> Description:
        return trim(old, texts("NFC"), self.min_count)


@dataclass(frozen=True)
class VocabMerge(_Scheme):
    """The pieces of a Unigram tokenizer merged into the old vocabulary. pieces: its folder; size: tokens in all, None
    for as many as the pieces need; script: "cyrillic" or "any"; min_letters: of a piece; top: only the likeliest."""

    pieces: str = ""
    size: int | None = None
    script: Script = "cyrillic"
    min_letters: int = 1
    top: int | None = None

    name = "vocab_merge"
    reads_text = False
    runs_out = "the pieces need no more"

    def describe(self, old: Description, texts: Texts) -> Description:
        return merge(old, self._unigram(), self.size, self.script, self.min_letters, self.top)

    def notes(self, old: Description, new: Description) -> list[str]:
        words = words_of(old, self._unigram(), self.script, self.min_letters, self.top)
        known, added = new.table.ids_by_bytes, len(new.vocab) - len(old.vocab)
        made = sum(raw in known for raw in words)
        lines = [f"{len(words)} pieces: {made} are tokens now, with {added - made} steps on the way"]
        if left := unfinished(new, words):
            named = ", ".join(raw.decode("utf-8").strip() for raw in left[:5])
            lines.append(f"warning: {len(left)} pieces are not one token: {named}{' ...' if len(left) > 5 else ''}")
        return [*lines, *super().notes(old, new)]

    def _unigram(self) -> Description:
        return open_model_tokenizer(self.pieces).description


@dataclass(frozen=True)
class VocabOf:
    """The vocabulary of another model, the step's input `tokenizer`, with rows by `method` (corpus: for methods that
    learn from text; init: the options of that method)."""

    method: str = "mean"
    corpus: tuple[str, ...] = ()
    init: InitOptions = DEFAULTS

    name = "vocab_of"

    def __post_init__(self) -> None:
        _check_method(self.method)

    def run(self, context: StepContext, candidate: Candidate) -> Iterator[Candidate]:
        """Yield one model: `candidate` with that tokenizer and initialized embeddings."""
        from lep_plugins.initialization import initialize_embeddings

        tokenizer = context.inputs.get("tokenizer")
        if tokenizer is None:
            raise UserError("no model whose tokenizer to take", self.name, "add `tokenizer: MODEL` to its inputs")
        model = initialize_embeddings(
            candidate.path,
            tokenizer,
            context.output / "model",
            self.method,
            self.corpus,
            context.seed,
            say=context.say,
            options=self.init,
        )
        parents = (candidate.label or str(candidate.path),)
        yield Candidate(model, self.name, asdict(self) | {"corpus": list(self.corpus)}, parents)


def extend_vocabulary(
    model: Path | str,
    corpus: Sequence[Path | str],
    size: int,
    output: Path | str,
    script: Script = "cyrillic",
    min_frequency: int = 2,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Extend the tokenizer of the model folder `model` to `size` tokens and write the new tokenizer folder with its
    vocabulary delta to `output`, which is returned.

    corpus: text files (plain, JSONL, Parquet; also .xz, .gz). say: told what was made, and a size that was not reached.
    UserError: see `extend`, `Corpus` and `write_tokenizer`."""
    step = VocabExtend(tuple(map(str, corpus)), size=size, script=script, min_frequency=min_frequency)
    return step.make_tokenizer(model, Path(output), say=say)
