"""LightningCallback: the benchmark inside a PyTorch Lightning Trainer."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback

from darumeru.core.errors import UserError
from darumeru.core.ranks import on_first
from darumeru.runs.config import config_as
from darumeru.training.config import LiveConfig
from darumeru.training.live_evaluation import LiveEvaluation, find_tokenizer
from darumeru.training.sample_table import TAG, markdown
from darumeru.training.schedule import Clock, Schedule

log = logging.getLogger("darumeru")


class LightningCallback(LiveConfig, Callback):  # type: ignore[misc]
    """Scores the transformers model inside a LightningModule while it is trained; takes the fields of LiveConfig but
    `at_saves` and `early_stopping_patience`, for which Lightning has ModelCheckpoint and EarlyStopping.

    The model is the module's first attribute that is a transformers (or PEFT) model; its tokenizer the module's or the
    data module's attribute `tokenizer`, or the one beside the model. Scores go to all loggers and to
    `trainer.callback_metrics` as darumeru/<name>: `ModelCheckpoint(monitor="darumeru/mean", mode="max")`. output:
    default <default_root_dir>/darumeru. Precision follows the Trainer's. An evaluation that fails is skipped.
    """

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("at_saves", "early_stopping_patience"):
            if getattr(self, name):
                raise UserError(f"{name} is not for Lightning", name, "use its ModelCheckpoint and EarlyStopping")
        self.schedule = Schedule(self.every_steps, False, self.share, self.at_start, self.at_end)
        self.clock = Clock()
        self.evaluation: LiveEvaluation | None = None
        self._step = 0
        self._told = time.monotonic()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Find everything that can be wrong; evaluate the beginning."""
        model = _language_model(pl_module)
        holder = pl_module if hasattr(pl_module, "tokenizer") else trainer.datamodule
        self._tokenizer = find_tokenizer(getattr(holder, "tokenizer", None), model)
        output = self.output or Path(trainer.default_root_dir) / "darumeru"
        self.evaluation = config_as(LiveEvaluation, self, live=self.live, output=output)
        self._step = trainer.global_step
        self.evaluation.prepare(model, self._tokenizer, self._step)
        if self.schedule.at_start and self._step == 0:
            self._evaluate(trainer, pl_module)
        self._told = time.monotonic()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        if trainer.global_step == self._step:
            return  # gradients are still being accumulated
        self._step = trainer.global_step
        now = time.monotonic()
        self.clock.training += now - self._told
        last = self._step >= trainer.estimated_stepping_batches or trainer.should_stop
        due = self.schedule.due(self._step, saving=False, last=last, clock=self.clock)
        if on_first(lambda: due):
            scores = self._evaluate(trainer, pl_module)
            pl_module.log_dict(scores, logger=False, on_step=True, on_epoch=False, rank_zero_only=True)
        self._told = time.monotonic()

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Close the engine."""
        if self.evaluation is not None:
            self.evaluation.close()

    def _evaluate(self, trainer: Any, pl_module: Any) -> dict[str, float]:
        assert self.evaluation is not None
        started = time.monotonic()
        try:
            with trainer.precision_plugin.forward_context():
                scores = self.evaluation.score(_language_model(pl_module), self._tokenizer, self._step)
        except Exception as error:  # whatever it is, training goes on
            log.warning("darumeru: the evaluation at step %d failed and is skipped: %s", self._step, error)
            return {}
        engine = self.evaluation.engine
        starting = engine.starting if engine is not None and self.live.between != "close" else 0.0
        self.clock.evaluated(time.monotonic() - started, starting)
        named = {f"darumeru/{name}": value for name, value in scores.items()}
        for logger in trainer.loggers:
            logger.log_metrics(named, step=self._step)
            if self.evaluation.answers and hasattr(logger.experiment, "add_text"):
                logger.experiment.add_text(TAG, markdown(self.evaluation.answers), self._step)
        return named


def _language_model(module: Any) -> Any:
    """The transformers or PEFT model that a LightningModule holds."""
    from transformers import PreTrainedModel

    for held in module.children():
        inner = getattr(held, "_orig_mod", held)
        if isinstance(inner, PreTrainedModel) or hasattr(inner, "peft_config"):
            return held
    mend = "keep it as an attribute of the module: self.model = AutoModelForCausalLM.from_pretrained(...)"
    raise UserError("no transformers model was found", type(module).__name__, mend)
