"""The true tokenizers of LLaMA-3 and Mistral through the vocabulary commands and LEP, on tiny models around them.

What the small look-alikes of tests/lep cannot have: 128,000 merges with `ignore_merges` and tokens that no merge makes,
256 specials at the end, SentencePiece with byte fallback and its fixed order of specials, bytes and pieces.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from darumeru.models.token_bytes import TokenTable
from lep_plugins import propagate
from lep_plugins.conversion import ConversionMatrix, Origin, Segmenter
from lep_plugins.initialization import initialize_embeddings
from lep_plugins.vocabulary.steps import VocabExtend, VocabMerge, VocabTrim, VocabUnigram
from tests.cli.command import darumeru
from tests.real.tokenizers import SPECIALS, llama3_ranks, make_model, mistral_pieces
from tests.shared_data import ROOT

FAMILIES = ("llama3", "mistral")
RUSSIAN = ROOT / "recipes" / "quick" / "russian.txt"
ENGLISH = ROOT / "recipes" / "quick" / "english.txt"
HELD_OUT = ROOT / "tasks" / "bundled" / "darumeru" / "texts" / "ru.jsonl"
ADDED = 400
PROBES = (
    "Hello world, it's a test\n\n\n\tdef f(x):\n        return x  # 42\r\n",
    " leading and  double   spaces ",
    "日本語 emoji 🙂🏽 Ελληνικά \u200bzero width",
    "1234567 + 0.5e-3 = №5 «»…",
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The model of a family, made once; skips, or fails in CI, where its tokenizer is not there."""
    root = tmp_path_factory.mktemp("real-tokenizers")

    def model(family: str) -> Path:
        there = llama3_ranks().is_file() if family == "llama3" else mistral_pieces() is not None
        if not there:
            why = "`make real`" if family == "llama3" else "the package mistral-common, which vLLM installs"
            if os.environ.get("CI"):
                pytest.fail(f"CI runs on the real tokenizers: {why}")
            pytest.skip(f"needs the real tokenizer of {family}: {why}")
        folder = root / family
        return folder if folder.is_dir() else make_model(folder, family)

    return model


@pytest.fixture(scope="module")
def extended(models: Callable[[str], Path]) -> Callable[[str], Path]:
    """The tokenizer of a family with ADDED Russian tokens, made once."""

    def made(family: str) -> Path:
        model = models(family)
        folder = model.with_name(f"{family}-extended")
        if not folder.is_dir():
            VocabExtend((str(RUSSIAN),), size=len(tokenizer(model).get_vocab()) + ADDED).make_tokenizer(model, folder)
        return folder

    return made


def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def ids(made: Tokenizer, text: str) -> list[int]:
    return list(made.encode(text, add_special_tokens=False).ids)


def held_out() -> list[str]:
    return [json.loads(line)["text"] for line in HELD_OUT.read_text(encoding="utf-8").splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(folder / "model.safetensors"))


EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tokenizer_reads_text_back_and_its_tokens_are_bytes(family: str, models: Callable[[str], Path]) -> None:
    """Invariant 9 on real vocabularies: the bytes of the tokens of a text, joined, are the text's; and every token that
    is no special, segmented anew, gives its own bytes."""
    made = tokenizer(models(family))
    table = TokenTable.of(made)
    for text in (*PROBES, *held_out()[:2]):
        parts = [table.tokens[token] for token in ids(made, text)]
        joined = b"".join(part for part in parts if isinstance(part, bytes)).decode("utf-8")
        assert joined == (text if family == "llama3" or text[0] == " " else f" {text}")
    whole = [token for token in table.tokens[::37] if isinstance(token, bytes)]
    for token, segment in zip(whole, Segmenter(made, table).segment(whole), strict=True):
        assert segment is not None and b"".join(table.tokens[one] for one in segment) == token  # type: ignore[misc]


@pytest.mark.parametrize("family", FAMILIES)
def test_an_extension_keeps_ids_specials_and_other_text(family: str, models: Any, extended: Any) -> None:
    """Invariants 2 to 6: only Russian changes, and gets shorter on text of another source."""
    old, new = tokenizer(models(family)), tokenizer(extended(family))
    old_ids, new_ids = old.get_vocab(), new.get_vocab()
    assert len(new_ids) == len(old_ids) + ADDED
    assert old_ids.items() <= new_ids.items(), "every old token keeps its id"
    english = [*ENGLISH.read_text(encoding="utf-8").splitlines(), *PROBES[:3]]
    assert all(ids(new, text) == ids(old, text) for text in english)
    words = [f" {word}" for text in held_out() for word in text.split()]
    lengths = [(len(ids(new, word)), len(ids(old, word))) for word in words]
    assert all(one <= other for one, other in lengths)
    assert sum(one for one, _ in lengths) < 0.98 * sum(other for _, other in lengths)
    bos = "<|begin_of_text|>" if family == "llama3" else "<s>"
    assert new.encode("Hello").ids[0] == new_ids[bos] == old_ids[bos]
    for text in (*PROBES, *held_out()):
        assert new.decode(ids(new, text)) == old.decode(ids(old, text))
    fresh = {number for piece, number in new_ids.items() if piece not in old_ids}
    seen = {one for line in RUSSIAN.read_text("utf-8").splitlines() for one in ids(new, line)}
    assert len(fresh & seen) > 0.8 * ADDED, "what was learnt on a text is used in it"
    if family == "llama3":
        assert all(new.id_to_token(new_ids[name]) == name and ids(new, name) == [new_ids[name]] for name in SPECIALS)
        assert json.loads((extended(family) / "tokenizer.json").read_text("utf-8"))["model"]["ignore_merges"]


def tuned(base: Path, folder: Path, added: str | None = None) -> Path:
    """A target: the base's rows stretched and turned a little, and one more token, if wanted."""
    from safetensors.torch import save_file
    from transformers import AutoTokenizer

    shutil.copytree(base, folder)
    tensors, generator = weights(base), torch.Generator().manual_seed(3)
    turn = torch.eye(32) + 0.05 * torch.randn(32, 32, generator=generator)
    for name in (EMBEDDING, HEAD):
        tensors[name] = (tensors[name].float() @ turn).to(torch.bfloat16)
        if added:
            tensors[name] = torch.cat([tensors[name], torch.full((1, 32), 0.5, dtype=torch.bfloat16)])
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    if added:
        loaded = AutoTokenizer.from_pretrained(folder)
        loaded.add_special_tokens({"additional_special_tokens": [added]})
        loaded.save_pretrained(folder)
        config = json.loads((folder / "config.json").read_text("utf-8"))
        (folder / "config.json").write_text(json.dumps(config | {"vocab_size": len(tensors[EMBEDDING])}), "utf-8")
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_init_and_lep_through_the_commands(
    family: str, models: Any, extended: Any, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    """LEP of a donor that was not trained is the change of basis itself: tuning was linear (rows x turn), so conversion
    finds it, and a new row is the mean of the target's rows, up to bfloat16."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base, start, result = models(family), tmp_path / "start", tmp_path / "result"
    target = tuned(base, tmp_path / "target", added="<|mine|>")
    said = darumeru(
        capsys, monkeypatch, "vocab", "init", "--model", str(base), "--tokenizer", str(extended(family)),
        "--output", str(start),
    )  # fmt: skip
    assert said.code == 0, said.err
    conversion = ConversionMatrix.load(start)
    counts = conversion.counts()
    assert counts["mean"] == ADDED and counts["new"] == 0
    assert sum(counts.values()) == conversion.rows_new == len(weights(start)[EMBEDDING])
    said = darumeru(
        capsys, monkeypatch, "lep", "--base", str(base), "--target", str(target), "--donor", str(start),
        "--method", "conversion", "--output", str(result),
    )  # fmt: skip
    assert said.code == 0, said.err
    loaded = AutoTokenizer.from_pretrained(result)
    rows, wanted = weights(result), weights(target)
    assert AutoModelForCausalLM.from_pretrained(result).config.vocab_size == len(rows[EMBEDDING]) >= len(loaded)
    for name in (EMBEDDING, HEAD):
        old = wanted[name].float()
        assert torch.equal(rows[name][loaded.convert_tokens_to_ids("<|mine|>")], wanted[name][-1])
        for new_id in conversion.ids(Origin.MEAN)[::50]:
            mean = old[conversion.sources(int(new_id))].mean(0)
            torch.testing.assert_close(rows[name][int(new_id)].float(), mean, rtol=0.03, atol=0.002)
    greeting = [{"role": "user", "content": "Привет"}]
    before, after = (AutoTokenizer.from_pretrained(one) for one in (target, result))
    assert before.apply_chat_template(greeting, tokenize=False) == after.apply_chat_template(greeting, tokenize=False)


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_beyond_the_rows_are_none_of_the_models(family: str, models: Any, extended: Any, tmp_path: Path) -> None:
    """A padding token that was added to the tokenizer and never to the model: extend (tried on the smaller tokenizer),
    init and LEP take it as new."""
    from transformers import AutoTokenizer

    base = tmp_path / "base"
    shutil.copytree(models(family), base)
    loaded = AutoTokenizer.from_pretrained(base)
    loaded.add_special_tokens({"pad_token": "<|late_pad|>"})
    loaded.save_pretrained(base)
    old = weights(base)
    assert loaded.convert_tokens_to_ids("<|late_pad|>") == len(old[EMBEDDING]), "its id is one past the last row"
    made = extended(family)
    if family == "mistral":
        made = VocabExtend((str(RUSSIAN),), size=len(loaded) + 60).make_tokenizer(base, tmp_path / "tokenizer")
    start = initialize_embeddings(base, made, tmp_path / "start")
    tensors, conversion = weights(start), ConversionMatrix.load(start)
    kept_new, kept_old = conversion.one_hot()
    assert len(kept_old) == len(old[EMBEDDING]) and int(kept_old.max()) < len(old[EMBEDDING])
    assert torch.equal(tensors[EMBEDDING][torch.from_numpy(kept_new)], old[EMBEDDING][torch.from_numpy(kept_old)])
    if family == "mistral":
        late = tokenizer(made).token_to_id("<|late_pad|>")
        assert conversion.origins[late] == Origin.NEW and tensors[EMBEDDING][late].float().abs().sum() > 0
        propagate(base, tuned(base, tmp_path / "target"), start, tmp_path / "result")
        assert all(bool(tensor.isfinite().all()) for tensor in weights(tmp_path / "result").values())


@pytest.mark.parametrize("family", FAMILIES)
def test_unigram_pieces_are_merged_into_it(family: str, models: Any, tmp_path: Path) -> None:
    """`vocab merge`: old ids stay, other text is read as before, frequent words become one token."""
    base = models(family)
    pieces = VocabUnigram((str(RUSSIAN),), size=2400).make_tokenizer(base, tmp_path / "pieces")
    told: list[str] = []
    merged = VocabMerge(pieces=str(pieces)).make_tokenizer(base, tmp_path / "merged", say=told.append)
    old, new = tokenizer(base), tokenizer(merged)
    assert any("pieces: " in line for line in told)
    assert old.get_vocab().items() <= new.get_vocab().items()
    assert all(ids(new, text) == ids(old, text) for text in ENGLISH.read_text("utf-8").splitlines())
    counts = Counter(word for word in RUSSIAN.read_text("utf-8").split() if word.isalpha())
    frequent = [word for word, _ in counts.most_common(50)]
    split = [sum(len(ids(made, f"Да {word}")) for word in frequent) for made in (old, new)]
    alone = len(ids(new, "Да"))
    assert split[1] == (alone + 1) * len(frequent) < split[0], "each of the most frequent words is one token now"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_trimmed_vocabulary_reads_its_text_as_before(family: str, models: Any, tmp_path: Path) -> None:
    """`vocab trim`: the same tokens for the text it was trimmed to, and any other text comes back."""
    base = models(family)
    old = tokenizer(base)
    trimmed = tokenizer(VocabTrim((str(ENGLISH),)).make_tokenizer(base, tmp_path / "trimmed"))
    assert trimmed.get_vocab_size() < 0.3 * old.get_vocab_size()
    text = ENGLISH.read_text("utf-8")
    assert trimmed.encode(text).tokens == old.encode(text).tokens
    assert trimmed.decode(ids(trimmed, held_out()[0])) == held_out()[0]
