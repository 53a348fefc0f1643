"""A whole model out of a model and a new tokenizer: new embedding and head rows, everything else untouched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from darumeru.models.checkpoint import (
    Checkpoint,
    Progress,
    Replacement,
    check_memory,
    check_output,
    open_checkpoint,
    read_json,
    with_vocab_size,
    write_checkpoint,
)
from darumeru.models.token_bytes import TokenTable, backend
from lep_plugins.conversion import conversion_matrix
from lep_plugins.initialization.registry import initializer
from lep_plugins.initialization.rows import Fresh, OldRows, assembled
from lep_plugins.initialization.task import Task
from lep_plugins.vocabulary.folder import find_model, load_auto_tokenizer, open_model_tokenizer, rows_for
from lep_plugins.vocabulary.renumber import renumbered


def initialize_embeddings(
    model: Path | str,
    tokenizer: Path | str,
    output: Path | str,
    method: str = "mean",
    corpus: Sequence[Path | str] = (),
    seed: int = 0,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Give `model` the tokenizer of the folder `tokenizer` and write the result to `output`, which is returned.

    Rows of shared tokens are the old ones bit for bit, special tokens go by name, rows of new tokens are made by
    `method` ("mean", "multivariate", "cw2v", "omp"); embedding rows become a multiple of 64; token ids in config.json
    and generation_config.json follow the token names. corpus: text for methods that learn from it. seed: for methods
    that draw. Memory: of the order of the embeddings at most. UserError: no such model or method, unknown tokenizer
    kind, damaged weights, `output` not empty.
    """
    make = initializer(method)
    check_output(Path(output))
    source = open_checkpoint(find_model(model))
    largest = source.entry(source.embedding_name)
    check_memory(largest.end - largest.begin, "one matrix of embeddings")
    old_tokenizer = open_model_tokenizer(source.path).description.build()
    new_folder = find_model(tokenizer)
    new_tokenizer = backend(load_auto_tokenizer(new_folder, _transformers_config(source.path)))
    old, new = TokenTable.of(old_tokenizer), TokenTable.of(new_tokenizer)
    rows_new = rows_for(len(new))
    conversion = conversion_matrix(old_tokenizer, new_tokenizer, source.vocab_rows, rows_new)
    tokens = np.array([number for number, token in enumerate(old.tokens) if token is not None], dtype=np.int64)
    names = [source.embedding_name, *([source.head_name] if source.head_name else [])]
    matrices = tuple(OldRows(source, name, tokens) for name in names)
    task = Task(matrices, conversion, old, new, new_tokenizer, new_folder, tuple(map(Path, corpus)), seed)
    if say is not None:
        counts = ", ".join(f"{count} {name}" for name, count in conversion.counts().items() if count)
        say(f"{rows_new} rows ({counts}); {method}")
    fresh: dict[str, Fresh] = make(task)
    replaced = {
        rows.name: Replacement(
            (rows_new, rows.width),
            source.entry(rows.name).dtype,
            partial(assembled, rows, conversion, fresh[rows.name]),
        )
        for rows in matrices
    }
    write_checkpoint(
        source,
        output,
        replaced,
        dropped=source.vocabulary.copies,
        config=with_vocab_size(renumbered(source.config, old, new), rows_new),
        generation_config=_generation_config(source, old, new),
        tokenizer=new_folder,
        finish=conversion.save,
        progress=progress,
    )
    return Path(output)


def _transformers_config(folder: Path) -> object:
    """config.json as transformers reads it: some families decide by it how a tokenizer is loaded."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(str(folder))


def _generation_config(source: Checkpoint, old: TokenTable, new: TokenTable) -> dict[str, object] | None:
    file = source.path / "generation_config.json"
    return renumbered(read_json(file), old, new) if file.is_file() else None
