"""A short real training of a tiny model; also a program, for tests that kill it or start it in two processes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.tiny_models import TEXTS

TASKS = "darumeru/parus,darumeru/rcb,darumeru/cp_sent_ru"


def records(tokenizer: Any) -> list[dict[str, list[int]]]:
    """Training data: 40 texts of at most 24 tokens."""
    made = [tokenizer(text)["input_ids"][:24] for text in TEXTS * 4]
    return [{"input_ids": ids, "labels": ids} for ids in made]


def trainer(model: Path, output: Path, callbacks: list[Any], **settings: Any) -> Any:
    """A transformers Trainer of 12 steps, dropout on, so that a changed random state shows in the losses."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(model, attention_dropout=0.1)
    network = AutoModelForCausalLM.from_pretrained(model, config=config, attn_implementation="eager")
    tokenizer = AutoTokenizer.from_pretrained(model)
    settings = {"max_steps": 12, "save_strategy": "no", "learning_rate": 1e-3, "report_to": [], **settings}
    arguments = TrainingArguments(
        str(output),
        per_device_train_batch_size=1,
        logging_steps=1,
        use_cpu=True,
        disable_tqdm=True,
        **settings,
    )
    data = records(tokenizer)
    return Trainer(
        network,
        arguments,
        train_dataset=data,
        eval_dataset=data[:2] if "eval_strategy" in settings else None,
        processing_class=tokenizer,
        callbacks=callbacks,
    )


def losses(trainer: Any) -> list[float]:
    """The logged training losses."""
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def main() -> None:
    """MODEL OUTPUT [SETTINGS as JSON]: train with the callback, saving every 3 steps, resuming what OUTPUT holds;
    write the losses to OUTPUT/losses.json."""
    from darumeru import DarumeruCallback, LiveOptions

    model, output = Path(sys.argv[1]), Path(sys.argv[2])
    settings = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    callback = DarumeruCallback(TASKS, every_steps=2, limit=6, data="bundled", live=LiveOptions(**settings))
    made = trainer(model, output, [callback], save_strategy="steps", save_steps=3, learning_rate=0.01)
    state = made.accelerator.state
    output.mkdir(parents=True, exist_ok=True)
    (output / f"rank-{state.process_index}-of-{state.num_processes}").touch()
    made.train(resume_from_checkpoint=True if list(output.glob("checkpoint-*")) else None)
    if made.is_world_process_zero():
        (output / "losses.json").write_text(json.dumps(losses(made)))


if __name__ == "__main__":
    main()
