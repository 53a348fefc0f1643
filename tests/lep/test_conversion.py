"""The conversion matrix: rows, bytes, shared tokens, the audit file."""

from __future__ import annotations

import json
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from darumeru.core.errors import UserError
from darumeru.models.token_bytes import Special, TokenTable, to_byte_level
from lep_plugins.conversion import ConversionMatrix, Origin, Segmenter, conversion_matrix
from lep_plugins.vocabulary.description import Description
from tests.lep.texts import ENGLISH, RUSSIAN
from tests.lep.tokenizers import BUILDERS, gemma, llama2, llama3, qwen, tokenizer_of, unigram

RUSSIAN_BUILDERS = {"llama3": llama3, "qwen": qwen, "llama2": llama2, "gemma": gemma, "unigram": unigram}
PAIRS = list(product(sorted(BUILDERS), sorted(BUILDERS)))


def russian(kind: str) -> Tokenizer:
    """A tokenizer of this kind trained on Russian: most of its tokens are new to the others."""
    return RUSSIAN_BUILDERS[kind]((RUSSIAN, ENGLISH[:400]), size=600 if kind in ("llama3", "qwen") else 350)


@pytest.mark.parametrize(("old_kind", "new_kind"), PAIRS)
def test_rows_sum_to_one_and_sub_tokens_spell_the_token(old_kind: str, new_kind: str) -> None:
    old, new = tokenizer_of(old_kind), russian(new_kind)
    old_table, new_table = TokenTable.of(old), TokenTable.of(new)
    conversion = conversion_matrix(old, new, len(old_table) + 7, len(new_table) + 5)
    sums = np.asarray(conversion.matrix.sum(axis=1)).ravel()
    for token_id, token in enumerate(new_table.tokens):
        origin, sources = Origin(conversion.origins[token_id]), conversion.sources(token_id)
        assert token is not None
        if isinstance(token, Special):
            assert origin == (Origin.SPECIAL if token.name in old_table.special_ids else Origin.NEW)
            assert sources == ([old_table.special_ids[token.name]] if origin == Origin.SPECIAL else [])
            assert sums[token_id] == len(sources)
            continue
        assert sums[token_id] == pytest.approx(1, abs=1e-12)
        parts = [old_table[source] for source in sources]
        assert b"".join(part for part in parts if isinstance(part, bytes)) == token
        assert (origin == Origin.COPIED) == (token in old_table.ids_by_bytes)
        assert origin != Origin.COPIED or conversion.matrix[token_id].toarray().max() == 1
    padding = conversion.origins[len(new_table) :]
    assert (padding == Origin.PADDING).all() and len(padding) == 5
    assert not sums[len(new_table) :].any()
    assert conversion.matrix[:, len(old_table) :].nnz == 0
    assert conversion.counts()["mean"] > 50


@pytest.mark.parametrize("kind", sorted(BUILDERS))
def test_a_vocabulary_converts_to_itself_by_the_identity(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    conversion = conversion_matrix(tokenizer, tokenizer)
    assert (conversion.matrix != np.eye(conversion.rows_new)).sum() == 0
    assert set(conversion.counts()) == {"padding", "copied", "mean", "special", "new"}
    assert conversion.counts()["mean"] == conversion.counts()["new"] == conversion.counts()["padding"] == 0


def merged(raw: bytes, merges: list[tuple[str, str]]) -> list[str]:
    """BPE as its definition has it: join the leftmost pair of the best rank until none is left."""
    ranks = {merge: rank for rank, merge in enumerate(merges)}
    parts = list(to_byte_level(raw))
    while True:
        known = [(ranks[pair], at) for at, pair in enumerate(pairwise(parts)) if pair in ranks]
        if not known:
            return parts
        _, at = min(known)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


def test_segments_are_those_of_the_old_merges_without_any_pre_tokenizer() -> None:
    old, new = tokenizer_of("qwen"), russian("llama3")
    merges, table = Description.of(old).merges, TokenTable.of(old)
    conversion = conversion_matrix(old, new)
    checked = 0
    for token_id in conversion.ids(Origin.MEAN):
        token = TokenTable.of(new)[int(token_id)] if checked < 60 else None
        if isinstance(token, bytes):
            assert [table.pieces[source] for source in conversion.sources(int(token_id))] == merged(token, merges)
            checked += 1
    assert checked == 60
    across = Segmenter(old, table).segment([b" the\n\n the"])[0]  # a boundary of words inside one token
    assert across is not None and table.ids_by_bytes[b" the"] in across


def test_a_token_counts_as_often_as_it_occurs() -> None:
    old = Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    new = Tokenizer(models.BPE({"a": 0, "b": 1, "aa": 2, "aab": 3}, [("a", "a"), ("aa", "b")]))
    for tokenizer in (old, new):
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    conversion = conversion_matrix(old, new)
    assert conversion.sources(3) == [0, 0, 1]
    assert conversion.matrix.toarray().tolist() == [[1, 0], [0, 1], [1, 0], [2 / 3, 1 / 3]]


def test_half_characters_and_the_space_mark_go_through_byte_pieces() -> None:
    old = tokenizer_of("llama2")
    table = TokenTable.of(old)
    raw = b"\xd0", "▁".encode(), "a ▁\xff".encode()[:-1], b"\xbfth", b" "
    for text, ids in zip(raw, Segmenter(old, table).segment(raw), strict=True):
        assert ids is not None
        assert b"".join(part for part in map(table.__getitem__, ids) if isinstance(part, bytes)) == text


def test_bytes_that_the_old_vocabulary_cannot_spell_are_new() -> None:
    old = Tokenizer(models.BPE({"<unk>": 0, "▁": 1, "a": 2}, [], unk_token="<unk>"))
    old.pre_tokenizer = pre_tokenizers.Metaspace()
    conversion = conversion_matrix(old, tokenizer_of("llama2"))
    table = TokenTable.of(tokenizer_of("llama2"))
    assert conversion.origins[table.ids_by_piece["▁th"]] == Origin.NEW
    assert conversion.origins[table.ids_by_piece["a"]] == Origin.COPIED
    assert conversion.origins[table.ids_by_piece["<s>"]] == Origin.NEW
    assert conversion.origins[table.ids_by_piece["<unk>"]] == Origin.SPECIAL


def test_saved_and_loaded_it_is_the_same_and_the_audit_says_why(tmp_path: Path) -> None:
    old, new = tokenizer_of("llama3"), russian("llama2")
    conversion = conversion_matrix(old, new, 640, 1024)
    conversion.save(tmp_path)
    loaded = ConversionMatrix.load(tmp_path)
    assert (loaded.matrix != conversion.matrix).nnz == 0
    assert (loaded.origins == conversion.origins).all()
    assert (loaded.rows_new, loaded.rows_old, loaded.pieces_new, loaded.pieces_old) == (
        1024,
        640,
        conversion.pieces_new,
        conversion.pieces_old,
    )
    audit = json.loads((tmp_path / "vocabulary_delta.json").read_text(encoding="utf-8"))
    records = {record["token"]: record for record in audit["tokens"]}
    table = TokenTable.of(old)
    assert records["a"]["copied"] == table.ids_by_bytes[b"a"]
    assert records["<s>"]["new"] is True
    mean = next(record for record in audit["tokens"] if "mean" in record)
    spelled = b"".join(part for part in map(table.__getitem__, mean["mean"]) if isinstance(part, bytes))
    assert spelled == mean["token"].replace("▁", " ").encode()
    assert len(audit["tokens"]) == len(TokenTable.of(new))


def test_one_hot_pairs_are_the_shared_tokens() -> None:
    old, new = tokenizer_of("llama3"), russian("qwen")
    conversion = conversion_matrix(old, new)
    new_ids, old_ids = conversion.one_hot(Origin.COPIED)
    tables = TokenTable.of(old), TokenTable.of(new)
    assert all(tables[0][int(a)] == tables[1][int(b)] for a, b in zip(old_ids, new_ids, strict=True))
    assert len(new_ids) == conversion.counts()["copied"]
    with pytest.raises(ValueError, match="one-hot"):
        conversion.one_hot(Origin.MEAN)


def test_bad_input_is_one_clear_line(tmp_path: Path) -> None:
    tokenizer = tokenizer_of("llama2")
    with pytest.raises(UserError, match=r"the new tokenizer has ids up to \d+, the embeddings only 9 rows"):
        conversion_matrix(tokenizer, tokenizer, None, 9)
    with pytest.raises(UserError, match="not a saved conversion matrix"):
        ConversionMatrix.load(tmp_path)
    conversion_matrix(tokenizer, tokenizer).save(tmp_path)
    (tmp_path / "conversion.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(UserError, match="not a saved conversion matrix"):
        ConversionMatrix.load(tmp_path)
