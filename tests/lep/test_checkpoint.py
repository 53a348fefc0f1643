"""Tensor-level checkpoint I/O: lazy reading, byte-identical pass-through, atomic writing, bad input."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from darumeru.core.errors import UserError
from darumeru.models import checkpoint_output
from darumeru.models.checkpoint import open_checkpoint
from darumeru.models.checkpoint_output import DirectWriter, appearing_folder, check_disk, check_memory, link_or_copy
from darumeru.models.checkpoint_read import gather_rows, row_chunks
from darumeru.models.checkpoint_write import Replacement, write_checkpoint
from darumeru.models.config_file import with_vocab_size
from darumeru.models.weight_files import read_shard
from tests.lep.lep_models import edit_json, weights

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def llama(
    folder: Path, tied: bool = False, shard: str = "5GB", vocab: int = 200, dtype: torch.dtype = torch.bfloat16
) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=200,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        tie_word_embeddings=tied,
    )
    LlamaForCausalLM(config).bfloat16().save_pretrained(folder, max_shard_size=shard)
    return folder


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return llama(tmp_path_factory.mktemp("single") / "model")


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return llama(tmp_path_factory.mktemp("sharded") / "model", shard="16KB")


@pytest.fixture
def broken(single: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(single, tmp_path / "broken"))


@pytest.fixture
def broken_shards(sharded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sharded, tmp_path / "broken-shards"))


def refusal(folder: Path) -> str:
    """The one line with which opening (and naming the vocabulary of) a folder is refused."""
    with pytest.raises(UserError) as caught:
        _ = open_checkpoint(folder).vocabulary
    assert "\n" not in caught.value.line()
    return caught.value.line()


# Reading


def test_rows_chunks_and_gathered_rows_are_those_of_the_file(sharded: Path) -> None:
    checkpoint, tensors = open_checkpoint(sharded), weights(sharded)
    assert checkpoint.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(checkpoint.rows(name), tensor)
    expected = tensors[EMBEDDING]
    chunks = list(checkpoint.chunks(EMBEDDING, chunk_bytes=7 * 64))
    assert [start for start, _ in chunks] == list(range(0, 200, 7))
    assert torch.equal(torch.cat([rows for _, rows in chunks]), expected)
    assert torch.equal(checkpoint.rows(HEAD, 3, 9), tensors[HEAD][3:9])


@settings(deadline=None, max_examples=40)
@given(ids=st.lists(st.integers(0, 199), max_size=40), step=st.integers(1, 60), gap=st.integers(0, 30))
def test_any_ascending_rows_can_be_gathered(single: Path, ids: list[int], step: int, gap: int) -> None:
    entry = open_checkpoint(single).entry(EMBEDDING)
    wanted = np.array(sorted(ids), dtype=np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("darumeru.models.checkpoint_read.CHUNK_BYTES", step * entry.row_bytes)
        patch.setattr("darumeru.models.checkpoint_read.GAP_BYTES", gap * entry.row_bytes)
        rows = gather_rows(entry, wanted)
    assert torch.equal(rows, weights(single)[EMBEDDING][torch.from_numpy(wanted)])


def test_opening_reads_no_tensor(single: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> int:
        raise AssertionError("a tensor was read")

    monkeypatch.setattr(os, "preadv", refuse)
    checkpoint = open_checkpoint(single)
    assert (checkpoint.embedding_name, checkpoint.head_name, checkpoint.tied) == (EMBEDDING, HEAD, False)
    assert (checkpoint.vocab_rows, checkpoint.hidden_size) == (200, 32)


def test_tied_models_have_no_head(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(llama(tmp_path / "m", tied=True))
    assert (checkpoint.tied, checkpoint.head_name) == (True, None)


def test_a_redundant_copy_of_a_tied_head_is_known_and_another_matrix_is_refused(tmp_path: Path) -> None:
    folder = llama(tmp_path / "m", tied=True)
    tensors = weights(folder)
    tensors[HEAD] = tensors[EMBEDDING].clone()
    save_file(tensors, str(folder / "model.safetensors"))
    assert open_checkpoint(folder).vocabulary.copies == (HEAD,)
    tensors[HEAD][3] += 1
    save_file(tensors, str(folder / "model.safetensors"))
    assert "lm_head.weight differs from model.embed_tokens.weight" in refusal(folder)


@pytest.mark.parametrize("kind", ["gpt_neox", "gpt2", "bloom"])
def test_other_architectures_are_named_by_their_tensors(tmp_path: Path, kind: str) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"gpt_neox": {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 24}}
    sizes["gpt2"] = {"n_layer": 1, "n_head": 2, "n_embd": 16}
    sizes["bloom"] = {"n_layer": 1, "n_head": 2, "hidden_size": 16}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, vocab_size=100, **sizes[kind]))
    model.save_pretrained(tmp_path / kind)
    checkpoint = open_checkpoint(tmp_path / kind)
    assert torch.equal(checkpoint.rows(checkpoint.embedding_name), model.get_input_embeddings().weight)
    assert checkpoint.tied == (kind != "gpt_neox")
    if checkpoint.head_name:
        assert torch.equal(checkpoint.rows(checkpoint.head_name), model.get_output_embeddings().weight)


def test_a_nested_text_config_is_read_and_written(tmp_path: Path) -> None:
    folder = llama(tmp_path / "m")
    inner = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({"architectures": ["Seeing"], "text_config": inner}))
    checkpoint = open_checkpoint(folder)
    assert (checkpoint.embedding_name, checkpoint.tied) == (EMBEDDING, False)
    assert with_vocab_size(checkpoint.config, 256)["text_config"]["vocab_size"] == 256
    assert "vocab_size" not in with_vocab_size(checkpoint.config, 256)
    del inner["vocab_size"], inner["tie_word_embeddings"]  # as families do whose defaults these are
    (folder / "config.json").write_text(json.dumps({"architectures": ["Seeing"], "text_config": inner}))
    checkpoint = open_checkpoint(folder)
    assert (checkpoint.embedding_name, checkpoint.head_name, checkpoint.vocab_rows) == (EMBEDDING, HEAD, 200)


# Bad input


def test_missing_things_are_named(tmp_path: Path, broken: Path, broken_shards: Path) -> None:
    assert "no such model folder" in refusal(tmp_path / "nowhere")
    (broken / "config.json").unlink()
    assert "config.json: the file is missing" in refusal(broken)
    (broken / "model.safetensors").unlink()
    assert "no weights (*.safetensors)" in refusal(broken)
    next(broken_shards.glob("model-00002*")).unlink()
    assert "model-00002" in refusal(broken_shards)


def test_pickles_are_refused(broken: Path) -> None:
    (broken / "model.safetensors").rename(broken / "pytorch_model.bin")
    assert "only pickled weights (pytorch_model.bin)" in refusal(broken)


@pytest.mark.parametrize("length", [0, 5, 8, 40, -1, -1000])
def test_truncated_files_are_refused(broken: Path, length: int) -> None:
    path = broken / "model.safetensors"
    os.truncate(path, length if length >= 0 else path.stat().st_size + length)
    assert "model.safetensors: " in refusal(broken) and "downloaded to its end" in refusal(broken)


def header_edited(path: Path, old: bytes, new: bytes) -> None:
    raw = path.read_bytes()
    assert old in raw and len(old) == len(new)
    path.write_bytes(raw.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'{"', b'["', "broken JSON"),
        (b'"BF16"', b'"BF99"', "unknown dtype BF99"),
        (b'"shape":[200,32]', b'"shape":[200,33]', "has 12,800 bytes for shape [200, 33]"),
        (b'"data_offsets":[0,12800]', b'"data_offsets":[8,12808]', "overlap or leave a gap"),
        (b'"shape":[200,32]', b'"shape":[2e0,"]]', "broken JSON"),
    ],
)
def test_corrupted_headers_are_refused(broken: Path, old: bytes, new: bytes, message: str) -> None:
    header_edited(broken / "model.safetensors", old, new)
    assert message in refusal(broken)


@settings(deadline=None, max_examples=60)
@given(place=st.integers(0, 1500), byte=st.integers(0, 255))
def test_no_damage_to_a_header_raises_anything_but_a_user_error(single: Path, place: int, byte: int) -> None:
    raw = bytearray((single / "model.safetensors").read_bytes())
    raw[place] = byte
    path = single.parent / "damaged.safetensors"
    path.write_bytes(raw)
    try:
        read_shard(path)
    except UserError as error:
        assert "damaged.safetensors" in error.line()


def test_an_index_that_disagrees_is_refused(broken_shards: Path) -> None:
    path = broken_shards / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    files = list(index["weight_map"].values())
    first = next(name for name, file in index["weight_map"].items() if files.count(file) > 1)
    missing = {name: file for name, file in index["weight_map"].items() if name != first}
    edit_json(path, weight_map=missing)
    assert f"disagree about tensor {first}" in refusal(broken_shards)
    edit_json(path, weight_map=index["weight_map"] | {"ghost": index["weight_map"][first]})
    assert "has no tensor ghost, which model.safetensors.index.json places there" in refusal(broken_shards)
    edit_json(path, weight_map={first: "../model-00001.safetensors"})
    assert "../model-00001.safetensors is not a file of the folder" in refusal(broken_shards)
    edit_json(path, weight_map=[])
    assert "no weight_map" in refusal(broken_shards)
    path.write_text("{")
    assert "broken JSON" in refusal(broken_shards)
    path.write_bytes(b"\xff\xfe")
    assert "is not UTF-8" in refusal(broken_shards)


def test_contradictions_between_config_and_weights_are_refused(broken: Path) -> None:
    edit_json(broken / "config.json", vocab_size=300)
    assert "vocab_size 300 but tensor model.embed_tokens.weight has 200 rows" in refusal(broken)
    edit_json(broken / "config.json", vocab_size=200)
    tensors = weights(broken)
    for name, message in (
        ("lm_head.bias", "lm_head.bias is not supported"),
        ("model.embed_tokens_per_layer.weight", "embed_tokens_per_layer.weight is not supported"),
        ("model.mtp.embed_tokens.weight", "more than one vocabulary matrix"),
    ):
        save_file(tensors | {name: tensors[HEAD].clone()}, str(broken / "model.safetensors"))
        assert message in refusal(broken)
    del tensors[HEAD]
    save_file(tensors, str(broken / "model.safetensors"))
    assert "no output head" in refusal(broken)


def test_nan_and_infinity_are_found_on_request(broken: Path) -> None:
    tensors = weights(broken)
    tensors[EMBEDDING][137, 5] = float("nan")
    tensors[HEAD][11, 0] = float("inf")
    save_file(tensors, str(broken / "model.safetensors"))
    checkpoint = open_checkpoint(broken)
    with pytest.raises(UserError, match=r"embed_tokens.weight: NaN or infinity in row 137"):
        list(checkpoint.chunks(EMBEDDING, chunk_bytes=640, finite=True))
    with pytest.raises(UserError, match=r"lm_head.weight: NaN or infinity in row 11"):
        checkpoint.gather(HEAD, np.array([2, 11, 150]), finite=True)
    assert torch.isfinite(checkpoint.gather(HEAD, np.array([2, 150]), finite=True)).all()


def test_quantized_embeddings_are_refused_when_read(broken: Path) -> None:
    tensors = weights(broken)
    tensors[EMBEDDING] = torch.zeros((200, 32), dtype=torch.int8)
    save_file(tensors, str(broken / "model.safetensors"))
    with pytest.raises(UserError, match=r"is I8 .*quantized"):
        open_checkpoint(broken).rows(EMBEDDING)


# Writing


def new_rows(count: int) -> torch.Tensor:
    return torch.randn((count, 32), generator=torch.Generator().manual_seed(1)).bfloat16()


@pytest.mark.parametrize("which", ["single", "sharded"])
def test_only_the_replaced_tensors_change(which: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    from transformers import LlamaForCausalLM

    source, rows, told = open_checkpoint(request.getfixturevalue(which)), new_rows(256), []
    chunked = Replacement((256, 32), "BF16", lambda: iter(rows.split(50)))
    config = with_vocab_size(source.config, 256)
    write_checkpoint(
        source, tmp_path / "out", {EMBEDDING: rows, HEAD: chunked}, config=config, progress=lambda *p: told.append(p)
    )
    model, info = LlamaForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert torch.equal(model.model.embed_tokens.weight, rows) and torch.equal(model.lm_head.weight, rows)
    old, new = weights(source.path), weights(tmp_path / "out")
    assert old.keys() == new.keys()
    assert all(torch.equal(old[name], new[name]) for name in old.keys() - {EMBEDDING, HEAD})
    assert told[-1][0] == told[-1][1] > 0 and [done for done, _ in told] == sorted(done for done, _ in told)
    result = open_checkpoint(tmp_path / "out")
    assert result.sharded == (which == "sharded")
    assert [shard.metadata for shard in result.shards] == [{"format": "pt"}] * len(source.shards)


def test_shards_without_a_change_are_the_same_file_and_never_read(
    sharded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_checkpoint(sharded)
    changed = source.entry(EMBEDDING).file.name
    read: set[str] = set()
    preadv = os.preadv

    def noting(handle: int, *rest: object) -> int:
        read.add(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        return preadv(handle, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "preadv", noting)
    write_checkpoint(source, tmp_path / "out", {EMBEDDING: new_rows(200)})
    assert read <= {changed}
    untouched = [file.name for file in sharded.glob("*.safetensors") if file.name != changed]
    assert len(untouched) > 2
    for name in untouched:
        assert (tmp_path / "out" / name).read_bytes() == (sharded / name).read_bytes()
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert index == json.loads((sharded / "model.safetensors.index.json").read_text())


def test_the_index_counts_what_was_written(sharded: Path, tmp_path: Path) -> None:
    source = open_checkpoint(sharded)
    write_checkpoint(source, tmp_path / "out", {EMBEDDING: new_rows(264), HEAD: new_rows(264)})
    tensors = weights(tmp_path / "out")
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in tensors.values())
    assert index["metadata"]["total_parameters"] == sum(tensor.numel() for tensor in tensors.values())
    assert {
        name: read_shard(tmp_path / "out" / file) is not None for name, file in index["weight_map"].items()
    }.keys() == tensors.keys()


def test_a_dropped_tensor_is_gone(tmp_path: Path) -> None:
    folder = llama(tmp_path / "m", tied=True)
    tensors = weights(folder)
    save_file(tensors | {HEAD: tensors[EMBEDDING].clone()}, str(folder / "model.safetensors"))
    source = open_checkpoint(folder)
    write_checkpoint(source, tmp_path / "out", {EMBEDDING: new_rows(200)}, dropped=source.vocabulary.copies)
    assert weights(tmp_path / "out").keys() == tensors.keys()


def test_tokenizer_files_come_from_the_tokenizer_and_the_model_card_stays_behind(single: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(single, tmp_path / "source"))
    for name in (
        "tokenizer.json",
        "merges.txt",
        "chat_template.jinja",
        "preprocessor_config.json",
        "README.md",
        "LICENSE",
    ):
        (source / name).write_text(f"source's {name}")
    other = tmp_path / "tokenizer"
    other.mkdir()
    (other / "tokenizer.json").write_text("other")
    (other / "notes.md").write_text("not a tokenizer file")
    write_checkpoint(open_checkpoint(source), tmp_path / "out", {}, tokenizer=other)
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"tokenizer.json", "preprocessor_config.json", "LICENSE", "config.json"} <= files
    assert not files & {"merges.txt", "chat_template.jinja", "README.md", "notes.md"}
    assert (tmp_path / "out" / "tokenizer.json").read_text() == "other"


def test_symbolic_links_as_in_the_hub_cache_become_real_files(single: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for path in single.iterdir():
        (snapshot / path.name).symlink_to(path)
    write_checkpoint(open_checkpoint(snapshot), tmp_path / "out", {})
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (single / "model.safetensors").read_bytes()


def test_an_output_in_use_is_refused_and_untouched(single: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("x")
    (tmp_path / "file").write_text("x")
    source = open_checkpoint(single)
    with pytest.raises(UserError, match="not empty"):
        write_checkpoint(source, tmp_path / "out", {})
    with pytest.raises(UserError, match="not a folder"):
        write_checkpoint(source, tmp_path / "file", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious"]


def test_a_full_disk_in_the_middle_leaves_nothing(
    sharded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, real, calls = open_checkpoint(sharded), os.write, []

    def filling(handle: int, data: bytes) -> int:
        calls.append(len(data))
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, data)

    monkeypatch.setattr(os, "write", filling)
    with pytest.raises(UserError, match="the disk is full; nothing was kept"):
        write_checkpoint(source, tmp_path / "out", {EMBEDDING: new_rows(200), HEAD: new_rows(200)})
    assert len(calls) > 1 and list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_no_config_in_its_temporary_folder(single: Path, tmp_path: Path) -> None:
    seen: list[set[str]] = []

    def look(folder: Path) -> None:
        seen.append({path.name for path in folder.iterdir()})
        assert folder.parent == tmp_path and not (tmp_path / "out").exists()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(open_checkpoint(single), tmp_path / "out", {}, finish=look)
    assert "model.safetensors" in seen[0] and "config.json" not in seen[0]
    assert list(tmp_path.iterdir()) == []


def test_too_little_disk_or_memory_is_said_before_the_start(single: Path, tmp_path: Path) -> None:
    huge = Replacement((1 << 50, 32), "BF16", lambda: pytest.fail("work began"))
    with pytest.raises(UserError, match=r"the result needs .* GB and the disk has"):
        write_checkpoint(open_checkpoint(single), tmp_path / "out", {EMBEDDING: huge})
    with pytest.raises(UserError, match=r"needs .* GB of memory"):
        check_memory(1 << 60, "this")
    check_disk(tmp_path / "out", 1)
    check_memory(1, "this")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 70_001])
@pytest.mark.parametrize("refused", ["nothing", "open", "write"])
def test_direct_writing_and_its_fallbacks_write_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, refused: str
) -> None:
    monkeypatch.setattr(checkpoint_output, "BUFFER_BYTES", 4 * 4096)
    real_open, real_write, direct = os.open, os.write, []

    def opening(path: str, flags: int, mode: int = 0o777) -> int:
        if refused == "open" and flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real_open(path, flags, mode)

    def writing(handle: int, data: bytes) -> int:
        import fcntl

        direct.append(bool(fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_DIRECT))
        if refused == "write" and direct[-1]:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real_write(handle, data)

    monkeypatch.setattr(os, "open", opening)
    monkeypatch.setattr(os, "write", writing)
    data = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8).tobytes()
    with DirectWriter(tmp_path / "file") as writer:
        for start in range(0, size, 1000):
            writer.write(data[start : start + 1000])
    assert (tmp_path / "file").read_bytes() == data
    if size and refused == "open":
        assert not any(direct)


def test_links_fall_back_to_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"bytes")
    assert link_or_copy(tmp_path / "a", tmp_path / "b") in ("clone", "link")

    def refuse(*arguments: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(checkpoint_output, "_clone", lambda *arguments: False)
    assert link_or_copy(tmp_path / "a", tmp_path / "c") == "copy"
    assert (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes() == b"bytes"


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with appearing_folder(tmp_path / "deep" / "out") as folder:
        (folder / "file").write_text("x")
        assert not (tmp_path / "deep" / "out").exists()
    assert [path.name for path in (tmp_path / "deep" / "out").iterdir()] == ["file"]
    with pytest.raises(ZeroDivisionError), appearing_folder(tmp_path / "other"):
        _ = 1 / 0
    assert not (tmp_path / "other").exists()


def test_chunks_of_the_wrong_height_or_kind_are_a_bug_not_a_model(single: Path, tmp_path: Path) -> None:
    for rows in (new_rows(199), new_rows(200).float()):
        wrong = Replacement((200, 32), "BF16", lambda rows=rows: [rows])  # type: ignore[misc]
        with pytest.raises(ValueError, match=r"embed_tokens"):
            write_checkpoint(open_checkpoint(single), tmp_path / "out", {EMBEDDING: wrong})
    assert list(tmp_path.iterdir()) == []


def test_every_kind_of_tensor_passes_through(tmp_path: Path) -> None:
    tensors = {
        "a": torch.arange(3),
        "b": torch.tensor(2.5),
        "c": torch.zeros((0, 4)),
        "d": torch.tensor([True, False]),
        EMBEDDING: torch.ones((4, 2)),
        HEAD: torch.ones((4, 2)),
    }
    save_file(tensors, str(tmp_path / "model.safetensors"))
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 4}))
    source = open_checkpoint(tmp_path)
    assert [rows.shape for _, rows in row_chunks(source.entry("b"))] == [torch.Size([1])]
    write_checkpoint(source, tmp_path / "out", {EMBEDDING: torch.zeros((4, 2))})
    result = load_file(str(tmp_path / "out" / "model.safetensors"))
    assert all(torch.equal(result[name], tensors[name]) for name in tensors if name != EMBEDDING)
