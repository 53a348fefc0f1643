"""What an initializer is given and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darumeru.models.token_bytes import TokenTable
from lep_plugins.conversion import ConversionMatrix
from lep_plugins.initialization.rows import Fresh, OldRows


@dataclass(frozen=True)
class Task:
    """matrices: the input rows, then the output rows unless they are tied. conversion: T. old, new: the two
    vocabularies. new_tokenizer: a `tokenizers.Tokenizer`. new_folder: where it lies (with weights, when it is a
    model). corpus: text files, for methods that learn from text. seed: of every random choice."""

    matrices: tuple[OldRows, ...]
    conversion: ConversionMatrix
    old: TokenTable
    new: TokenTable
    new_tokenizer: Any
    new_folder: Path
    corpus: tuple[Path, ...] = ()
    seed: int = 0


Initializer = Callable[[Task], dict[str, Fresh]]
"""For each matrix name a function that makes the rows of MEAN ids; all other rows are not an initializer's affair."""
