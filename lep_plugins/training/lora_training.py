"""LoRA training on conversations through peft and trl, resumed from the Trainer's own checkpoints after a kill."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from darumeru.core.errors import UserError
from lep_plugins.training.chat_labels import ChatLabeller
from lep_plugins.training.conversations import Conversation
from lep_plugins.training.lora_model import AdaptedParts, Layers, Saved, adapted_model

if TYPE_CHECKING:
    from transformers import TrainerCallback

ADAPTER = "adapter"
Row = dict[str, npt.NDArray[np.int32]]
"""input_ids and labels of one conversation."""
TOO_LONG, REFUSED = "longer than max_length", "not rendered by the chat template"


@dataclass(frozen=True)
class LoraTraining:
    """rank, alpha: of LoRA on every linear layer of attention and MLP. layers: "all" or "first_last". saved: which of
    "embedding" and "head" are trained whole beside it (in a tied model one stands for both). learning_rate with
    `schedule`, warmup_steps, weight_decay, AdamW. max_length: tokens of a conversation; longer ones are left out whole.
    batch_size: conversations of one optimizer step, `micro_batch` at a time. save_every: optimizer steps between
    checkpoints. dtype: of the frozen weights, "auto" = float32 without an accelerator, else bfloat16 (then in
    bfloat16 autocast); what is trained is float32 in any case. UserError: numbers that cannot be meant.
    """

    rank: int
    alpha: float
    layers: Layers
    saved: tuple[Saved, ...]
    learning_rate: float
    weight_decay: float
    max_length: int
    batch_size: int
    micro_batch: int = 1
    epochs: int = 1
    schedule: str = "cosine"
    warmup_steps: int = 0
    save_every: int = 50
    gradient_checkpointing: bool = True
    dtype: str = "auto"

    def __post_init__(self) -> None:
        for name in (
            "rank",
            "alpha",
            "learning_rate",
            "max_length",
            "batch_size",
            "micro_batch",
            "epochs",
            "save_every",
        ):
            if getattr(self, name) <= 0:
                raise UserError(f"{name} must be above 0, not {getattr(self, name)}", "calibration")
        if self.batch_size % self.micro_batch:
            mend = "batch_size is a multiple of micro_batch"
            raise UserError(f"batch_size {self.batch_size}, micro_batch {self.micro_batch}", "calibration", mend)
        if self.layers not in ("all", "first_last") or set(self.saved) - {"embedding", "head"}:
            raise UserError('layers is "all" or "first_last", saved holds "embedding" and "head"', "calibration")
        if self.dtype not in ("auto", "float32", "bfloat16"):
            raise UserError(f"unknown dtype `{self.dtype}`", "calibration", "auto, float32 or bfloat16")

    def train(
        self,
        model_folder: Path,
        conversations: Sequence[Conversation],
        folder: Path,
        seed: int = 0,
        say: Callable[[str], None] = print,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> LoraTrained:
        """Train an adapter in `folder`, from its newest whole checkpoint if there is one; to the same result.

        Conversations keep their order within the seeded shuffling of the Trainer. A finished training is not begun
        again. UserError: no chat template; no conversation fits.
        """
        done = folder / "finished.json"
        if done.is_file():
            return LoraTrained.read(folder)
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(str(model_folder))
        rows, left_out = self.rows(ChatLabeller(tokenizer, str(model_folder)), conversations, say)
        parts = AdaptedParts(self.rank, self.alpha, self.layers, self.saved)
        model = adapted_model(model_folder, parts, self._dtype(), seed)
        for partial in folder.glob("checkpoint-*"):
            if not _whole(partial):
                shutil.rmtree(partial, ignore_errors=True)
        newest = newest_checkpoint(folder)
        trainer = self._trainer(model, tokenizer, rows, folder, seed, [*callbacks, _follower(folder, say)])
        if newest:
            say(f"training goes on from {newest.name}")
        trainer.train(resume_from_checkpoint=str(newest) if newest else None)
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        trained = LoraTrained(folder, int(trainer.state.global_step), tuple(losses), left_out)
        if trainer.is_world_process_zero():
            trainer.accelerator.unwrap_model(trainer.model).save_pretrained(str(folder / ADAPTER))
            trained.write()
            for checkpoint in folder.glob("checkpoint-*"):
                shutil.rmtree(checkpoint)
        trainer.accelerator.wait_for_everyone()
        return trained

    def rows(
        self, labeller: ChatLabeller, conversations: Sequence[Conversation], say: Callable[[str], None] = print
    ) -> tuple[list[Row], Counter[str]]:
        """(input_ids and labels of each conversation that fits, reason -> count of the others)."""
        rows, left_out, endless = [], Counter[str](), 0
        reason: UserError | None = None
        for conversation in conversations:
            try:
                labelled = labeller.labelled(conversation.messages)
            except UserError as error:
                left_out[REFUSED] += 1
                reason = error
                continue
            if len(labelled.ids) > self.max_length:
                left_out[TOO_LONG] += 1
                continue
            endless += not labelled.ends
            rows.append(
                {"input_ids": np.asarray(labelled.ids, np.int32), "labels": np.asarray(labelled.labels, np.int32)}
            )
        if not rows:
            if reason and not left_out[TOO_LONG]:
                raise reason
            told = ", ".join(f"{count} {what}" for what, count in left_out.items()) or "there is none"
            raise UserError(f"no conversation is left to train on: {told}", labeller.where)
        if left_out:
            say(f"left out: {', '.join(f'{count} {what}' for what, count in left_out.items())}")
        if endless:
            say(
                f"warning: the chat template ends {endless} conversations without an end token; no stop is learnt there"
            )
        return rows, left_out

    def _dtype(self) -> str:
        import torch

        if self.dtype != "auto":
            return self.dtype
        return "bfloat16" if torch.accelerator.is_available() else "float32"

    def _arguments(self, folder: Path, seed: int) -> Any:
        import torch
        from accelerate import PartialState
        from trl import SFTConfig

        processes = int(PartialState(cpu=not torch.accelerator.is_available()).num_processes)
        share = self.micro_batch * processes
        if self.batch_size % share:
            what = (
                f"batch_size {self.batch_size} is no multiple of {processes} processes x micro_batch {self.micro_batch}"
            )
            raise UserError(what, "calibration")
        arguments = SFTConfig(
            output_dir=str(folder),
            per_device_train_batch_size=self.micro_batch,
            gradient_accumulation_steps=self.batch_size // share,
            num_train_epochs=self.epochs,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            lr_scheduler_type=self.schedule,
            warmup_steps=self.warmup_steps,
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
            bf16=self._dtype() == "bfloat16",
            gradient_checkpointing=self.gradient_checkpointing,
            use_cpu=not torch.accelerator.is_available(),
            logging_steps=1,
            save_steps=self.save_every,
            save_total_limit=2,
            seed=seed,
            report_to="none",
            disable_tqdm=True,
            log_level="error",
        )
        if arguments.n_gpu > 1:
            arguments._n_gpu = 1  # one process trains on one device; several are for `accelerate launch`
        return arguments

    def _trainer(
        self,
        model: Any,
        tokenizer: Any,
        rows: list[Row],
        folder: Path,
        seed: int,
        callbacks: list[Any],
    ) -> Any:
        from datasets import Dataset
        from transformers import PrinterCallback
        from trl import SFTTrainer

        trainer = SFTTrainer(
            model=model,
            args=self._arguments(folder, seed),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            callbacks=callbacks,
        )
        trainer.remove_callback(PrinterCallback)  # it writes to stdout
        return trainer


@dataclass(frozen=True)
class LoraTrained:
    """folder: holds the adapter. steps: optimizer steps. losses: one a step. left_out: reason -> conversations."""

    folder: Path
    steps: int
    losses: tuple[float, ...]
    left_out: Counter[str]

    @property
    def adapter(self) -> Path:
        return self.folder / ADAPTER

    def epochs(self) -> list[tuple[int, Path]]:
        """(step, adapter folder) of every epoch's end before the last."""
        found = sorted((int(path.name.split("-")[1]), path) for path in self.folder.glob("epoch_end-*"))
        return [(step, path) for step, path in found if step < self.steps]

    def write(self) -> None:
        from darumeru.core.files import to_json, write_atomically

        value = {"schema": 1, "steps": self.steps, "losses": list(self.losses), "left_out": dict(self.left_out)}
        write_atomically(self.folder / "finished.json", to_json(value))

    @classmethod
    def read(cls, folder: Path) -> LoraTrained:
        value = json.loads((folder / "finished.json").read_text(encoding="utf-8"))
        return cls(folder, value["steps"], tuple(value["losses"]), Counter(value["left_out"]))


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end (the Trainer writes trainer_state.json last)."""
    whole = [path for path in folder.glob("checkpoint-*") if _whole(path)]
    return max(whole, key=lambda path: int(path.name.split("-")[1]), default=None)


def _whole(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _follower(folder: Path, say: Callable[[str], None]) -> Any:
    """Tells the loss about twenty times, and saves the adapter alone at the end of every epoch: a candidate each, for
    the disk space of an adapter."""
    from transformers import TrainerCallback

    class Follower(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            told = max(1, state.max_steps // 20)
            if "loss" in (logs or {}) and state.is_world_process_zero and state.global_step % told == 0:
                say(f"training: step {state.global_step} of {state.max_steps}, loss {float(logs['loss']):.4f}")

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            # The kill may have come between the checkpoint at the end of an epoch and what `on_epoch_end` saves.
            if state.global_step and float(state.epoch).is_integer():
                self._save(state, kwargs["model"])

        def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self._save(state, kwargs["model"])

        def _save(self, state: Any, model: Any) -> None:
            kept = folder / f"epoch_end-{state.global_step}"
            if not state.is_world_process_zero or state.global_step >= state.max_steps or kept.is_dir():
                return
            partial = folder / f".{kept.name}"
            model.save_pretrained(str(partial))
            partial.rename(kept)

    return Follower()
