"""Tokenizer folders: reading the tokenizer that a model has, writing a new one with its vocabulary delta."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.models.checkpoint_output import appearing_folder, sync
from darumeru.models.config_file import judge_config, vocab_size
from darumeru.models.files import optional_json, write_json
from darumeru.models.model_files import find_folder
from lep_plugins.conversion import ConversionMatrix, conversion_matrix, rows_for
from lep_plugins.vocabulary.description import Description

PLAIN_CLASS = "PreTrainedTokenizerFast"
"""The only class that transformers loads from tokenizer.json as it stands: others rebuild parts of the tokenizer from
what their model family had (a Unigram saved as LlamaTokenizer comes back as BPE without merges)."""

STALE = ("auto_map", "vocab_file", "merges_file", "sp_model_kwargs", "add_prefix_space", "legacy", "tokenizer_object")
PROBES = (
    "Привет, мир! Ёлка, съезд, объём; №5 — «цитата»…",
    "Hello world, it's a test\n\n\tdef f(x):\n        return x  # 42\r\n",
    " leading and  double   spaces ",
    "日本語 emoji 🙂🏽 Ελληνικά український",
)


@dataclass(frozen=True)
class ModelTokenizer:
    """A model folder's tokenizer as transformers loads it.

    folder: where it lies. description: the tokenizer. rows: embedding rows by config.json, the number of ids without
    one. roles: "bos_token" and the like to names, also those that only the tokenizer class gives.
    """

    folder: Path
    description: Description
    rows: int
    roles: Mapping[str, str]


def load_auto_tokenizer(folder: Path, config: Any = None) -> Any:
    """The tokenizer as transformers loads it. UserError: it does not, or it has no fast backend."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), **({} if config is None else {"config": config}))
    except (OSError, ValueError, KeyError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"transformers cannot load the tokenizer: {reason}", where=str(folder)) from None
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise UserError("has no fast tokenizer", where=str(folder), mend="save it with a tokenizer.json")
    return tokenizer


def named_roles(tokenizer: Any) -> dict[str, str]:
    """ "bos_token" and the like -> name, as a transformers tokenizer has them."""
    return {role: str(name) for role, name in tokenizer.special_tokens_map.items() if isinstance(name, str)}


def open_model_tokenizer(model: str | Path) -> ModelTokenizer:
    """Read the tokenizer of a model folder or Hub model. UserError: see `find_folder`, `load_auto_tokenizer` and
    `tokenizer_kind`."""
    folder = find_folder(model, weights=False)
    loaded = load_auto_tokenizer(folder)
    description = Description.of(loaded)
    config = optional_json(folder / "config.json")
    judge_config(config, folder / "config.json")
    roles = named_roles(loaded)
    return ModelTokenizer(folder, description, vocab_size(config) or len(description.table), roles)


def write_tokenizer(
    source: ModelTokenizer, new: Description, output: Path, say: Callable[[str], None] | None = None
) -> Path:
    """Write the folder `output`: tokenizer files, the conversion matrix and the vocabulary delta from the old
    tokenizer. It appears whole or not at all.

    UserError: `output` is not empty; transformers would load the new tokenizer otherwise than it was made (some
    model families force a tokenizer class)."""
    old = source.description
    rows_new = rows_for(len(new.table))
    conversion: ConversionMatrix = conversion_matrix(old.build(), new.build(), source.rows, rows_new)
    with appearing_folder(output) as folder:
        _write_files(source, new, folder)
        _check_loads(source.folder, new, folder)
        conversion.save(folder)
        for path in folder.iterdir():
            sync(path)
    if say is not None:
        say(counted(len(new.vocab), conversion))
    return output


def counted(tokens: int, conversion: ConversionMatrix) -> str:
    """ "700 tokens: 500 copied, 190 mean, 10 special; with 4 padding rows 704 rows": the parts of each sum add up."""
    parts = ", ".join(f"{count} {name}" for name, count in conversion.counts().items() if count and name != "padding")
    padding = conversion.counts()["padding"]
    return f"{tokens} tokens: {parts}" + (
        f"; with {padding} padding rows {conversion.rows_new} rows" if padding else ""
    )


def _write_files(source: ModelTokenizer, new: Description, folder: Path) -> None:
    new.build().save(str(folder / "tokenizer.json"))
    for name in ("special_tokens_map.json", "chat_template.jinja", "chat_template.json"):
        if (source.folder / name).is_file():
            (folder / name).write_bytes((source.folder / name).read_bytes())
    config: dict[str, Any] = {role: name for role, name in source.roles.items() if name in new.vocab}
    config |= optional_json(source.folder / "tokenizer_config.json")
    for key in STALE:
        config.pop(key, None)
    config["tokenizer_class"] = PLAIN_CLASS
    if "added_tokens_decoder" in config:
        vocab = new.vocab
        entries = sorted(config["added_tokens_decoder"].values(), key=lambda token: vocab.get(token["content"], -1))
        config["added_tokens_decoder"] = {
            str(vocab[token["content"]]): token for token in entries if token["content"] in vocab
        }
    write_json(folder / "tokenizer_config.json", config)


def _check_loads(source: Path, new: Description, folder: Path) -> None:
    """UserError unless transformers, for this model family, loads what was written."""
    config = None
    if (source / "config.json").is_file():
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(str(source))
    loaded, made = load_auto_tokenizer(folder, config), new.build()
    same = len(loaded) == len(new.vocab)
    if not (same and all(loaded(text)["input_ids"] == made.encode(text).ids for text in PROBES)):
        family = getattr(config, "model_type", "this")
        raise UserError(
            f"transformers loads this tokenizer as {type(loaded).__name__}, which changes it",
            where=f"{family} models",
            mend="use --scheme bpe or an extension, which keep the tokenizer's kind",
        )
