"""Who is asked: a model as far as it is known before it is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from darumeru.core.terminal import one_line
from darumeru.engines.protocol import EngineOptions
from darumeru.prompts.builder import PromptBuilder, PromptOptions, load_tokenizer
from darumeru.prompts.server_builder import ServerPromptBuilder
from darumeru.runs.config import PromptConfig, RunConfig


@dataclass(frozen=True)
class Subject:
    """name: as tables call it. engine: name of the engine that answers for it, with its options. builder: makes its
    prompts. context: its positions, None when they are not known. identity: content of model, tokenizer, adapter (parts
    of RunSpec.answers). revision: of the Hub."""

    name: str
    engine: str
    options: EngineOptions
    builder: PromptBuilder
    context: int | None
    identity: Mapping[str, Any] = field(default_factory=dict)
    revision: str | None = None


def engine_of(config: RunConfig) -> str:
    """Name of the engine: servers take openai by themselves."""
    return "openai" if config.is_server and config.engine == "vllm" else config.engine


def prompt_options(config: PromptConfig, today: date) -> PromptOptions:
    """What the prompt builder has to know."""
    return PromptOptions(config.system_prompt, config.thinking, config.chat_template, today)


def find_subject(config: RunConfig, today: date) -> Subject:
    """Resolve the model's files and tokenizer; UserError for anything that is wrong with them.

    today: what chat templates take for the date.
    """
    engine = EngineOptions(
        model=config.model,
        tokenizer=config.tokenizer,
        dtype=config.dtype,
        tensor_parallel=config.tensor_parallel,
        pipeline_parallel=config.pipeline_parallel,
        data_parallel=config.data_parallel or (0 if config.cluster else 1),
        cluster=config.cluster,
        lora=config.lora,
        trust_remote_code=config.trust_remote_code,
        batch_size=config.batch_size,
        extra=dict(config.engine_args),
    )
    prompts = prompt_options(config, today)
    return (_server if config.is_server else _local)(config, engine, prompts)


def _server(config: RunConfig, engine: EngineOptions, prompts: PromptOptions) -> Subject:
    from darumeru.engines.openai_engine import served_model
    from darumeru.models.model_files import find_model

    files = None
    if config.tokenizer:
        files = find_model(config.tokenizer, trust_remote_code=config.trust_remote_code, weights=False)
    engine = replace(engine, tokenizer=str(files.path) if files else None)
    served = served_model(engine)
    builder = (
        PromptBuilder(load_tokenizer(str(files.path), config.trust_remote_code), prompts)
        if files
        else ServerPromptBuilder(prompts)
    )
    identity = {
        "model": served,
        "tokenizer": files.tokenizer_fingerprint if files else "the server's",
        "adapter": None,
    }
    return Subject(one_line(config.name or str(served["id"])), engine_of(config), engine, builder, None, identity)


def _local(config: RunConfig, engine: EngineOptions, prompts: PromptOptions) -> Subject:
    from darumeru.models.model_files import find_model, fingerprint_folder

    files = find_model(config.model, config.revision, config.trust_remote_code)
    tokenizer_files = files
    if config.tokenizer:
        tokenizer_files = find_model(config.tokenizer, trust_remote_code=config.trust_remote_code, weights=False)
    tokenizer = load_tokenizer(str(tokenizer_files.path), config.trust_remote_code)
    identity = {
        "model": files.fingerprint,
        "tokenizer": tokenizer_files.tokenizer_fingerprint,
        "adapter": fingerprint_folder(Path(config.lora)) if config.lora else None,
    }
    engine = replace(engine, model=str(files.path), tokenizer=str(tokenizer_files.path))
    builder = PromptBuilder(tokenizer, prompts)
    name = one_line(config.name or files.name)
    return Subject(name, engine_of(config), engine, builder, files.context_length, identity, files.revision)


def live_subject(
    name: str, engine: str, tokenizer: Any, context: int | None, config: PromptConfig, today: date
) -> Subject:
    """A model in training: its weights are another at each point, so its identity is that of one training alone."""
    nonce = hashlib.sha256(f"{name} {id(tokenizer)} {today}".encode()).hexdigest()
    identity = {"model": f"in training: {nonce}", "tokenizer": "the trainer's", "adapter": None}
    options = EngineOptions(model=name)
    return Subject(name, engine, options, PromptBuilder(tokenizer, prompt_options(config, today)), context, identity)
