"""The authors' own instructions, from the folder that DARUMERU_PROMPTS names."""

from __future__ import annotations

from pathlib import Path

import pytest

from darumeru.core.errors import UserError
from darumeru.tasks.published import FOLDER, OWN_WORDS
from darumeru.tasks.registry import load_registry
from tests.shared_data import shared


def test_without_the_folder_a_task_says_that_its_words_are_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    specs = load_registry().specs
    own = {name for name, spec in specs.items() if OWN_WORDS in spec.differs}
    assert own == {name for name, spec in specs.items() if spec.options.get("published")} and len(own) == 57


def test_with_it_the_text_the_definition_and_the_sentences_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_registry().specs["rusbeirrag/rubqqa"]
    monkeypatch.setenv(FOLDER, str(shared("field", "prompts")))
    after = load_registry().specs["rusbeirrag/rubqqa"]
    right = shared("field", "prompts", "rusbeirrag.txt").read_text(encoding="utf-8")
    assert after.options["instruction"] == right != before.options["instruction"]
    assert OWN_WORDS not in after.differs and after.definition() != before.definition()


def test_a_file_that_is_missing_or_broken_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    with pytest.raises(UserError, match="the authors' text cannot be read") as caught:
        load_registry()
    assert str(tmp_path) in caught.value.line() and f"unset {FOLDER}" in caught.value.line()
    for path in shared("field", "prompts").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "libra.jsonl").write_text('{"slice": "other", "template": "x"}\n')
    with pytest.raises(UserError, match="holds no slice"):
        load_registry()
    (tmp_path / "libra.jsonl").write_text("[1]\n")
    with pytest.raises(UserError, match="is not JSON lines"):
        load_registry()
