"""`python -m tests.live.tools TOOL MODEL OUTPUT`: a short training by another house's tool, which rewrites what it
imports."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from tests.shared_data import ROOT

TASK = "darumeru/parus"


def axolotl(model: Path, output: Path) -> None:
    """Its plugin manager with the YAML of docs/training.md, as axolotl's trainer builder uses it, around a Trainer of
    transformers."""
    import yaml
    from axolotl.integrations.base import PluginManager
    from axolotl.utils.dict import DictDefault

    from tests.live.training import trainer

    found = re.search(r"```yaml\n(plugins:.*?)```", (ROOT / "docs" / "training.md").read_text("utf-8"), re.DOTALL)
    assert found
    settings = yaml.safe_load(found[1])
    manager = PluginManager.get_instance()
    manager.register(*settings["plugins"])
    assert manager.get_input_args() == ["darumeru.training.axolotl_plugin.DarumeruArgs"]
    smaller = {"tasks": TASK, "every_steps": 2, "limit": 4, "data": "bundled", "at_start": False}
    cfg = DictDefault({"darumeru": {**settings["darumeru"], **smaller, "live": {"dtype": "float32"}}})
    made = trainer(model, output, [], max_steps=2)
    for callback in manager.add_callbacks_post_trainer(cfg, made):
        made.add_callback(callback)
    made.train()


def unsloth(model: Path, output: Path) -> None:
    """LoRA by its model and by trl's SFTTrainer as it patches it."""
    from unsloth import FastLanguageModel  # isort: skip
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from darumeru import DarumeruCallback
    from tests.tiny_models import TEXTS

    network, tokenizer = FastLanguageModel.from_pretrained(str(model), max_seq_length=512, load_in_4bit=False)
    network = FastLanguageModel.get_peft_model(network, r=4, target_modules=["q_proj", "down_proj"])
    callback = DarumeruCallback(TASK, every_steps=2, limit=4, data="bundled", at_start=False)
    arguments = SFTConfig(str(output), max_steps=2, report_to=[], save_strategy="no", dataset_text_field="text")
    data: Any = Dataset.from_list([{"text": text} for text in TEXTS])
    SFTTrainer(network, args=arguments, train_dataset=data, processing_class=tokenizer, callbacks=[callback]).train()


def wandb(model: Path, output: Path) -> None:
    """Two generated answers of each task and evaluation to W&B, which is offline."""
    from darumeru import DarumeruCallback, LiveOptions
    from tests.live.training import trainer

    live = LiveOptions(engine="transformers")
    task = "darumeru/cp_sent_ru"
    callback = DarumeruCallback(task, limit=3, data="bundled", at_start=False, log_samples=2, live=live)
    trainer(model, output, [callback], max_steps=1, report_to=["wandb"]).train()


if __name__ == "__main__":
    {"axolotl": axolotl, "unsloth": unsloth, "wandb": wandb}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
