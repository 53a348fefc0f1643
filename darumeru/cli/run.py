"""`darumeru run`: score a model."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from darumeru.cli.options import command
from darumeru.runs.config import EngineConfig, RunConfig

if TYPE_CHECKING:
    from darumeru.runs.options import RunOptions


def register(app: typer.Typer) -> None:
    command(app, "run", RunConfig, run, "Score a model on the benchmark: all 17 data sets, or those of --tasks.")


def run(
    config: RunConfig,
    export: Annotated[str | None, typer.Option(help='"lm-eval": also write results in lm-eval\'s schema.')] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json on stdout.")] = False,
) -> None:
    from darumeru.cli.progress import make_progress
    from darumeru.core.errors import UserError
    from darumeru.runs import evaluate

    if export not in (None, "lm-eval"):
        raise UserError(f"unknown format `{export}`", "--export", "known: lm-eval")
    progress = make_progress()
    try:
        finished, _ = evaluate.run(old_options(config), progress)
    finally:
        progress.stop()
    _show(finished, as_json)
    if export:
        from darumeru.lm_eval_bridge import export_results

        export_results(finished)
    if finished.results.failed:
        raise typer.Exit(1)


def _show(finished: Any, as_json: bool) -> None:
    from rich.console import Console

    from darumeru.cli.result_table import result_table
    from darumeru.runs.score import RESULTS

    if as_json:
        typer.echo((finished.path / RESULTS).read_text(encoding="utf-8"), nl=False)
        return
    Console().print(result_table(finished.results))
    print(f"stored in {finished.path}", file=sys.stderr)


def old_options(config: Any) -> RunOptions:
    """The options of a run as evaluate.run takes them today, of a RunConfig or WatchConfig."""
    from darumeru.engines.protocol import EngineOptions
    from darumeru.prompts.builder import PromptOptions
    from darumeru.runs.options import RunOptions

    model = config.model if isinstance(config, RunConfig) else ""
    engine = config.engine
    if isinstance(config, RunConfig) and config.is_server and engine == "vllm":
        engine = "openai"
    here: EngineConfig = config
    return RunOptions(
        model=model,
        output=str(config.output or f"runs/{_folder_name(model)}"),
        name=getattr(config, "name", None),
        tasks=config.patterns,
        data=config.data,
        profile=config.profile,
        engine=engine,
        num_fewshot=None if config.num_fewshot == "auto" else config.num_fewshot,
        limit=config.limit,
        subset_seed=config.subset_seed,
        max_length=config.max_length,
        seed=config.seed,
        resamples=config.resamples,
        revision=getattr(config, "revision", None),
        include=tuple(config.include),
        prompts=PromptOptions(config.system_prompt, config.thinking, config.chat_template),
        thinking_tokens=config.thinking_tokens,
        command=tuple(["darumeru", *sys.argv[1:]]),
        engine_options=EngineOptions(
            model=model,
            tokenizer=getattr(config, "tokenizer", None),
            dtype=here.dtype,
            tensor_parallel=here.tensor_parallel,
            pipeline_parallel=here.pipeline_parallel,
            data_parallel=here.data_parallel,
            lora=getattr(config, "lora", None),
            trust_remote_code=here.trust_remote_code,
            batch_size=here.batch_size,
            extra=here.engine_args,
        ),
    )


def _folder_name(model: str) -> str:
    import re

    return re.sub(r"[^\w.-]+", "_", model.rstrip("/").split("//")[-1].rsplit("/", 1)[-1]).strip(".") or "model"
