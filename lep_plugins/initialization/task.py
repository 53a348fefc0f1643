"""What an initializer is given and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.models.token_bytes import TokenTable
from lep_plugins.conversion import ConversionMatrix
from lep_plugins.initialization.options import DEFAULTS, InitOptions
from lep_plugins.initialization.rows import Fresh, OldRows
from lep_plugins.vocabulary.corpus import Corpus
from lep_plugins.vocabulary.folder import ModelTokenizer

REPORT = "initialization.json"


@dataclass(frozen=True)
class Task:
    """matrices: the input rows, then the output rows unless they are tied. conversion: T. old, new: the two
    vocabularies. source: the old tokenizer with its model folder. new_tokenizer: a `tokenizers.Tokenizer`. new_folder:
    where it lies (with weights, when it is a model). corpus: text files, for methods that learn from text; field: of
    JSON lines and Parquet. seed: of every random choice. work: a folder for what outlives a kill, made when needed; a
    file `REPORT` in it goes into the result. say: told each phase in words."""

    matrices: tuple[OldRows, ...]
    conversion: ConversionMatrix
    old: TokenTable
    new: TokenTable
    source: ModelTokenizer
    new_tokenizer: Any
    new_folder: Path
    work: Path
    corpus: tuple[Path, ...] = ()
    field: str = "text"
    seed: int = 0
    options: InitOptions = DEFAULTS
    say: Callable[[str], None] = lambda line: None

    def text(self, method: str) -> Corpus:
        """The corpus. UserError: none was given, a file is missing or empty."""
        if not self.corpus:
            raise UserError(f"{method} learns from text", where=f"--method {method}", mend="give --corpus FILES")
        return Corpus.of(self.corpus, self.field)


Initializer = Callable[[Task], dict[str, Fresh]]
"""For each matrix name a function that makes the rows of MEAN ids; all other rows are not an initializer's affair."""
