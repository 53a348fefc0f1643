"""One training loop for plain text and conversations: float32 masters, whole-state checkpoints, the same curve after a
kill."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from darumeru.core.errors import RunFailed, UserError
from darumeru.core.files import write_atomically
from lep_plugins.training.delayed_stop import DelayedStop
from lep_plugins.training.trained_parameters import Masters

STATE, LOSSES = "state.pt", "losses.jsonl"
IGNORED = -100
Batch = Mapping[str, torch.Tensor]
"""input_ids [n, L], labels [n, L] (-100: not learnt), and position_ids or attention_mask [n, L]."""


@dataclass(frozen=True)
class LoopSettings:
    """steps: optimizer steps in all. learning_rate: after `warmup` steps, then a cosine down to `final_share` of it.
    decay of matrices, embedding_decay of embeddings. betas, epsilon: of AdamW. clip: norm of all gradients. save_every:
    steps between whole states, evaluate_every: between candidates (the last step is always one)."""

    steps: int
    learning_rate: float
    warmup: int
    decay: float
    embedding_decay: float
    betas: tuple[float, float] = (0.9, 0.95)
    epsilon: float = 1e-8
    clip: float = 1.0
    final_share: float = 0.0
    save_every: int = 100
    evaluate_every: int | None = None

    def rate(self, step: int) -> float:
        """Learning rate of the step with this number, from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        part = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * (self.final_share + (1 - self.final_share) * 0.5 * (1 + math.cos(math.pi * part)))

    def evaluates(self, step: int) -> bool:
        """Whether a candidate is due after so many steps."""
        return step == self.steps or bool(step and self.evaluate_every and step % self.evaluate_every == 0)


@dataclass(frozen=True)
class Objective:
    """What a training minimizes. loss: of a model and a micro-batch, summed over its parts; parts: how many it has."""

    loss: Callable[[Any, Batch], torch.Tensor]
    parts: Callable[[Batch], int]


class TrainingLoop:
    """Trains `model` with what `batches(step)` gives: the micro-batches of the whole step; each rank takes its share.

    folder: state.pt (masters, optimizer, random state) and losses.jsonl (one line a step). job: what the training
    depends on; a folder of another job is refused. on_step: called with the steps done and the model after each step.
    row_rates: id of a parameter -> what its rows' updates are multiplied with [rows, 1], as if each row had a learning
    rate of its own.
    objective: what is minimized, by default the cross-entropy. The loss is the mean over all its parts (learnt tokens)
    of a step. Ranks add their gradients once a step, in float32.
    """

    def __init__(
        self,
        model: Any,
        batches: Callable[[int], Sequence[Batch]],
        settings: LoopSettings,
        folder: Path,
        job: Mapping[str, Any],
        say: Callable[[str], None] = print,
        on_step: Callable[[int, Any], None] | None = None,
        row_rates: Mapping[int, torch.Tensor] | None = None,
        objective: Objective | None = None,
    ) -> None:
        from accelerate import Accelerator

        self.batches, self.settings, self.folder = batches, settings, folder
        self.say, self.on_step, self.objective = say, on_step, objective or Objective(learnt_loss, learnt_tokens)
        self.job = json.loads(json.dumps(dict(job), default=str))
        self.accelerator = Accelerator(cpu=not torch.accelerator.is_available())
        self.model = model.to(self.accelerator.device)
        self.masters = Masters(model)
        self.row_rates = {
            self.masters.masters[name]: row_rates[id(parameter)]
            for name, parameter in self.masters.parameters.items()
            if row_rates and id(parameter) in row_rates
        }
        groups = self.masters.groups(model, settings.decay, settings.embedding_decay)
        fused = all(one.device.type in ("cpu", "cuda") for one in self.masters.masters.values())
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, betas=settings.betas, eps=settings.epsilon, fused=fused)
        self.step = 0
        self._restore()

    def run(self) -> Iterator[int]:
        """Train from where the folder stands; yield the number of steps done whenever a candidate is due.

        RunFailed: a loss or a gradient that is no number; the last whole state stays. A SIGTERM during a step is
        answered after it, when the whole state is on disk.
        """
        self.model.train()
        if self.settings.evaluates(self.step):
            yield self.step
            self.model.train()
        while self.step < self.settings.steps:
            with DelayedStop() as stop:
                loss = self._step()
                self.step += 1
                self._log(loss)
                due = self.settings.evaluates(self.step)
                if due or self.step % self.settings.save_every == 0 or self._anywhere(stop.asked):
                    self._save()
            if self.on_step is not None:
                self.on_step(self.step, self.model)
            if due:
                yield self.step
            self.model.train()

    def _step(self) -> float:
        batches = self.batches(self.step)
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        parts = sum(self.objective.parts(batch) for batch in batches)
        total = torch.zeros((), dtype=torch.float64)
        for batch in batches[rank::world]:
            loss = self.objective.loss(self.model, batch) / max(1, parts)
            self.accelerator.backward(loss)
            self.masters.take_gradients()
            total += loss.detach().double().cpu()
        if world > 1:
            self._add_gradients()
            total = self.accelerator.reduce(total.to(self.accelerator.device), "sum")
        norm = torch.nn.utils.clip_grad_norm_(list(self.masters.masters.values()), self.settings.clip, foreach=True)
        if not math.isfinite(float(total)) or not math.isfinite(float(norm)):
            what = f"step {self.step + 1}: the loss is {float(total)}, the gradient's norm {float(norm)}"
            raise RunFailed(f"{what}; a lower learning rate may mend that")
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate(self.step)
        before = {master: master.detach().clone() for master in self.row_rates}
        self.optimizer.step()
        with torch.no_grad():
            for master, rates in self.row_rates.items():
                master.copy_(torch.lerp(before[master], master, rates))
        self.optimizer.zero_grad(set_to_none=True)
        self.masters.publish()
        return float(total)

    def _add_gradients(self) -> None:
        """Sum the masters' gradients over all ranks; a rank that had no micro-batch adds zeros."""
        for master in self.masters.masters.values():
            mine = torch.zeros_like(master) if master.grad is None else master.grad
            master.grad = self.accelerator.reduce(mine, "sum")

    def _anywhere(self, here: bool) -> bool:
        """Whether it holds on any rank."""
        if self.accelerator.num_processes == 1:
            return here
        flag = torch.tensor(float(here), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum") > 0)

    # What survives a kill

    def _log(self, loss: float) -> None:
        if not self.accelerator.is_main_process:
            return
        line = {"step": self.step, "loss": loss, "learning_rate": self.settings.rate(self.step - 1)}
        with (self.folder / LOSSES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self.step % max(1, self.settings.steps // 20) == 0:
            self.say(f"step {self.step} of {self.settings.steps}, loss {loss:.4f}")

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            state = {
                "job": self.job,
                "step": self.step,
                "weights": self.masters.state(),
                "optimizer": self.optimizer.state_dict(),
                "random": torch.get_rng_state(),
            }
            partial = self.folder / f".{STATE}.partial"
            with partial.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.folder / STATE)
        self.accelerator.wait_for_everyone()

    def _restore(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / STATE
        if not path.is_file():
            (self.folder / LOSSES).unlink(missing_ok=True)
            return
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["job"] != self.job:
            changed = sorted(
                name for name in {*state["job"], *self.job} if state["job"].get(name) != self.job.get(name)
            )
            what = f"holds a training with other settings ({', '.join(changed)} differ)"
            raise UserError(what, str(self.folder), "give another output folder")
        self.masters.load(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        self.step = int(state["step"])
        if self.accelerator.is_main_process:
            kept = [line for line in read_losses(self.folder) if line["step"] <= self.step]
            write_atomically(self.folder / LOSSES, "".join(json.dumps(line) + "\n" for line in kept))
        if self.step < self.settings.steps:
            self.say(f"training goes on from step {self.step}")


def read_losses(folder: Path) -> list[dict[str, Any]]:
    """The lines of losses.jsonl: step, loss, learning_rate; a torn last line is dropped."""
    path = folder / LOSSES
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def learnt_tokens(batch: Batch) -> int:
    """Tokens of a micro-batch that are to be guessed."""
    return int((batch["labels"][:, 1:] != IGNORED).sum())


def learnt_loss(model: Any, batch: Batch) -> torch.Tensor:
    """Cross-entropy summed over the learnt tokens of a micro-batch; logits are computed of these alone."""
    placed = {name: tensor.to(model.device) for name, tensor in batch.items()}
    after = placed.pop("labels")[:, 1:]
    learnt = torch.nn.functional.pad(after != IGNORED, (0, 1))

    def choose(head: torch.nn.Module, values: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (values[0][learnt],)

    hook = model.get_output_embeddings().register_forward_pre_hook(choose)
    try:
        logits = model(**placed, use_cache=False).logits
    finally:
        hook.remove()
    return torch.nn.functional.cross_entropy(logits.float(), after[after != IGNORED], reduction="sum")
