"""Token ids in configurations follow their tokens into a new vocabulary, in every field and by every verb alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from darumeru.models.token_bytes import TokenTable
from darumeru.models.token_ids import renumber, same_token
from lep_plugins import initialize_embeddings, propagate
from tests.lep.lep_models import Folders, edit_json
from tests.lep.tokenizers import tokenizer_of

A, B, C = 0, 1, 2


def turned(token_id: int) -> int | None:
    """The old vocabulary a, b, c and the new one c, b, a; there is no token 3."""
    return {A: 2, B: 1, C: 0}.get(token_id)


def test_every_field_that_holds_ids_is_renumbered() -> None:
    """The right value of the case, by hand from the meaning of each field in transformers' GenerationConfig."""
    given = {
        "eos_token_id": 0,
        "bad_words_ids": [[0]],
        "image_token_index": 0,
        "forced_decoder_ids": [[1, 0]],
        "suppress_tokens": [0],
    }
    changed = renumber(given, turned)
    assert changed.config == {
        "eos_token_id": 2,
        "bad_words_ids": [[2]],
        "image_token_index": 2,
        "forced_decoder_ids": [[1, 2]],
        "suppress_tokens": [2],
    }
    assert changed.lost == ()


def test_fields_of_other_shapes_keep_what_is_no_id() -> None:
    """By hand: positions, biases and sizes are no ids, a null id means "any", a negative one "none"."""
    given = {
        "sequence_bias": [[[0, 1], 2], [[2], -1.0]],
        "force_words_ids": [[[0], [1, 2]], [2]],
        "forced_decoder_ids": [[1, None], [2, 2]],
        "lang_to_id": {"<|ru|>": 0},
        "begin_suppress_tokens": [-1, 2],
        "decoder": {"audio_token_index": 2, "num_layers": 2},
        "hidden_size": 2,
        "num_beams": 1,
        "pad_token_id": None,
        "is_token_id": True,
    }
    assert renumber(given, turned).config == {
        "sequence_bias": [[[2, 1], 2], [[0], -1.0]],
        "force_words_ids": [[[2], [1, 0]], [0]],
        "forced_decoder_ids": [[1, None], [2, 0]],
        "lang_to_id": {"<|ru|>": 2},
        "begin_suppress_tokens": [-1, 0],
        "decoder": {"audio_token_index": 0, "num_layers": 2},
        "hidden_size": 2,
        "num_beams": 1,
        "pad_token_id": None,
        "is_token_id": True,
    }


def test_what_has_no_new_token_leaves_its_list_whole_and_is_named() -> None:
    """A phrase without one of its tokens would forbid another text, so it goes; a plain list keeps the others."""
    given = {
        "eos_token_id": [3, 0],
        "pad_token_id": 3,
        "bad_words_ids": [[0, 3], [1]],
        "forced_decoder_ids": [[1, 3], [2, 0]],
        "sequence_bias": [[[3], 1.5], [[1], 2.5]],
        "lang_to_id": {"<|ru|>": 3},
    }
    changed = renumber(given, turned)
    assert changed.config == {
        "eos_token_id": [2],
        "pad_token_id": None,
        "bad_words_ids": [[1]],
        "forced_decoder_ids": [[2, 2]],
        "sequence_bias": [[[1], 2.5]],
        "lang_to_id": {},
    }
    fields = ("eos_token_id", "pad_token_id", "bad_words_ids", "forced_decoder_ids", "sequence_bias", "lang_to_id")
    assert changed.lost == tuple(f"{field}: 3" for field in fields)
    assert changed.warnings("the model")[0] == "no token of the result stands for eos_token_id: 3 of the model"


def test_ordinary_tokens_are_found_by_bytes_and_special_ones_by_name() -> None:
    old, new = TokenTable.of(tokenizer_of("llama2")), TokenTable.of(tokenizer_of("gemma"))
    config = {
        "bos_token_id": 1,
        "eos_token_id": [2, 5, 1],
        "pad_token_id": None,
        "hidden_size": 2,
        "num_hidden_layers": 1,
        "text_config": {"eos_token_id": 2, "intermediate_size": 5},
        "suppress_tokens": [-1, old.ids_by_piece["▁th"]],
        "image_token_id": 90_000,
    }
    assert renumber(config, lambda token_id: same_token(token_id, old, new)).config == {
        "bos_token_id": None,  # "<s>" is no token of the other vocabulary
        "eos_token_id": [new.ids_by_piece["<0x02>"]],
        "pad_token_id": None,
        "hidden_size": 2,
        "num_hidden_layers": 1,
        "text_config": {"eos_token_id": None, "intermediate_size": 5},
        "suppress_tokens": [-1, new.ids_by_piece["▁th"]],
        "image_token_id": None,
    }


def test_a_byte_level_piece_is_not_the_same_letters_of_another_kind() -> None:
    """In a byte-level vocabulary "Ġthe" is " the", which SentencePiece spells "▁the"; "é" there is the byte 0xE9."""
    old, new = TokenTable.of(tokenizer_of("llama3")), TokenTable.of(tokenizer_of("llama2"))
    for piece, token_id in old.ids_by_piece.items():
        token, found = old.tokens[token_id], same_token(token_id, old, new)
        if isinstance(token, bytes) and piece not in old.added:
            assert found is None or new.tokens[found] == token


FIELDS = ("bad_words_ids", "image_token_index", "forced_decoder_ids", "suppress_tokens")


def with_ids(folder: Path, token_id: int) -> dict[str, Any]:
    """The folder's configurations name `token_id` in the fields of the case, and one id that no token has."""
    fields = {
        "bad_words_ids": [[token_id]],
        "image_token_index": token_id,
        "forced_decoder_ids": [[1, token_id]],
        "suppress_tokens": [token_id],
    }
    edit_json(folder / "generation_config.json", **fields, begin_suppress_tokens=[100_000])
    edit_json(folder / "config.json", **fields)
    return fields


def written_ids(folder: Path) -> list[dict[str, Any]]:
    configs = [json.loads((folder / name).read_text()) for name in ("config.json", "generation_config.json")]
    return [{key: config[key] for key in FIELDS} for config in configs]


@pytest.mark.parametrize("verb", ["lep", "vocab init"])
def test_both_verbs_write_the_same_ids_and_report_the_same_losses(own: Folders, tmp_path: Path, verb: str) -> None:
    """A token of target and donor; its ids are read from their tokenizer.json by the tokenizers library."""
    old, new = (Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in (own.target, own.donor))
    added = {token.content for token in old.get_added_tokens_decoder().values()}
    shared = (old.get_vocab().keys() & new.get_vocab().keys()) - added
    piece = next(piece for piece in sorted(shared) if old.token_to_id(piece) != new.token_to_id(piece))
    with_ids(own.target, old.token_to_id(piece))
    if verb == "lep":
        said = list(propagate(own.base, own.target, own.donor, own.output).warnings)
        owner = "the target"
    else:
        said, owner = [], "the model"
        initialize_embeddings(own.target, own.donor, own.output, say=said.append)
    now = new.token_to_id(piece)
    right = {
        "bad_words_ids": [[now]],
        "image_token_index": now,
        "forced_decoder_ids": [[1, now]],
        "suppress_tokens": [now],
    }
    assert written_ids(own.output) == [right, right]
    lost = f"no token of the result stands for begin_suppress_tokens: 100000 of {owner}"
    assert any(line.endswith(lost) for line in said)
