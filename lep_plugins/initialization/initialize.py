"""A whole model out of a model and a new tokenizer: new embedding and head rows, everything else untouched."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from darumeru.models.checkpoint import open_checkpoint
from darumeru.models.checkpoint_output import check_memory, check_output
from darumeru.models.checkpoint_write import Progress, Replacement, write_checkpoint
from darumeru.models.config_file import with_vocab_size
from darumeru.models.files import optional_json
from darumeru.models.model_files import find_folder
from darumeru.models.token_bytes import TokenTable, backend
from lep_plugins.conversion import ConversionMatrix, conversion_matrix, rows_for, with_rows
from lep_plugins.initialization.options import DEFAULTS, InitOptions
from lep_plugins.initialization.registry import INITIALIZERS
from lep_plugins.initialization.rows import Fresh, OldRows, assembled
from lep_plugins.initialization.special_ids import NewIds
from lep_plugins.initialization.task import REPORT, Task
from lep_plugins.vocabulary.folder import counted, load_auto_tokenizer, named_roles, open_model_tokenizer


def initialize_embeddings(
    model: Path | str,
    tokenizer: Path | str,
    output: Path | str,
    method: str = "mean",
    corpus: Sequence[Path | str] = (),
    seed: int = 0,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
    *,
    field: str = "text",
    options: InitOptions | None = None,
    work: Path | None = None,
) -> Path:
    """Give `model` the tokenizer of the folder `tokenizer` and write the result to `output`, which is returned.

    Rows of shared tokens are the old ones bit for bit, special tokens go by name, rows of new tokens are made by
    `method` (see `registry`); embedding rows become a multiple of 64; token ids in config.json and
    generation_config.json follow the token names (`NewIds`). corpus: text for methods that learn from it; field: of
    JSON lines and Parquet. seed: for methods that draw. options: of single methods. work: where a method keeps what
    outlives a kill, a hidden folder beside `output` by default; it is removed at the end. Memory: of the order of the
    embeddings at most, but for `distill`, which loads the model. UserError: no such model or method, unknown tokenizer
    kind, damaged weights, `output` not empty.
    """
    make, output = INITIALIZERS.get(method), Path(output)
    check_output(output)
    work = work or output.with_name(f".{output.name}.{method}")
    source = open_checkpoint(find_folder(model))
    largest = source.entry(source.embedding_name)
    check_memory(largest.end - largest.begin, "one matrix of embeddings")
    opened = open_model_tokenizer(source.path)
    old_tokenizer = opened.description.build()
    new_folder = find_folder(tokenizer)
    loaded = load_auto_tokenizer(new_folder, _transformers_config(source.path))
    new_tokenizer = backend(loaded)
    old, new = with_rows(TokenTable.of(old_tokenizer), source.vocab_rows), TokenTable.of(new_tokenizer)
    rows_new = rows_for(len(new))
    conversion = conversion_matrix(old_tokenizer, new_tokenizer, source.vocab_rows, rows_new)
    tokens = np.array([number for number, token in enumerate(old.tokens) if token is not None], dtype=np.int64)
    names = [source.embedding_name, *([source.head_name] if source.head_name else [])]
    matrices = tuple(OldRows(source, name, tokens) for name in names)
    task = Task(
        matrices, conversion, old, new, opened, new_tokenizer, new_folder, work,
        tuple(map(Path, corpus)), field, seed, options or DEFAULTS, say or (lambda line: None),
    )  # fmt: skip
    new_ids = NewIds(old, new, named_roles(loaded))
    config, said = new_ids.applied(source.config)
    generation, also = new_ids.applied(optional_json(source.path / "generation_config.json"))
    if say is not None:
        for line in dict.fromkeys([*said, *also]):
            say(f"warning: {line}")
        say(f"{counted(len(new.ids_by_piece), conversion)} ({method})")
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
        config=with_vocab_size(config, rows_new),
        generation_config=generation or None,
        tokenizer=new_folder,
        finish=partial(_finish, conversion, work / REPORT),
        progress=progress,
    )
    shutil.rmtree(work, ignore_errors=True)
    return output


def _finish(conversion: ConversionMatrix, report: Path, folder: Path) -> None:
    """Beside the weights: T with its audit, and what the method reports."""
    conversion.save(folder)
    if report.is_file():
        shutil.copyfile(report, folder / REPORT)


def _transformers_config(folder: Path) -> object:
    """config.json as transformers reads it: some families decide by it how a tokenizer is loaded."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(str(folder))
