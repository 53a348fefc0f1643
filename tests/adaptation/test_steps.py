"""The adaptation steps are found like anyone else's plugins."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from darumeru.adaptation.protocols import Candidate, StepContext
from darumeru.adaptation.registry import step_registry
from darumeru.core.errors import UserError
from darumeru.models.fingerprints import fingerprint
from lep_plugins.initialization import initialize_embeddings
from lep_plugins.vocabulary.steps import VocabExtend, VocabOf
from tests.tiny_models import TEXTS, make_model

OWN = {
    "vocab_bpe", "vocab_unigram", "vocab_extend", "vocab_optimize", "vocab_trim", "vocab_of", "lep", "base_model",
    "pretrain", "instruct_tune", "self_calibration", "instruction_calibration",
}  # fmt: skip


def test_the_projects_steps_are_registered_under_their_names() -> None:
    registry = step_registry()
    assert set(registry.names()) >= OWN
    for name in OWN:
        step = registry.get(name)
        assert step.name == name and {field.name for field in fields(step)} - {"name"}


def test_an_unknown_step_gets_the_nearest_names() -> None:
    with pytest.raises(UserError, match="did you mean vocab_extend"):
        step_registry().get("vocab_extnd")


def test_a_model_takes_the_vocabulary_that_another_was_given(tmp_path: Path) -> None:
    """The same model as `vocab init` makes of it with that tokenizer, which was learnt once for the other one."""
    corpus = tmp_path / "texts.txt"
    corpus.write_text("\n".join(TEXTS * 5), encoding="utf-8")
    base, chat = (make_model(tmp_path / name, seed=seed) for name, seed in (("base", 1), ("chat", 2)))

    def context(name: str, **inputs: Path) -> StepContext:
        return StepContext(tmp_path / name, inputs, say=lambda text: None)

    (other,) = VocabExtend((str(corpus),), size=640).run(context("vocab"), Candidate(base))
    (made,) = VocabOf().run(context("of", tokenizer=other.path), Candidate(chat, label="chat"))
    by_hand = initialize_embeddings(chat, tmp_path / "vocab" / "tokenizer", tmp_path / "by-hand")
    assert fingerprint(made.path) == fingerprint(by_hand) != fingerprint(other.path)
    assert made.parents == ("chat",)
    with pytest.raises(UserError, match="no model whose tokenizer to take"):
        list(VocabOf().run(context("without"), Candidate(chat)))
