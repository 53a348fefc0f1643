"""One run from options to results: validate, plan, ask, store, score."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from darumeru.core.answer import Answer
from darumeru.core.errors import RunFailed, UserError
from darumeru.engines import engine_registry
from darumeru.engines.protocol import Engine, EngineOptions
from darumeru.prompts.builder import PromptBuilder, PromptOptions, load_tokenizer
from darumeru.prompts.server_builder import ServerPromptBuilder
from darumeru.runs import manifest as manifests
from darumeru.runs.execute import Outcome, pending_samples, stream
from darumeru.runs.options import RunOptions, task_patterns
from darumeru.runs.plan import Plan, Planner
from darumeru.runs.progress import Progress, Silent
from darumeru.runs.run import Run, load_run
from darumeru.runs.score import score_run
from darumeru.runs.sources import open_sources, split
from darumeru.runs.store import SampleStore
from darumeru.runs.stored_plan import write_plan
from darumeru.tasks.registry import load_registry

EngineLoader = Callable[[str, EngineOptions], Engine]


@dataclass(frozen=True)
class ModelUnderTest:
    """What is known of a model before it is loaded. record: for the manifest."""

    options: EngineOptions
    builder: PromptBuilder
    context: int | None
    record: dict[str, Any]


def is_server(model: str) -> bool:
    """Whether --model names a server and not a folder or Hub id."""
    return model.startswith(("http://", "https://"))


def find(options: RunOptions) -> ModelUnderTest:
    """Resolve the model's files and tokenizer; UserError for anything that is wrong with them."""
    from darumeru.models.model_files import find_model, fingerprint_folder

    engine = replace(options.engine_options, seed=options.seed)
    if is_server(options.model):
        tokenizer = engine.tokenizer
        files = find_model(tokenizer, trust_remote_code=engine.trust_remote_code, weights=False) if tokenizer else None
        builder = (
            PromptBuilder(load_tokenizer(str(files.path), engine.trust_remote_code), options.prompts)
            if files
            else ServerPromptBuilder(options.prompts)
        )
        record = {
            "name": options.name or engine.extra.get("model", options.model),
            "fingerprint": options.model,
            "tokenizer_fingerprint": files.tokenizer_fingerprint if files else "server",
        }
        options_now = replace(engine, model=options.model, tokenizer=str(files.path) if files else None)
        return ModelUnderTest(options_now, builder, None, record)
    files = find_model(options.model, options.revision, engine.trust_remote_code)
    tokenizer_files = files
    if engine.tokenizer:
        tokenizer_files = find_model(engine.tokenizer, trust_remote_code=engine.trust_remote_code, weights=False)
    tokenizer = load_tokenizer(str(tokenizer_files.path), engine.trust_remote_code)
    record = {
        "name": options.name or files.name,
        "revision": files.revision,
        "fingerprint": files.fingerprint,
        "tokenizer_fingerprint": tokenizer_files.tokenizer_fingerprint,
        "lora_fingerprint": fingerprint_folder(Path(engine.lora)) if engine.lora else None,
    }
    engine = replace(engine, model=str(files.path), tokenizer=str(tokenizer_files.path))
    return ModelUnderTest(engine, PromptBuilder(tokenizer, options.prompts), files.context_length, record)


def identity(model: ModelUnderTest, options: RunOptions) -> str:
    """Hash over all that an answer depends on beside the request itself."""
    engine = options.engine_options
    parts = [
        model.record["fingerprint"],
        model.record["tokenizer_fingerprint"],
        model.record.get("lora_fingerprint"),
        model.builder.template_hash,
        options.engine,
        engine.dtype,
        sorted((str(key), str(value)) for key, value in engine.extra.items()),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def run(
    options: RunOptions, progress: Progress | None = None, load_engine: EngineLoader | None = None
) -> tuple[Run, Outcome]:
    """Do the run of `options` as far as it is not done; returns it with the failures of this time.

    Everything that can be wrong is found before weights are loaded (UserError). RunFailed when the engine dies:
    what was answered is stored and the same call goes on.
    """
    progress = progress or Silent()
    started = time.monotonic()
    own, foreign = split(options.tasks)
    specs = load_registry(options.profile, options.include).select(own)
    sources = open_sources(foreign, options)
    if options.engine not in engine_registry().names():
        engine_registry().get(options.engine)
    folder = _writable(Path(options.output).expanduser())
    progress.phase("looking at the model")
    model = find(options)
    progress.phase("reading data, building prompts")
    planner = Planner(options, model.builder, identity(model, options), model.context)
    plan = planner.plan(specs, sources)
    template = {
        "hash": model.builder.template_hash,
        "chat": model.builder.is_chat,
        "system_prompt": options.prompts.system_prompt,
        "thinking": options.prompts.thinking,
    }
    manifest = manifests.make_manifest(options, plan, model.record, template)
    manifest["num_fewshot_used"] = planner.num_fewshot
    manifests.check_same_run(folder, manifest)
    with SampleStore(folder) as store:
        pending = pending_samples(plan, store)
        if not pending and _finished(folder, manifest):
            return load_run(folder), Outcome({})
        write_plan(folder, plan)
        manifests.write_manifest(folder, manifest)
        outcome = Outcome({})
        if pending:
            loader = load_engine or _load_engine
            outcome = _ask(plan, model, options, pending, store, progress, loader, folder)
        manifest |= {
            "status": "interrupted" if outcome.died else "finished",
            "hardware": manifests.hardware(),
            "finished": manifests.now(),
            "seconds": round(time.monotonic() - started, 3),
        }
        manifests.write_manifest(folder, manifest)
        progress.phase("computing scores")
        score_run(folder, manifest, outcome.failures)
        progress.stop()
    if outcome.died:
        raise RunFailed(f"the engine died: {outcome.died} (finished answers are stored; the same command goes on)")
    return load_run(folder), outcome


def _ask(
    plan: Plan,
    model: ModelUnderTest,
    options: RunOptions,
    pending: Sequence[Any],
    store: SampleStore,
    progress: Progress,
    loader: EngineLoader,
    folder: Path,
) -> Outcome:
    progress.phase(f"loading the model into {options.engine}")
    wanted = replace(model.options, max_model_len=plan.max_length, log_file=str(folder / "engine.log"))
    engine = loader(options.engine, wanted)
    try:
        for limit in getattr(engine, "limits", ()):
            progress.note(limit)
        progress.start(len(plan.planned), len(plan.planned) - len(pending))
        finish = _thinking_remover(model.builder) if options.prompts.thinking else _same
        return stream(engine, pending, store.append, progress, finish)
    finally:
        engine.close()


def _same(answer: Answer) -> Answer:
    return answer


def _thinking_remover(builder: PromptBuilder) -> Callable[[Answer], Answer]:
    """Keeps what a thinking model says after its thoughts; an answer that is still thinking is empty."""

    def remove(answer: Answer) -> Answer:
        if answer.text is None:
            return answer
        text = answer.text.rpartition("</think>")[2] if "</think>" in answer.text else ""
        return replace(answer, text=text, tokens=tuple(builder.tokens(text)))

    return remove


def _load_engine(name: str, options: EngineOptions) -> Engine:
    from darumeru.engines import load_engine

    return load_engine(name, options)


def _finished(folder: Path, manifest: dict[str, Any]) -> bool:
    """Whether the folder already holds the finished results of exactly these tasks and settings."""
    try:
        stored = load_run(folder)
    except UserError:
        return False
    same = ("tasks", "limit", "subset_seed", "seed", "resamples", "data")
    return not stored.results.failed and all(stored.manifest.get(key) == manifest.get(key) for key in same)


def _writable(folder: Path) -> Path:
    """The output folder, made and proven writable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror}", str(folder), "choose another --output") from error
    others = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    if others and not (folder / manifests.MANIFEST).exists() and not (folder / "samples").exists():
        raise UserError("the output folder holds other files", str(folder), "choose an empty or new --output")
    return folder


def evaluate(
    model: str,
    tasks: str | Sequence[str] = "darumeru",
    *,
    output: str | Path,
    name: str | None = None,
    data: str = "hub",
    engine: str = "vllm",
    profile: str = "darumeru",
    num_fewshot: int | None = None,
    limit: int | None = None,
    subset_seed: int | None = None,
    seed: int = 0,
    max_length: int = 4096,
    system_prompt: str | None = None,
    thinking: bool = False,
    dtype: str = "auto",
    trust_remote_code: bool = False,
    engine_args: dict[str, Any] | None = None,
) -> Run:
    """Score a model and return the Run; the same as `darumeru run` (README). Continues what `output` holds.

    Raises UserError for what the caller must mend and RunFailed when the engine dies or a task fails.
    """
    options = RunOptions(
        model=model,
        output=str(output),
        name=name,
        tasks=task_patterns(tasks),
        data=data,
        profile=profile,
        engine="openai" if is_server(model) and engine == "vllm" else engine,
        num_fewshot=num_fewshot,
        limit=limit,
        subset_seed=subset_seed,
        max_length=max_length,
        seed=seed,
        prompts=PromptOptions(system_prompt, thinking),
        engine_options=EngineOptions(
            model=model, dtype=dtype, trust_remote_code=trust_remote_code, extra=engine_args or {}
        ),
    )
    finished, outcome = run(options)
    if outcome.failures:
        raise RunFailed("; ".join(f"{task}: {error}" for task, error in outcome.failures.items()))
    return finished
