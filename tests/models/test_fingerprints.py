"""A fingerprint says what a model computes with: every byte of it, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file, save_file

from darumeru.models import fingerprints
from darumeru.models.fingerprints import fingerprint
from darumeru.models.model_files import find_model

WEIGHTS = "model.safetensors"


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "mine"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of its own, in which even small and fresh files are remembered."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fingerprints, "REMEMBERED_FROM", 1)
    monkeypatch.setattr(fingerprints, "RESTING_SECONDS", -1.0)
    return tmp_path / "cache" / "darumeru" / "fingerprints"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The weight files that are hashed."""
    hashed: list[Path] = []
    tensors = fingerprints._tensors
    monkeypatch.setattr(fingerprints, "_tensors", lambda shard: hashed.append(shard.file) or tensors(shard))
    return hashed


def test_every_byte_of_the_weights_counts(model: Path) -> None:
    before = find_model(str(model)).fingerprint
    content = (model / WEIGHTS).read_bytes()
    first = 8 + int.from_bytes(content[:8], "little")
    for place in (*range(first, len(content), 40_009), len(content) - 1):
        changed = bytearray(content)
        changed[place] ^= 1
        (model / WEIGHTS).write_bytes(changed)
        assert find_model(str(model)).fingerprint != before
    (model / WEIGHTS).write_bytes(content)
    assert find_model(str(model)).fingerprint == before


def test_names_types_and_shapes_count(model: Path) -> None:
    tensors = load_file(model / WEIGHTS)
    before = find_model(str(model)).fingerprint
    name = "model.norm.weight"
    other = {**tensors, "model.nurm.weight": tensors[name]}
    del other[name]
    shaped = {**tensors, name: tensors[name].reshape(1, -1)}
    half = {**tensors, name: tensors[name].half()}
    for changed in (other, shaped, half):
        save_file(changed, model / WEIGHTS)
        assert find_model(str(model)).fingerprint != before


def test_the_cut_into_files_does_not_count(model: Path) -> None:
    before = find_model(str(model)).fingerprint
    tensors = load_file(model / WEIGHTS)
    (model / WEIGHTS).unlink()
    save_torch_state_dict(tensors, model, max_shard_size="100KB")
    assert len(list(model.glob("*.safetensors"))) > 2
    assert find_model(str(model)).fingerprint == before


def test_place_times_and_who_wrote_the_config_do_not_count(model: Path, tmp_path: Path) -> None:
    before = find_model(str(model))
    moved = Path(shutil.copytree(model, tmp_path / "elsewhere"))
    config = json.loads((moved / "config.json").read_text())
    config |= {"transformers_version": "9.9", "_name_or_path": "/x"}
    (moved / "config.json").write_text(json.dumps(dict(reversed(config.items()))))
    os.utime(moved / WEIGHTS, (1, 1))
    after = find_model(str(moved))
    assert (after.fingerprint, after.tokenizer_fingerprint) == (before.fingerprint, before.tokenizer_fingerprint)
    (moved / "config.json").write_text(json.dumps(config | {"rope_theta": 5.0}))
    assert find_model(str(moved)).fingerprint != before.fingerprint


def test_own_code_counts_when_the_config_names_it(model: Path) -> None:
    (model / "modeling_mine.py").write_text("a = 1")
    plain = find_model(str(model)).fingerprint
    config = json.loads((model / "config.json").read_text()) | {"auto_map": {"AutoModelForCausalLM": "modeling_mine.M"}}
    (model / "config.json").write_text(json.dumps(config))
    named = find_model(str(model)).fingerprint
    (model / "modeling_mine.py").write_text("a = 2")
    assert len({plain, named, find_model(str(model)).fingerprint}) == 3


def test_a_model_is_read_once(model: Path, cache: Path, read: list[Path]) -> None:
    first = find_model(str(model)).fingerprint
    assert find_model(str(model)).fingerprint == first and len(read) == 1
    assert len(list(cache.iterdir())) == 1
    fingerprint(model)  # as a folder of files: the same tensors, read no more
    assert len(read) == 1


def test_what_changed_is_read_again(model: Path, cache: Path, read: list[Path]) -> None:
    """Same size, same name, its modification time set back: the time of the change to the file itself tells."""
    before, status = find_model(str(model)).fingerprint, (model / WEIGHTS).stat()
    content = bytearray((model / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (model / WEIGHTS).write_bytes(content)
    os.utime(model / WEIGHTS, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert find_model(str(model)).fingerprint != before and len(read) == 2


def test_a_fresh_file_is_not_remembered(
    model: Path, cache: Path, read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, "RESTING_SECONDS", 3600.0)
    find_model(str(model)).fingerprint, find_model(str(model)).fingerprint
    assert len(read) == 2 and not cache.exists()


@pytest.mark.parametrize("spoilt", ["a file in its place", "nonsense in it"])
def test_a_cache_that_cannot_be_used_only_costs_time(model: Path, cache: Path, read: list[Path], spoilt: str) -> None:
    right = find_model(str(model)).fingerprint
    if spoilt == "nonsense in it":
        for entry in cache.iterdir():
            entry.write_bytes(b"\xff not a hash")
    else:
        shutil.rmtree(cache.parent)
        cache.parent.write_text("")
    assert find_model(str(model)).fingerprint == right and len(read) == 2


def test_files_and_folders(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "a.txt").write_text("Привет")
    (other / ".cache").mkdir()
    (other / ".cache" / "b").write_text("x")
    assert fingerprint(one) == fingerprint(other)
    (other / "deep" / "a.txt").rename(other / "deep" / "b.txt")
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one / "deep" / "a.txt") == fingerprint(other / "deep" / "b.txt")
    (other / "broken.safetensors").write_bytes(b"not one")
    assert len(fingerprint(other)) == 64
