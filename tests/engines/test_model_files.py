"""Every way in which a model's files can be wrong is one clear line, found without torch or transformers."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from darumeru.core.errors import UserError
from darumeru.models.model_files import find_model, fingerprint_folder


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy that may be broken."""
    return Path(shutil.copytree(tiny_model, tmp_path / "models" / "mine"))


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _cut(model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def _lengthen(model: Path) -> None:
    with (model / "model.safetensors").open("ab") as file:
        file.write(b"1234")


def _pickle_only(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")


def _index(model: Path, shard: str, tensor: str = "lm_head.weight") -> None:
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {tensor: shard}}))


def _own_tokenizer_code(model: Path) -> None:
    (model / "tokenizer.json").unlink()
    (model / "vocab.txt").write_text("a\n")
    _edit(model / "tokenizer_config.json", auto_map={"AutoTokenizer": ["tokenization_mine.Mine", None]})


def _adapter(model: Path) -> None:
    (model / "config.json").unlink()
    (model / "adapter_config.json").write_text("{}")


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda m: (m / "config.json").unlink(), r"mine: no config\.json"),
    "config is not JSON": (lambda m: (m / "config.json").write_text('{\n"a" 1}'), r"config\.json:2: broken JSON"),
    "config is a list": (lambda m: (m / "config.json").write_text("[]"), r"config\.json: is not a JSON object"),
    "config is not text": (lambda m: (m / "config.json").write_bytes(b'{"a": "\xff"}'), r"config\.json: is not UTF-8"),
    "no tokenizer": (lambda m: (m / "tokenizer.json").unlink(), r"mine: no tokenizer .*--tokenizer"),
    "no weights": (lambda m: (m / "model.safetensors").unlink(), r"mine: no weights"),
    "pickles only": (_pickle_only, r"only pickled weights \(pytorch_model\.bin\).*refused.*safe_serialization"),
    "GGUF only": (lambda m: (m / "model.safetensors").rename(m / "a.gguf"), r"GGUF"),
    "cut short": (_cut, r"model\.safetensors: is cut short: [\d,]+ of [\d,]+ bytes"),
    "too long": (_lengthen, r"is longer than its header says"),
    "empty file": (lambda m: (m / "model.safetensors").write_bytes(b""), r"is not a safetensors file"),
    "header cut": (
        lambda m: (m / "model.safetensors").write_bytes(struct.pack("<Q", 5000) + b"{}"),
        r"is not a safetensors file or is cut short",
    ),
    "header broken": (
        lambda m: (m / "model.safetensors").write_bytes(struct.pack("<Q", 4) + b"{,,}"),
        r"broken safetensors header",
    ),
    "missing shard": (lambda m: _index(m, "model-00002.safetensors"), r"names model-00002\.safetensors, which is not"),
    "missing tensor": (lambda m: _index(m, "model.safetensors", "absent"), r"has no tensor absent, which model\."),
    "empty index": (
        lambda m: (m / "model.safetensors.index.json").write_text('{"metadata": {}}'),
        r"has no weight_map",
    ),
    "model code": (
        lambda m: _edit(m / "config.json", model_type="mine", auto_map={"AutoModelForCausalLM": "modeling_mine.Mine"}),
        r"needs code of its own.*--trust-remote-code",
    ),
    "tokenizer code": (_own_tokenizer_code, r"tokenizer needs code of its own"),
    "adapter": (_adapter, r"a LoRA adapter, not a model.*--lora"),
}


@pytest.mark.parametrize("breakage", BROKEN)
def test_broken_models_are_named_in_one_line(model: Path, breakage: str) -> None:
    breaking, pattern = BROKEN[breakage]
    breaking(model)
    with pytest.raises(UserError, match=pattern) as caught:
        find_model(str(model))
    assert "\n" not in caught.value.line()


def test_a_missing_folder_names_its_neighbours(model: Path) -> None:
    with pytest.raises(UserError, match=r"no such model folder; did you mean .*models/mine"):
        find_model(str(model.with_name("mime")))
    with pytest.raises(UserError, match="a file, not a model folder"):
        find_model(str(model / "config.json"))
    with pytest.raises(UserError, match="is empty"):
        find_model("")
    (model / "checkpoint-10").mkdir()
    shutil.move(model / "config.json", model / "checkpoint-10")
    with pytest.raises(UserError, match=r"no config\.json \(perhaps .*checkpoint-10\)"):
        find_model(str(model))


def test_the_hub_out_of_reach_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="someone/some-model: no such folder, and the Hub cannot be reached"):
        find_model("someone/some-model")


def test_a_model_in_the_hub_cache_needs_no_network(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--someone--some-model"
    shutil.copytree(tiny_model, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))
    found = find_model("someone/some-model")
    assert (found.name, found.revision) == ("someone/some-model", commit)
    assert found.fingerprint == find_model(str(tiny_model)).fingerprint
    with pytest.raises(UserError, match="some-model@v2"):
        find_model("someone/some-model", revision="v2")


def test_what_is_said_of_a_whole_model(model: Path) -> None:
    found = find_model(str(model))
    assert (found.path, found.name, found.revision) == (model, "mine", None)
    assert found.has_chat_template and found.context_length == 2048
    (model / "chat_template.jinja").unlink()
    _edit(model / "tokenizer_config.json", model_max_length=512)
    found = find_model(str(model))
    assert not found.has_chat_template and found.context_length == 512


def test_own_code_is_fine_when_it_is_allowed_or_not_needed(model: Path) -> None:
    _edit(model / "config.json", auto_map={"AutoModelForCausalLM": "modeling_mine.Mine"})
    assert find_model(str(model)).name == "mine"  # transformers has a llama of its own
    _edit(model / "config.json", model_type="mine")
    assert find_model(str(model), trust_remote_code=True).name == "mine"


def test_a_tokenizer_alone_needs_no_weights_and_no_config(model: Path) -> None:
    whole = find_model(str(model))
    (model / "model.safetensors").unlink()
    (model / "config.json").unlink()
    assert find_model(str(model), weights=False).tokenizer_fingerprint == whole.tokenizer_fingerprint


def test_the_fingerprint_follows_content_and_not_place(model: Path, tmp_path: Path) -> None:
    before = find_model(str(model))
    moved = Path(shutil.copytree(model, tmp_path / "elsewhere"))
    assert find_model(str(moved)).fingerprint == before.fingerprint
    weights = moved / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert find_model(str(moved)).fingerprint != before.fingerprint
    _edit(model / "config.json", rms_norm_eps=1e-5)
    changed = find_model(str(model))
    assert changed.fingerprint != before.fingerprint
    assert changed.tokenizer_fingerprint == before.tokenizer_fingerprint
    (model / "chat_template.jinja").write_text("{{ messages }}")
    assert find_model(str(model)).tokenizer_fingerprint != before.tokenizer_fingerprint


def test_adapters(model: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    with pytest.raises(UserError, match="no such adapter folder"):
        fingerprint_folder(adapter)
    adapter.mkdir()
    with pytest.raises(UserError, match=r"no adapter_config\.json"):
        fingerprint_folder(adapter)
    (adapter / "adapter_config.json").write_text('{"r": 4}')
    with pytest.raises(UserError, match=r"no adapter_model\.safetensors"):
        fingerprint_folder(adapter)
    (adapter / "adapter_model.bin").write_bytes(b"x")
    with pytest.raises(UserError, match="pickled"):
        fingerprint_folder(adapter)
    shutil.copy(model / "model.safetensors", adapter / "adapter_model.safetensors")
    before = fingerprint_folder(adapter)
    (adapter / "adapter_config.json").write_text('{"r": 8}')
    assert fingerprint_folder(adapter) != before


def test_nothing_heavy_is_imported(tiny_model: Path) -> None:
    code = (
        "import sys; from darumeru.models.model_files import find_model\n"
        "find_model(sys.argv[1])\n"
        "print(sorted({'torch', 'transformers', 'vllm', 'numpy', 'huggingface_hub'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(tiny_model)], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
