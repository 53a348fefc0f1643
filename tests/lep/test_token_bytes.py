"""Token bytes: what every id stands for, for each kind of tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from darumeru.core.errors import UserError
from darumeru.models.token_bytes import (
    Special,
    TokenTable,
    byte_alphabet,
    from_byte_level,
    load_tokenizer,
    to_byte_level,
    token_bytes,
    tokenizer_kind,
)
from tests.lep.texts import PROBES
from tests.lep.tokenizers import BUILDERS, SETTINGS, save_tokenizer, tokenizer_of

KINDS = sorted(BUILDERS)
DUMMY_SPACE = {"llama2", "unigram"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_of_the_tokens_of_a_text_joined_are_the_text(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    table = TokenTable.of(tokenizer)

    def joined(text: str) -> bytes:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        return b"".join(part for token_id in ids if isinstance(part := table[token_id], bytes))

    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="▁"), max_size=30))
    def check(text: str) -> None:
        expected = tokenizer.normalizer.normalize_str(text) if kind == "qwen" else text
        if kind in DUMMY_SPACE and text and not text.startswith(" "):
            expected = " " + expected
        assert joined(text) == expected.encode("utf-8")

    check()
    for text in PROBES:
        check.hypothesis.inner_test(text)


def test_the_byte_map_is_that_of_gpt2() -> None:
    assert sorted(byte_alphabet().values()) == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert to_byte_level(" п\n".encode()) == "ĠÐ¿Ċ"
    assert all(from_byte_level(to_byte_level(bytes([byte]))) == bytes([byte]) for byte in range(256))
    assert from_byte_level("日本") == "日本".encode()  # outside the map: literal text, as the decoder has it


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_are_known_by_name_and_every_byte_can_be_spelled(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    table = TokenTable.of(tokenizer)
    for name in {value for key, value in SETTINGS[kind].items() if key.endswith("_token")}:
        assert token_bytes(tokenizer, tokenizer.token_to_id(name)) == Special(name)
        assert table.special_ids[name] == tokenizer.token_to_id(name)
    assert sorted(table.byte_pieces) == list(range(256))
    assert all(table[token_id] == bytes([byte]) for byte, token_id in table.byte_pieces.items())
    assert len(table) == tokenizer.get_vocab_size()


def test_half_characters_are_bytes_and_not_replacement_characters() -> None:
    tokenizer = tokenizer_of("llama3")
    assert token_bytes(tokenizer, tokenizer.token_to_id("Ð")) == b"\xd0"
    sentencepiece = tokenizer_of("llama2")
    assert token_bytes(sentencepiece, sentencepiece.token_to_id("<0xD0>")) == b"\xd0"
    assert token_bytes(sentencepiece, sentencepiece.token_to_id("▁th")) == b" th"


def test_an_added_token_that_is_not_special_is_text() -> None:
    qwen, gemma = tokenizer_of("qwen"), tokenizer_of("gemma")
    assert token_bytes(qwen, qwen.token_to_id("<tool_call>")) == b"<tool_call>"
    assert token_bytes(gemma, gemma.token_to_id("▁▁")) == b"  "
    assert token_bytes(gemma, gemma.token_to_id("<unused0>")) == b"<unused0>"


def test_pieces_are_preferred_to_byte_fallback_of_the_same_bytes() -> None:
    table = TokenTable.of(tokenizer_of("llama2"))
    letter, fallback = table.ids_by_piece["a"], table.ids_by_piece["<0x61>"]
    assert table[letter] == table[fallback] == b"a"
    assert table.ids_by_bytes[b"a"] == letter
    assert table.ids_by_bytes[b"\xd0"] == table.ids_by_piece["<0xD0>"]


def test_without_byte_fallback_a_byte_piece_is_six_letters_of_text() -> None:
    tokenizer = Tokenizer(models.BPE({"<unk>": 0, "<0x41>": 1, "▁": 2}, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    table = TokenTable.of(tokenizer)
    assert table[1] == b"<0x41>"
    assert table[0] == Special("<unk>")
    assert not table.byte_pieces


def test_unknown_kinds_are_refused_by_name() -> None:
    wordpiece = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    suffix = Tokenizer(models.BPE({"a</w>": 0}, [], end_of_word_suffix="</w>"))
    suffix.pre_tokenizer = pre_tokenizers.ByteLevel()
    bare = Tokenizer(models.BPE({"a": 0}, []))
    bare.decoder = decoders.Fuse()
    for tokenizer, name in ((wordpiece, "WordPiece"), (suffix, "BPE"), (bare, "BPE; Fuse")):
        with pytest.raises(UserError, match=f"unknown kind \\({name}"):
            tokenizer_kind(tokenizer)
    with pytest.raises(UserError, match="no fast `tokenizers` backend"):
        token_bytes(object(), 0)


def test_ids_that_no_token_has_are_an_error() -> None:
    table = TokenTable.of(tokenizer_of("llama2"))
    for token_id in (-1, len(table)):
        with pytest.raises(UserError, match=f"no token has id {token_id}"):
            table[token_id]
    holed = Tokenizer(models.BPE({"a": 0, "b": 2}, []))
    holed.pre_tokenizer = pre_tokenizers.ByteLevel()
    assert TokenTable.of(holed).tokens == (b"a", None, b"b")


def test_loading_says_what_is_missing_or_broken(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no tokenizer\.json here"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="not a readable tokenizer"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("kind", ["llama3", "llama2"])
def test_merges_as_strings_or_as_lists_make_the_same_table(kind: str, tmp_path: Path) -> None:
    save_tokenizer(tmp_path, kind)
    data = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    data["model"]["merges"] = [" ".join(merge) for merge in data["model"]["merges"]]
    (tmp_path / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    assert TokenTable.of(load_tokenizer(tmp_path)) == TokenTable.of(tokenizer_of(kind))
