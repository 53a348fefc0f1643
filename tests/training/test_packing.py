"""Blocks of a packed corpus."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from darumeru.core.errors import UserError
from lep_plugins.training.packing import PackedCorpus, pack
from tests.tiny_models import BOS, EOS, TEXTS, make_tokenizer

DOCUMENTS = ["\n".join(TEXTS[place % 10 :] + TEXTS[: place % 7]) for place in range(30)] + ["Коротко.", TEXTS[0] * 40]


@pytest.fixture
def packed(tmp_path: Path) -> Callable[..., PackedCorpus]:
    return lambda block=32, key="a", texts=DOCUMENTS: pack(
        lambda: texts, make_tokenizer(), block, tmp_path / f"packed-{block}", key, lambda text: None
    )


def stream(tokenizer: Any) -> tuple[list[int], set[int]]:
    """All documents as BOS + text + EOS, and where documents and paragraphs begin in it."""
    ids: list[int] = []
    starts = set()
    for document in DOCUMENTS:
        starts.add(len(ids))
        encoded = tokenizer(document, add_special_tokens=False, return_offsets_mapping=True)
        ids.append(tokenizer.convert_tokens_to_ids(BOS))
        for token, (begin, _) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
            if begin and document[begin - 1] == "\n":
                starts.add(len(ids))
            ids.append(token)
        ids.append(tokenizer.convert_tokens_to_ids(EOS))
    return ids, starts


@pytest.mark.parametrize("block", [16, 32, 100])
def test_blocks_are_runs_of_the_corpus_that_begin_at_paragraphs(
    block: int, packed: Callable[..., PackedCorpus]
) -> None:
    made = packed(block)
    ids, starts = stream(make_tokenizer())
    assert made.tokens == len(ids) and made.documents == len(DOCUMENTS)
    blocks = made.blocks(np.arange(made.count)).tolist()
    after = 0
    for one in blocks:
        begin = min(start for start in starts if start >= after)
        assert one == ids[begin : begin + block]
        after = begin + block
    rest = [start for start in starts if start >= after]
    assert not rest or min(rest) + block > len(ids)
    assert made.kept == pytest.approx(made.count * block / len(ids))


def test_positions_begin_anew_with_every_document(packed: Callable[..., PackedCorpus]) -> None:
    made = packed(64)
    ids = made.blocks(np.arange(made.count))
    positions = made.positions(ids)
    begins = ids == make_tokenizer().convert_tokens_to_ids(BOS)
    assert begins.any()
    assert (positions[begins] == 0).all() and (positions[:, 0] == 0).all()
    inside = ~begins[:, 1:]
    assert (positions[:, 1:][inside] == positions[:, :-1][inside] + 1).all()


def test_blocks_are_made_once(packed: Callable[..., PackedCorpus]) -> None:
    first = packed()

    def unread() -> list[str]:
        raise AssertionError("the corpus was read again")

    again = pack(unread, make_tokenizer(), 32, first.folder, "a", print)
    assert again == first
    assert packed(key="b", texts=DOCUMENTS[:5]).tokens < first.tokens


def test_attention_stays_inside_a_document(tiny_model: Path, packed: Callable[..., PackedCorpus]) -> None:
    """Logits of a document in the middle of a block are those of the document alone."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    made = packed(400)
    ids = made.blocks(np.arange(made.count))
    positions = made.positions(ids)
    row = next(number for number, one in enumerate(positions) if (one[1:-20] == 0).any())
    begin = int(np.flatnonzero(positions[row][:-20] == 0)[-1])
    with torch.no_grad():
        inside = model(
            input_ids=torch.from_numpy(ids[row : row + 1]),
            position_ids=torch.from_numpy(positions[row : row + 1]),
            use_cache=False,
        ).logits[0, begin:]
        alone = model(input_ids=torch.from_numpy(ids[row : row + 1, begin:])).logits[0]
    assert begin > 0
    assert torch.allclose(inside, alone, atol=2e-4)


def test_too_little_text_is_said(packed: Callable[..., PackedCorpus]) -> None:
    with pytest.raises(UserError, match="do not fill one block of 512"):
        packed(512, texts=["Мало."])
