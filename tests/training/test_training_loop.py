"""The loop under the steps: losses of learnt tokens alone, SIGTERM, losses that are no number, uneven shares."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from darumeru.core.errors import RunFailed, UserError
from darumeru.models.model_folder import load_model
from lep_plugins.training.delayed_stop import DelayedStop
from lep_plugins.training.packing import pack
from lep_plugins.training.training_loop import (
    STATE,
    Batch,
    LoopSettings,
    TrainingLoop,
    learnt_loss,
    read_losses,
)
from tests.tiny_models import EOS, make_tokenizer

SETTINGS = LoopSettings(10, 1e-3, 1, 0.0, 0.0, save_every=4)


def batches(step: int) -> list[Batch]:
    ids = torch.randint(4, 600, (2, 20), generator=torch.Generator().manual_seed(step))
    return [{"input_ids": ids, "labels": ids}]


def loop(model: Path, folder: Path, **changes: Any) -> TrainingLoop:
    given = {"batches": batches, "settings": SETTINGS, "folder": folder, "job": {"rate": 1}, "say": lambda text: None}
    return TrainingLoop(load_model(model).requires_grad_(True), **{**given, **changes})


def test_logits_of_learnt_tokens_alone_give_the_loss_of_all(tiny_model: Path) -> None:
    model = load_model(tiny_model)
    ids = torch.randint(4, 600, (3, 20), generator=torch.Generator().manual_seed(0))
    labels = ids.clone()
    labels[:, ::3] = -100
    labels[2] = -100
    loss = learnt_loss(model, {"input_ids": ids, "labels": labels})
    torch.testing.assert_close(loss / int((labels[:, 1:] != -100).sum()), model(input_ids=ids, labels=labels).loss)
    assert model(input_ids=ids).logits.shape == (3, 20, 600), "the hook is gone"


def test_on_step_sees_every_step_and_may_leave_the_model_in_evaluation_mode(tiny_model: Path, tmp_path: Path) -> None:
    seen = []

    def look(step: int, model: Any) -> None:
        seen.append((step, model.training))
        model.eval()

    list(loop(tiny_model, tmp_path, on_step=look).run())
    assert seen == [(step, True) for step in range(1, 11)]


def test_a_loss_that_is_no_number_moves_nothing(tiny_model: Path, tmp_path: Path) -> None:
    def spoil(step: int, model: Any) -> None:
        if step == 6:
            model.lm_head.weight.data[0] = float("nan")

    with pytest.raises(RunFailed, match="step 7: the loss is nan"):
        list(loop(tiny_model, tmp_path, on_step=spoil).run())
    state = torch.load(tmp_path / STATE, weights_only=True)
    assert state["step"] == 4 and all(bool(one.isfinite().all()) for one in state["weights"].values())
    assert [line["step"] for line in read_losses(tmp_path)] == [1, 2, 3, 4, 5, 6]
    again = loop(tiny_model, tmp_path)
    assert list(again.run()) == [10]
    assert [line["step"] for line in read_losses(tmp_path)] == list(range(1, 11))


def test_sigterm_during_a_step_is_raised_when_its_state_is_on_disk(tiny_model: Path, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(number: int, frame: Any) -> None:
        raise Stopped

    def asking(step: int) -> list[Batch]:
        if step == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return batches(step)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(Stopped):
            list(loop(tiny_model, tmp_path, batches=asking).run())
        assert signal.getsignal(signal.SIGTERM) is stop
    finally:
        signal.signal(signal.SIGTERM, before)
    assert torch.load(tmp_path / STATE, weights_only=True)["step"] == 6
    whole = list(loop(tiny_model, tmp_path / "whole").run())
    assert list(loop(tiny_model, tmp_path).run()) == whole == [10]
    assert read_losses(tmp_path) == read_losses(tmp_path / "whole")


def test_a_stop_asked_for_twice_is_raised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with DelayedStop() as stop:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            assert stop.asked and not heard
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_torn_last_line_of_losses_is_dropped(tiny_model: Path, tmp_path: Path) -> None:
    list(loop(tiny_model, tmp_path).run())
    with (tmp_path / "losses.jsonl").open("a") as file:
        file.write('{"step": 11, "lo')
    loop(tiny_model, tmp_path)
    lines = (tmp_path / "losses.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 11))


def test_the_setting_that_differs_is_named(tiny_model: Path, tmp_path: Path) -> None:
    list(loop(tiny_model, tmp_path).run())
    with pytest.raises(UserError, match=r"with other settings \(rate differ\)"):
        loop(tiny_model, tmp_path, job={"rate": 2})


def test_a_token_that_both_opens_and_closes_stands_once_between_documents(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()

    class OneToken:
        bos_token_id = eos_token_id = tokenizer.convert_tokens_to_ids(EOS)

        def __call__(self, *given: Any, **named: Any) -> Any:
            return tokenizer(*given, **named)

    made = pack(lambda: ["кот", "пёс и кот", "да"] * 20, OneToken(), 24, tmp_path, "key", lambda text: None)
    ids = made.blocks(np.arange(made.count))
    positions, ends = made.positions(ids), ids == OneToken.eos_token_id
    assert ends.any() and not (ends[:, 1:] & ends[:, :-1]).any()
    # The end belongs to the document before it, so that it is learnt.
    assert (positions[:, 1:][ends[:, 1:]] > 0).all() and (positions[:, 1:][ends[:, :-1]] == 0).all()
