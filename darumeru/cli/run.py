"""`darumeru run`: score a model."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

PROMPTS, ENGINE = "Prompts", "Model and engine"


def register(app: typer.Typer) -> None:
    app.command(help="Score a model on the benchmark: all 17 data sets, or those of --tasks.")(run)


def run(
    model: Annotated[
        str, typer.Option(help="Model folder, Hub id, or address of an OpenAI-compatible server (http://host:8000/v1).")
    ],
    output: Annotated[
        str | None,
        typer.Option(help="Run folder; the same command on it goes on where it stopped. Default: runs/<model>."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="As tables call the model. Default: the folder's name or Hub id.")
    ] = None,
    tasks: Annotated[
        str, typer.Option(help="Tasks, groups or globs, separated by commas; `darumeru tasks list` shows them.")
    ] = "darumeru",
    data: Annotated[
        str,
        typer.Option(help='"hub", "bundled" (small, offline) or a folder in the layout that `darumeru fetch` writes.'),
    ] = "hub",
    engine: Annotated[
        str,
        typer.Option(rich_help_panel=ENGINE, help="vllm, transformers or openai; servers take openai by themselves."),
    ] = "vllm",
    profile: Annotated[
        str, typer.Option(rich_help_panel=PROMPTS, help="darumeru, paper, llmtf-2024 or llmtf-head.")
    ] = "darumeru",
    num_fewshot: Annotated[
        str,
        typer.Option(
            rich_help_panel=PROMPTS, help="Examples before each question; auto = 5 without a chat template, 0 with one."
        ),
    ] = "auto",
    limit: Annotated[int | None, typer.Option(min=1, help="Only this many records a task; results say so.")] = None,
    max_length: Annotated[
        int, typer.Option(rich_help_panel=PROMPTS, min=16, help="Tokens of prompt and answer together.")
    ] = 4096,
    seed: Annotated[int, typer.Option(rich_help_panel=ENGINE, help="Of the bootstrap and the engine.")] = 0,
    system_prompt: Annotated[
        str | None, typer.Option(rich_help_panel=PROMPTS, help="Put before every conversation. Default: none.")
    ] = None,
    thinking: Annotated[
        bool,
        typer.Option(
            "--thinking/--no-thinking", rich_help_panel=PROMPTS, help="Let a thinking model think in generation tasks."
        ),
    ] = False,
    thinking_tokens: Annotated[
        int, typer.Option(rich_help_panel=PROMPTS, min=1, help="Token budget of its thoughts.")
    ] = 2048,
    chat_template: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=PROMPTS, help='A Jinja file instead of the model\'s own, or "none" for the plain format.'
        ),
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(rich_help_panel=ENGINE, help="Tokenizer folder or Hub id; default the model's.")
    ] = None,
    revision: Annotated[str | None, typer.Option(rich_help_panel=ENGINE, help="Hub revision of the model.")] = None,
    lora: Annotated[str | None, typer.Option(rich_help_panel=ENGINE, help="PEFT LoRA adapter folder.")] = None,
    dtype: Annotated[str, typer.Option(rich_help_panel=ENGINE, help="auto, float32, bfloat16 or float16.")] = "auto",
    tensor_parallel: Annotated[
        int, typer.Option(rich_help_panel=ENGINE, min=1, help="GPUs that share each layer.")
    ] = 1,
    pipeline_parallel: Annotated[
        int, typer.Option(rich_help_panel=ENGINE, min=1, help="GPUs (or nodes) that share the stack of layers.")
    ] = 1,
    data_parallel: Annotated[int, typer.Option(rich_help_panel=ENGINE, min=1, help="Replicas of the model.")] = 1,
    batch_size: Annotated[
        int | None,
        typer.Option(rich_help_panel=ENGINE, min=1, help="Sequences at once; default: as the engine decides."),
    ] = None,
    engine_args: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=ENGINE, help="More arguments of the engine, as JSON: '{\"gpu_memory_utilization\": 0.8}'."
        ),
    ] = None,
    trust_remote_code: Annotated[
        bool,
        typer.Option(
            "--trust-remote-code", rich_help_panel=ENGINE, help="Run code that comes with the model. Off by default."
        ),
    ] = False,
    include: Annotated[
        list[str] | None, typer.Option(help="A YAML file or folder with more tasks; may be repeated.")
    ] = None,
    export: Annotated[str | None, typer.Option(help='"lm-eval": also write results in lm-eval\'s schema.')] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json on stdout.")] = False,
) -> None:
    from darumeru.cli.arguments import engine_arguments, shots
    from darumeru.cli.progress import make_progress
    from darumeru.core.errors import UserError
    from darumeru.engines.protocol import EngineOptions
    from darumeru.prompts.builder import PromptOptions
    from darumeru.runs import evaluate
    from darumeru.runs.options import RunOptions, task_patterns

    if export not in (None, "lm-eval"):
        raise UserError(f"unknown format `{export}`", "--export", "known: lm-eval")
    if evaluate.is_server(model) and engine == "vllm":
        engine = "openai"
    options = RunOptions(
        model=model,
        output=output or f"runs/{_folder_name(model)}",
        name=name,
        tasks=task_patterns(tasks),
        data=data,
        profile=profile,
        engine=engine,
        num_fewshot=shots(num_fewshot),
        limit=limit,
        max_length=max_length,
        seed=seed,
        revision=revision,
        include=tuple(include or ()),
        prompts=PromptOptions(system_prompt, thinking, chat_template),
        thinking_tokens=thinking_tokens,
        command=tuple(["darumeru", *sys.argv[1:]]),
        engine_options=EngineOptions(
            model=model,
            tokenizer=tokenizer,
            dtype=dtype,
            tensor_parallel=tensor_parallel,
            pipeline_parallel=pipeline_parallel,
            data_parallel=data_parallel,
            lora=lora,
            trust_remote_code=trust_remote_code,
            batch_size=batch_size,
            extra=engine_arguments(engine_args),
        ),
    )
    progress = make_progress()
    try:
        finished, _ = evaluate.run(options, progress)
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


def _folder_name(model: str) -> str:
    import re

    return re.sub(r"[^\w.-]+", "_", model.rstrip("/").split("//")[-1].rsplit("/", 1)[-1]).strip(".") or "model"
