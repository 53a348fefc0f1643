"""The adaptation steps are found like anyone else's plugins."""

from __future__ import annotations

from dataclasses import fields

import pytest

from darumeru.adaptation.registry import step_registry
from darumeru.core.errors import UserError

OWN = {
    "vocab_bpe", "vocab_unigram", "vocab_extend", "vocab_optimize", "vocab_trim", "lep", "base_model", "pretrain",
    "instruct_tune", "self_calibration", "instruction_calibration",
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
