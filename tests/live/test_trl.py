"""trl's trainers as they come, on a live engine: bf16 autocast on float32 weights is their default."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

from darumeru import DarumeruCallback, LiveOptions
from darumeru.leaderboard.curve import read_curve
from tests.live.training import records
from tests.shared_data import ROOT
from tests.tiny_models import TEXTS, make_model

TASK = "darumeru/parus"


def parts(model: Path) -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(model, dtype="float32"), AutoTokenizer.from_pretrained(model)


def sft(model: Path, output: Path, callbacks: list[Any], **settings: Any) -> Any:
    from trl import SFTConfig, SFTTrainer

    network, tokenizer = parts(model)
    data = Dataset.from_list([{"text": text} for text in TEXTS * 2])
    arguments = SFTConfig(str(output), use_cpu=True, disable_tqdm=True, report_to=[], **settings)
    return SFTTrainer(network, args=arguments, train_dataset=data, processing_class=tokenizer, callbacks=callbacks)


def packed(model: Path, output: Path, callbacks: list[Any], **settings: Any) -> Any:
    return sft(model, output, callbacks, packing=True, max_length=64, **settings)


def on_answers_alone(model: Path, output: Path, callbacks: list[Any], **settings: Any) -> Any:
    """assistant_only_loss, which needs a template that marks what the assistant says."""
    from trl import SFTConfig, SFTTrainer

    network, tokenizer = parts(model)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role + ': ' }}{% if m.role == 'assistant' %}{% generation %}{{ m.content + "
        "eos_token }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{{ '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    said = [[("user", text[:20]), ("assistant", text[20:])] for text in TEXTS * 2]
    data = Dataset.from_list([{"messages": [{"role": r, "content": c} for r, c in one]} for one in said])
    arguments = SFTConfig(
        str(output), use_cpu=True, disable_tqdm=True, report_to=[], assistant_only_loss=True, **settings
    )
    return SFTTrainer(network, args=arguments, train_dataset=data, processing_class=tokenizer, callbacks=callbacks)


def plain(model: Path, output: Path, callbacks: list[Any], **settings: Any) -> Any:
    network, tokenizer = parts(model)
    arguments = TrainingArguments(str(output), use_cpu=True, disable_tqdm=True, **settings)
    return Trainer(
        network, arguments, train_dataset=records(tokenizer)[:1] * 24, processing_class=tokenizer, callbacks=callbacks
    )


def dpo(model: Path, output: Path, callbacks: list[Any], **settings: Any) -> Any:
    from trl import DPOConfig, DPOTrainer

    network, tokenizer = parts(model)
    data = Dataset.from_list([{"prompt": t[:20], "chosen": t[20:40], "rejected": t[40:60]} for t in TEXTS])
    arguments = DPOConfig(str(output), use_cpu=True, disable_tqdm=True, report_to=[], **settings)
    return DPOTrainer(network, args=arguments, train_dataset=data, processing_class=tokenizer, callbacks=callbacks)


def kto(model: Path, output: Path, callbacks: list[Any], **settings: Any) -> Any:
    from trl import KTOConfig, KTOTrainer

    network, tokenizer = parts(model)
    data = Dataset.from_list(
        [{"prompt": t[:20], "completion": t[20:], "label": bool(n % 2)} for n, t in enumerate(TEXTS)]
    )
    arguments = KTOConfig(
        str(output), use_cpu=True, disable_tqdm=True, report_to=[], per_device_train_batch_size=2, **settings
    )
    return KTOTrainer(network, args=arguments, train_dataset=data, processing_class=tokenizer, callbacks=callbacks)


def grpo(model: Path, output: Path, callbacks: list[Any], **settings: Any) -> Any:
    from trl import GRPOConfig, GRPOTrainer

    network, tokenizer = parts(model)
    arguments = GRPOConfig(
        str(output), use_cpu=True, disable_tqdm=True, report_to=[], max_completion_length=8, **settings
    )
    return GRPOTrainer(
        network,
        reward_funcs=lambda completions, **_: [float(len(text)) for text in completions],
        args=arguments,
        train_dataset=Dataset.from_list([{"prompt": text[:30]} for text in TEXTS]),
        processing_class=tokenizer,
        callbacks=callbacks,
    )


@pytest.mark.parametrize(("make", "dtype"), [(plain, "float32"), (sft, "bfloat16")], ids=["Trainer", "SFT"])
def test_the_line_of_the_readme(
    make: Callable[..., Any], dtype: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """All 17 tasks on a live engine, without a warning; fewer records of the bundled data, and sooner."""
    found = re.search(r"callbacks=\[DarumeruCallback\((.*?)\)\]", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert found
    options = eval(f"dict({found[1]})")
    callback = DarumeruCallback(**{**options, "every_steps": 2, "limit": 1, "data": "bundled"})
    model = make_model(tmp_path / "model", max_position_embeddings=8192)
    make(model, tmp_path, [callback], max_steps=2, save_strategy="no").train()
    said = [(point.step, point.extra["engine"], point.extra["dtype"]) for point in callback.points]
    assert said == [(0, "vllm", dtype), (2, "vllm", dtype)]
    assert callback.points[1].scores["micro_avg"].value is not None
    assert not [one for one in caplog.records if one.name == "darumeru" and one.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("make", "dtype"),
    [(one, "bfloat16") for one in (packed, on_answers_alone, dpo, kto, grpo)],
    ids=["packing", "assistant-only", "DPO", "KTO", "GRPO"],
)
def test_defaults_are_scored_on_a_live_engine_without_a_warning(
    make: Callable[..., Any], dtype: str, tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    callback = DarumeruCallback(tasks=TASK, every_steps=2, limit=4, data="bundled", at_start=False)
    made = make(tiny_model, tmp_path, [callback], max_steps=2, save_strategy="no")
    made.train()
    points = read_curve(tmp_path / "darumeru" / "curve.jsonl")
    assert [(point.step, point.extra["engine"], point.extra["dtype"]) for point in points] == [(2, "vllm", dtype)]
    assert not [one for one in caplog.records if one.name == "darumeru" and one.levelno >= logging.WARNING]


def test_what_trl_gathers_for_its_log_stays_its_own(tiny_model: Path, tmp_path: Path) -> None:
    """The same run with and without the callback gives the same train/* numbers at the same steps."""
    live = LiveOptions(engine="transformers")
    callback = DarumeruCallback(TASK, every_steps=3, limit=2, data="bundled", live=live)
    settings = {"max_steps": 6, "logging_steps": 2, "per_device_train_batch_size": 2, "save_strategy": "no"}
    with_callback = sft(tiny_model, tmp_path / "with", [callback], **settings)
    without = sft(tiny_model, tmp_path / "without", [], **settings)
    logs = []
    for made in (with_callback, without):
        made.train()
        logs.append([
            {name: value for name, value in entry.items() if "runtime" not in name and "per_second" not in name}
            for entry in made.state.log_history
            if "eval_darumeru/mean" not in entry
        ])  # fmt: skip
    assert logs[0] == logs[1]
    assert {"entropy", "num_tokens", "mean_token_accuracy"} <= logs[1][0].keys()
    ours = [entry for entry in with_callback.state.log_history if "eval_darumeru/mean" in entry]
    assert len(ours) == 3 and not any({"entropy", "num_tokens"} & entry.keys() for entry in ours)
    tokens = {entry["step"]: entry["num_tokens"] for entry in logs[1] if "num_tokens" in entry}
    assert callback.points[-1].step == 6 and callback.points[-1].extra["tokens"] == tokens[6]


def test_a_trainer_with_its_own_vllm_is_told_why_another_one_starts(
    tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    live = LiveOptions(engine="transformers")
    callback = DarumeruCallback(TASK, limit=2, data="bundled", at_start=False, live=live)
    made = plain(tiny_model, tmp_path, [callback], max_steps=1, save_strategy="no")
    made.use_vllm = True
    made.train()
    assert "own vLLM is left to it, and a second engine starts" in caplog.text
