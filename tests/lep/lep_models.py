"""Base, target and donor models for the propagation tests: bf16, two layers, built in a second."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer

from darumeru.core.errors import UserError
from lep_plugins.conversion import conversion_matrix
from lep_plugins.propagation import PropagationReport, propagate
from tests.lep.texts import ENGLISH, RUSSIAN
from tests.lep.tokenizers import BUILDERS, save_model

ADDED = (("<|im_start|>", True), ("<|im_end|>", True), ("<think>", False))
"""Added tokens of the target: name, special."""

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
METHODS = ("swap", "overlap", "conversion", "chat_vector")
TARGET_TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"


@dataclass(frozen=True)
class Folders:
    """Three model folders and a place for the result."""

    base: Path
    target: Path
    donor: Path
    output: Path


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a model folder, single or sharded."""
    return {
        name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(str(file)).items()
    }


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Change the tensors of a single-file model folder in place, with its vocab_size."""
    tensors = weights(folder)
    change(tensors)
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()},
        str(folder / "model.safetensors"),
        metadata={"format": "pt"},
    )
    edit_json(folder / "config.json", vocab_size=embedding(tensors).shape[0])


def edit_json(path: Path, **changes: object) -> None:
    """Set fields of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def embedding(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    return tensors["model.embed_tokens.weight"]


def vocabulary_names(tensors: dict[str, torch.Tensor]) -> list[str]:
    return [name for name in ("model.embed_tokens.weight", "lm_head.weight") if name in tensors]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def padded(rows: int) -> int:
    return -(-rows // 64) * 64


def make_base(
    folder: Path, kind: str, tied: bool = False, hidden: int = 32, dtype: torch.dtype = torch.bfloat16
) -> Path:
    """A base model whose rows have real spread (fresh initialization is tiny)."""
    save_model(folder, kind, tied=tied, hidden=hidden)

    def spread(tensors: dict[str, torch.Tensor]) -> None:
        for place, name in enumerate(vocabulary_names(tensors)):
            noise = torch.randn(tensors[name].shape, generator=generator(10 + place))
            tensors[name] = (noise + 0.3).to(dtype)

    rewrite(folder, spread)
    return folder


def make_target(base: Path, folder: Path, change: float = 0.05, noise: float = 0.01, added: bool = True) -> Path:
    """The base with its rows mapped linearly (plus noise), its layers moved, and chat tokens added."""
    shutil.copytree(base, folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    if added:
        tokenizer.add_tokens([AddedToken(name, special=special, normalized=False) for name, special in ADDED])
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "chat_template.jinja").write_text(TARGET_TEMPLATE, encoding="utf-8")
        edit_json(folder / "tokenizer_config.json", eos_token="<|im_end|>")
        end = tokenizer.token_to_id("<|im_end|>")
        old = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
        edit_json(folder / "config.json", eos_token_id=end)
        edit_json(folder / "generation_config.json", eos_token_id=[end, *(old if isinstance(old, list) else [old])])
    rows = padded(max(tokenizer.get_vocab().values()) + 1)

    def move(tensors: dict[str, torch.Tensor]) -> None:
        own = vocabulary_names(tensors)
        for place, (name, old) in enumerate(list(tensors.items())):
            source = generator(100 + place)
            if name not in own:
                tensors[name] = (old.float() + 0.01 * torch.randn(old.shape, generator=source)).to(old.dtype)
                continue
            width = old.shape[1]
            mapping = torch.eye(width) + change * torch.randn((width, width), generator=source) / width**0.5
            new = old.float() @ mapping + noise * torch.randn(old.shape, generator=source)
            extra = torch.randn((max(0, rows - old.shape[0]), width), generator=source)
            tensors[name] = torch.cat([new, extra]).to(old.dtype)

    rewrite(folder, move)
    return folder


def russian_tokenizer(kind: str, size: int = 520) -> Tokenizer:
    """A tokenizer of the same kind with another vocabulary, mostly Russian, of another size."""
    return BUILDERS[kind]((RUSSIAN, ENGLISH[:600]), size)  # type: ignore[call-arg]


def make_donor(base: Path, folder: Path, tokenizer: Tokenizer, noise: float = 0.1) -> Path:
    """The base with another tokenizer: its rows are the means of base rows (T E) plus what training would add."""
    shutil.copytree(base, folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    edit_json(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    old = Tokenizer.from_file(str(base / "tokenizer.json"))
    rows = padded(max(tokenizer.get_vocab().values()) + 1)

    def convert(tensors: dict[str, torch.Tensor]) -> None:
        height = embedding(tensors).shape[0]
        matrix = torch.from_numpy(conversion_matrix(old, tokenizer, height, rows).matrix.toarray())
        for place, name in enumerate(vocabulary_names(tensors)):
            rows_of = tensors[name]
            shape = (rows, rows_of.shape[1])
            trained = noise * torch.randn(shape, generator=generator(200 + place), dtype=torch.float64)
            tensors[name] = (matrix @ rows_of.double() + trained).to(rows_of.dtype)

    rewrite(folder, convert)
    return folder


def make_folders(
    folder: Path, kind: str = "llama3", tied: bool = False, hidden: int = 32, dtype: torch.dtype = torch.bfloat16
) -> Folders:
    """A base, its chat variant and a donor with a Russian vocabulary."""
    base = make_base(folder / "base", kind, tied, hidden, dtype)
    target = make_target(base, folder / "target")
    donor = make_donor(base, folder / "donor", russian_tokenizer(kind))
    return Folders(base, target, donor, folder / "result")


# Running and looking


Result = tuple[dict[str, torch.Tensor], PropagationReport]


def run(folders: Folders, method: str = "conversion", force: bool = False) -> Result:
    report = propagate(folders.base, folders.target, folders.donor, folders.output, method, force)
    return weights(folders.output), report


def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def added_names(folder: Path) -> list[str]:
    return [token.content for token in tokenizer(folder).get_added_tokens_decoder().values()]


def copied_rows(folders: Folders) -> dict[int, int]:
    """Result id -> target id of the target's added tokens, found by name."""
    result, target = tokenizer(folders.output), tokenizer(folders.target)
    return {result.token_to_id(name): target.token_to_id(name) for name in added_names(folders.target)}


def ordinary_rows(folders: Folders) -> list[int]:
    """The donor's ids that are no added token of the target."""
    donor = tokenizer(folders.donor)
    special = {donor.token_to_id(name) for name in added_names(folders.target)}
    return [token_id for token_id in range(max(donor.get_vocab().values()) + 1) if token_id not in special]


def assert_rows(one: torch.Tensor, other: torch.Tensor) -> None:
    assert torch.equal(one.view(torch.int16), other.view(torch.int16)), "rows are not bit-equal"


def refuse(folders: Folders, message: str, method: str = "conversion", force: bool = False) -> None:
    """The propagation is refused in one line with `message` in it, and nothing is written."""
    with pytest.raises(UserError) as caught:
        run(folders, method, force)
    assert message in caught.value.line() and "\n" not in caught.value.line()
    assert not folders.output.exists()
    assert not list(folders.output.parent.glob(".*partial*"))
