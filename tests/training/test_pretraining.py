"""Continued pre-training: what moves, what stays, what survives a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from darumeru.adaptation.protocols import Candidate, StepContext
from darumeru.core.errors import RunFailed, UserError
from lep_plugins.training.pretraining import Pretrain
from lep_plugins.training.training_loop import read_losses
from tests.shared_data import ROOT
from tests.tiny_models import TEXTS, make_model

SMALL: dict[str, Any] = {"block": 32, "batch_size": 4, "micro_batch": 2, "max_steps": 6, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "texts.txt"
    path.write_text("\n\n".join("\n".join(TEXTS[place % 5 :]) for place in range(40)), encoding="utf-8")
    return path


def run(model: Path, corpus: Path, output: Path, **settings: Any) -> list[Candidate]:
    step = Pretrain(corpus=(str(corpus),), **{**SMALL, **settings})
    return list(step.run(StepContext(output, say=lambda text: None), Candidate(model)))


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


EMBEDDINGS = {"model.embed_tokens.weight", "lm_head.weight"}


@pytest.mark.parametrize(
    ("trained", "moved"),
    [
        ("embeddings", lambda name: name in EMBEDDINGS),
        ("edges", lambda name: name in EMBEDDINGS or any(f"layers.{layer}." in name for layer in (0, 1, 4, 5))),
        ("lora", lambda name: name in EMBEDDINGS or name.endswith("_proj.weight")),
        ("full", lambda name: True),
    ],
)
def test_only_what_was_named_moves(trained: str, moved: Callable[[str], bool], corpus: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", layers=6, hidden=32)
    (candidate,) = run(model, corpus, tmp_path / "out", trained=trained, lora_alpha=8.0)
    before, after = weights(model), weights(candidate.path)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert after[name].equal(tensor) != moved(name), name
    assert candidate.training_step == 6
    losses = [line["loss"] for line in read_losses(tmp_path / "out")]
    assert len(losses) == 6 and losses[-1] < losses[0]


def test_a_float32_training_of_a_bf16_model_is_a_float32_model(corpus: Path, tmp_path: Path) -> None:
    """The case "pretrain_dtype_config": what dtype="auto" loads is what was stored."""
    import torch
    from transformers import AutoModelForCausalLM

    model = make_model(tmp_path / "model", dtype="bfloat16", hidden=32)
    (candidate,) = run(model, corpus, tmp_path / "out", dtype="float32", max_steps=1)
    assert json.loads((candidate.path / "config.json").read_text())["dtype"] == "float32"
    loaded = AutoModelForCausalLM.from_pretrained(candidate.path, dtype="auto").state_dict()
    for name, tensor in weights(candidate.path).items():
        assert tensor.dtype == torch.float32 and loaded[name].equal(tensor)


@pytest.mark.parametrize("tied", [False, True])
def test_a_small_rate_moves_bf16_weights(tied: bool, corpus: Path, tmp_path: Path) -> None:
    """40 steps of 1e-6 are below half a unit in the last place of most weights, each; the masters add them up."""
    import torch

    model = make_model(tmp_path / "model", dtype="bfloat16", tied=tied, hidden=32)
    settings = {"learning_rate": 1e-6, "max_steps": 40, "warmup_steps": 1, "weight_decay": 0.0}
    (candidate,) = run(model, corpus, tmp_path / "out", **settings)
    before, after = weights(model), weights(candidate.path)
    name = "model.embed_tokens.weight"
    assert after[name].dtype == torch.bfloat16
    assert before.keys() == after.keys()
    state = torch.load(tmp_path / "out" / "state.pt", weights_only=True)["weights"][name]
    assert state.dtype == torch.float32
    change = (state - before[name].float()).abs()
    seen = change.amax(dim=1) > 0
    assert seen.sum() > 50
    # Every row that was seen moved by about the sum of the rates; rounding to bf16 at each step would have lost it.
    assert 5e-6 < float(change[seen].amax(dim=1).median()) < 1e-4
    assert not after[name].equal(before[name])


def test_rows_that_no_text_touches_do_not_shrink(corpus: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", vocab=640, hidden=32)
    (candidate,) = run(model, corpus, tmp_path / "out", weight_decay=0.5, learning_rate=0.1)
    name = "model.embed_tokens.weight"
    before, after = weights(model)[name], weights(candidate.path)[name]
    used = set(np.fromfile(tmp_path / "out" / "packed" / "blocks.bin", dtype="<u4").tolist())
    unused = [row for row in range(640) if row not in used]
    assert unused and after[unused].equal(before[unused])
    assert not after[sorted(used)].equal(before[sorted(used)])


def test_candidates_are_whole_models_with_the_same_tokenizer(corpus: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = make_model(tmp_path / "model")
    found = run(model, corpus, tmp_path / "out", evaluate_every=2, max_steps=5)
    assert [one.training_step for one in found] == [2, 4, 5]
    for one in found:
        AutoModelForCausalLM.from_pretrained(one.path)
        assert AutoTokenizer.from_pretrained(one.path).encode("Кошка") == AutoTokenizer.from_pretrained(model).encode(
            "Кошка"
        )
        assert (one.path / "tokenizer.json").read_bytes() == (model / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("moved", [False, True])
def test_an_unfinished_training_goes_on_with_the_same_content_elsewhere(
    moved: bool, corpus: Path, tmp_path: Path
) -> None:
    """Right value: the weights of a run that nothing disturbed (case pretrain_resume_after_touch)."""
    import shutil

    model = make_model(tmp_path / "model", hidden=32)
    (undisturbed,) = run(model, corpus, tmp_path / "whole")
    shutil.copy2(corpus, tmp_path / "texts.txt")
    step = Pretrain(corpus=(str(tmp_path / "texts.txt"),), **SMALL, evaluate_every=3)
    work = step.run(StepContext(tmp_path / "out", say=lambda text: None), Candidate(model))
    assert next(work).training_step == 3
    work.close()
    (tmp_path / "texts.txt").touch()
    here = tmp_path
    if moved:
        here = tmp_path / "elsewhere"
        here.mkdir()
        for name in ("out", "model", "texts.txt"):
            (tmp_path / name).rename(here / name)
    told: list[str] = []
    step = Pretrain(corpus=(str(here / "texts.txt"),), **SMALL, evaluate_every=3)
    found = list(step.run(StepContext(here / "out", say=told.append), Candidate(here / "model")))
    assert "training goes on from step 3" in told
    assert found[-1].training_step == 6
    right = weights(undisturbed.path)
    assert all(tensor.equal(right[name]) for name, tensor in weights(found[-1].path).items())


def test_another_text_is_another_training(corpus: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", hidden=32)
    run(model, corpus, tmp_path / "out")
    other = tmp_path / "other.txt"
    other.write_text(corpus.read_text(encoding="utf-8") * 2, encoding="utf-8")
    with pytest.raises(UserError, match="corpus differ"):
        run(model, other, tmp_path / "out")


def command(model: Path, corpus: Path, output: Path, **settings: Any) -> list[str]:
    return ["tests.training.driver", str(model), str(corpus), str(output), json.dumps({**SMALL, **settings})]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_training_goes_on_to_the_same_losses_and_weights(
    number: signal.Signals, corpus: Path, tmp_path: Path
) -> None:
    model = make_model(tmp_path / "model", hidden=32)
    settings = {"max_steps": 60, "save_every": 7, "evaluate_every": 25, "trained": "full"}
    (*_, whole) = run(model, corpus, tmp_path / "whole", **settings)
    killed = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", *command(model, corpus, killed, **settings)],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and len(read_losses(killed)) < 33:
        time.sleep(0.002)
    process.send_signal(number)
    process.wait()
    assert 33 <= len(read_losses(killed)) < 60, "it was not killed in the middle"
    (*_, last) = run(model, corpus, killed, **settings)
    assert read_losses(killed) == read_losses(tmp_path / "whole")
    ours, theirs = weights(last.path), weights(whole.path)
    assert all(ours[name].equal(tensor) for name, tensor in theirs.items())


def test_two_ranks_train_as_one(corpus: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", hidden=32)
    run(model, corpus, tmp_path / "one")
    # With --cpu accelerate starts one process, whatever --num_processes says; --multi_gpu starts them through torchrun.
    launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--num_machines=1"]
    launcher += ["--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=29622", "--module"]
    done = subprocess.run(
        [sys.executable, *launcher, *command(model, corpus, tmp_path / "two")],
        cwd=ROOT,
        env=environment() | {"ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("candidate 6") == 2, "both ranks yield the candidate"
    ours, theirs = (read_losses(tmp_path / name) for name in ("two", "one"))
    assert [line["loss"] for line in ours] == pytest.approx([line["loss"] for line in theirs], abs=1e-5)
    assert (tmp_path / "two" / "step-000006" / "config.json").is_file()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"block": 4096}, "longer than the model's context"),
        ({"trained": "everything"}, "is not what can be trained"),
        ({"batch_size": 0}, "batch_size must be above 0"),
        ({"max_steps": None, "batch_size": 100_000, "micro_batch": 1}, "does not fill one batch"),
        ({"corpus": ("nowhere.txt",)}, "no such corpus file"),
        ({"corpus": ()}, "no corpus"),
    ],
)
def test_bad_input_is_one_clear_line(
    settings: dict[str, Any], message: str, corpus: Path, tiny_model: Path, tmp_path: Path
) -> None:
    step = Pretrain(**{"corpus": (str(corpus),), **SMALL, **settings})
    with pytest.raises(UserError) as caught:
        list(step.run(StepContext(tmp_path / "out", say=lambda text: None), Candidate(tiny_model)))
    assert message in caught.value.line()


def test_a_folder_of_another_training_is_refused(corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    run(tiny_model, corpus, tmp_path / "out", max_steps=2)
    with pytest.raises(UserError, match="with other settings"):
        run(tiny_model, corpus, tmp_path / "out", max_steps=2, learning_rate=2e-3)


def test_a_loss_that_is_no_number_ends_training_and_keeps_the_last_state(corpus: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", hidden=32)
    with pytest.raises(RunFailed, match="the loss is"):
        run(model, corpus, tmp_path / "out", learning_rate=1e30, save_every=1, trained="full", warmup_steps=1)
    assert (tmp_path / "out" / "state.pt").is_file()


def test_every_tenth_block_is_of_the_second_corpus(corpus: Path, tmp_path: Path) -> None:
    """mixed_share 0.25 of 8 steps x 4 blocks: 8 blocks, evenly spread, each once before any comes again."""
    from lep_plugins.training.packing import PackedCorpus

    other = tmp_path / "english.txt"
    other.write_text("\n\n".join("second " * 40 for _ in range(8)), encoding="utf-8")
    model = make_model(tmp_path / "model", hidden=32)
    seen: list[np.ndarray[Any, Any]] = []
    packs: list[PackedCorpus] = []

    def batches(self: Pretrain, given: Any, seed: int, step: int) -> Any:
        packs[:] = given
        made = original(self, given, seed, step)
        seen.extend(batch["input_ids"].numpy() for batch in made)
        return made

    original = Pretrain.batches
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pretrain, "batches", batches)
        run(model, corpus, tmp_path / "out", mixed=(str(other),), mixed_share=0.25, max_steps=8)
    rows = np.concatenate(seen)
    second = {tuple(row) for row in packs[1].blocks(np.arange(packs[1].count))}
    of_second = [place for place, row in enumerate(rows) if tuple(row) in second]
    assert of_second == list(range(3, 32, 4))
    assert len({tuple(rows[place]) for place in of_second[: packs[1].count]}) == min(8, len(second))
    with pytest.raises(UserError, match="mixed_share must be between 0 and 1"):
        run(model, corpus, tmp_path / "wrong", mixed=(str(other),), mixed_share=1.0)


def test_a_share_of_the_corpus_is_drawn_with_the_seed(corpus: Path) -> None:
    from lep_plugins.vocabulary.corpus import Corpus

    lines = corpus.with_suffix(".jsonl")
    lines.write_text("".join(json.dumps({"text": f"text {number}"}) + "\n" for number in range(1000)))
    drawn = [list(Corpus.of([lines], share=0.2, seed=seed).texts()) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert 150 < len(drawn[0]) < 250 and set(drawn[0]) <= {f"text {number}" for number in range(1000)}
    with pytest.raises(UserError, match="`share` of a corpus"):
        Corpus.of([lines], share=0.0)


def test_new_rows_have_a_rate_of_their_own(corpus: Path, tmp_path: Path) -> None:
    """One AdamW step moves each row by lr x (a function of the gradient alone): k times the rate moves it k times as
    far; without clipping the first step is the same in all else."""
    import torch

    from lep_plugins.training.pretraining import new_rows
    from lep_plugins.vocabulary.steps import VocabExtend

    base = make_model(tmp_path / "base", hidden=32)
    step = VocabExtend((str(corpus),), size=len_of(base) + 40)
    (extended,) = step.run(StepContext(tmp_path / "vocab", say=lambda text: None), Candidate(base))
    moved = []
    for rate in (1.0, 3.0):
        (candidate,) = run(extended.path, corpus, tmp_path / f"out-{rate}", max_steps=1, new_rows_rate=rate,
                           dtype="float32")  # fmt: skip
        name = "model.embed_tokens.weight"
        moved.append(weights(candidate.path)[name].float() - weights(extended.path)[name].float())
    new = torch.zeros(len(moved[0]), dtype=torch.bool)
    new[torch.from_numpy(new_rows(extended.path))] = True
    assert int(new.sum()) >= 40 and moved[0][new].abs().max() > 0
    torch.testing.assert_close(moved[1][~new], moved[0][~new], rtol=0, atol=1e-7)
    torch.testing.assert_close(moved[1][new], 3 * moved[0][new], rtol=1e-4, atol=1e-6)
    with pytest.raises(UserError, match="nothing says which of the model's tokens are new"):
        run(base, corpus, tmp_path / "wrong", new_rows_rate=2.0)


def test_a_larger_epsilon_leaves_rows_alone_that_no_text_names(corpus: Path, tmp_path: Path) -> None:
    """AdamW moves a row by lr x g / (|g| + epsilon): with 1e-8 every row of the head goes the whole way at the first
    step, with an epsilon above the gradients of what was not read (1 / 600 of a token's) only what was read does."""
    model = make_model(tmp_path / "model", hidden=32)
    before = weights(model)["lm_head.weight"].float()
    moved = []
    for epsilon in (1e-8, 1e-2):
        (candidate,) = run(model, corpus, tmp_path / f"out-{epsilon}", max_steps=1, epsilon=epsilon)
        moved.append((weights(candidate.path)["lm_head.weight"].float() - before).abs().mean(1))
    steady, quiet = moved
    assert float(steady.min()) > 0.8e-3, "lr 1e-3"
    assert float(quiet.median()) < 0.1 * float(steady.median()) and float(quiet.max()) > 3 * float(quiet.median())


def len_of(model: Path) -> int:
    return int(json.loads((model / "config.json").read_text())["vocab_size"])
