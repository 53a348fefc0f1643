"""How fast `darumeru run` is beside the engine under it and beside lm-eval, on the same requests.

    python -m benchmarks.run_speed [--model demo/darumeru-demo] [--data bundled] [--limit N] [--json]

Three contestants, each in a process of its own, one after the other: `darumeru run`; vLLM's own LLM.generate on
exactly the requests of that run; lm-eval with its vLLM model on the same questions (same prompts) as lm-eval YAML.
Times are from "engine loaded" to "scores computed and written"; loading the engine, and shutting it down, which the
others leave to the end of the process, are not in them. Ratios are what counts; on a machine with other work those of
the processor's seconds. Generated tokens stand beside them: half-precision logits tie, and a model that says more
takes longer.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CHOICE_TASKS = ("darumeru/rummlu", "darumeru/ruopenbookqa", "darumeru/ruworldtree", "nlpcoreteam/enmmlu")
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
}


def contestant_darumeru(job: dict[str, Any]) -> dict[str, float]:
    """The harness as a user runs it; dumps its requests for the others."""
    from darumeru.engines import load_engine
    from darumeru.engines.protocol import Engine, EngineOptions
    from darumeru.runs import evaluate
    from darumeru.runs.config import RunConfig

    times: dict[str, float] = {}

    def loader(name: str, options: EngineOptions) -> Engine:
        times["planned"] = time.perf_counter()
        engine = load_engine(name, options)
        list(engine.answer(warm_up()))
        times["loaded"] = time.perf_counter()
        answer = engine.answer

        def recorded(requests: Sequence[Any]) -> Any:
            dump = [
                {
                    "task": "",
                    "prompt": list(one.prompt),
                    "text": one.text,
                    "kind": type(one.kind).__name__,
                    **_plain(one.kind),
                }
                for one in requests
            ]
            Path(job["requests"]).write_text(json.dumps(dump), encoding="utf-8")
            times["dumped"] = time.perf_counter()
            times["processor"] = time.process_time()
            return counted(answer(requests))

        def counted(answers: Any) -> Any:
            for index, one in answers:
                times["tokens"] = times.get("tokens", 0) + len(one.tokens or ())
                yield index, one

        def closed(close: Any = engine.close) -> None:
            began = time.perf_counter()
            close()
            times["closing"] = time.perf_counter() - began

        engine.answer = recorded  # type: ignore[method-assign]
        engine.close = closed  # type: ignore[method-assign]
        return engine

    began = time.perf_counter()
    options = RunConfig(
        model=job["model"],
        output=job["output"],
        tasks=tuple(job["tasks"]),
        data=job["data"],
        limit=job["limit"],
        num_fewshot=job["num_fewshot"],
    )
    evaluate.run(options, load_engine=loader)
    ended = time.perf_counter()
    return {
        "planning": times["planned"] - began,
        "loading": times["loaded"] - times["planned"],
        "asking": ended - times["dumped"] - times["closing"],
        "processor": time.process_time() - times["processor"],
        "tokens": times.get("tokens", 0),
    }


def warm_up() -> list[Any]:
    """One request of each kind, so that what compiles once is compiled before the clock starts."""
    from darumeru.engines.request import Generate, MultipleChoice, Request

    prompt = tuple(range(5, 25))
    return [Request(prompt, MultipleChoice(("a", "b"), ((5,), (6,)))), Request(prompt, Generate(2))]


def _plain(kind: Any) -> dict[str, Any]:
    return {key: value for key, value in kind.__dict__.items() if value is not None}


def contestant_generate(job: dict[str, Any]) -> dict[str, float]:
    """vLLM's LLM.generate on the dumped requests, one call a kind (kinds cannot be mixed in one call)."""
    from vllm import LLM, SamplingParams

    requests = json.loads(Path(job["requests"]).read_text(encoding="utf-8"))
    longest = max(
        len(one["prompt"]) + len(one.get("continuation", [])) + one.get("max_new_tokens", 1) for one in requests
    )
    began = time.perf_counter()
    llm = LLM(
        model=job["model"],
        enforce_eager=True,
        max_model_len=max(4096, longest),
        dtype=job["dtype"],
        disable_log_stats=True,
        enable_prefix_caching=True,
    )
    warm = SamplingParams(max_tokens=1, temperature=0, detokenize=False, logprob_token_ids=[5, 6])
    llm.generate([{"prompt_token_ids": list(range(5, 25))}], warm, use_tqdm=False)
    loaded, processor, tokens = time.perf_counter(), time.process_time(), 0
    for kind in ("MultipleChoice", "Generate", "LogLikelihood"):
        mine = [one for one in requests if one["kind"] == kind]
        if not mine:
            continue
        prompts = [{"prompt_token_ids": one["prompt"] + one.get("continuation", [])} for one in mine]
        said = llm.generate(prompts, [_parameters(one, SamplingParams) for one in mine], use_tqdm=False)
        tokens += sum(len(one.outputs[0].token_ids) for one in said) if kind == "Generate" else 0
    asking = time.perf_counter() - loaded
    processor = time.process_time() - processor
    return {"planning": 0.0, "loading": loaded - began, "asking": asking, "processor": processor, "tokens": tokens}


def _parameters(one: dict[str, Any], sampling: Any) -> Any:
    if one["kind"] == "MultipleChoice":
        ids = sorted({i for group in one["token_ids"] for i in group})
        return sampling(max_tokens=1, temperature=0, detokenize=False, logprob_token_ids=ids)
    if one["kind"] == "Generate":
        return sampling(max_tokens=one["max_new_tokens"], temperature=0, stop=list(one.get("stop", [])))
    return sampling(max_tokens=1, temperature=0, prompt_logprobs=0, detokenize=False)


def contestant_lm_eval(job: dict[str, Any]) -> dict[str, float]:
    """lm-eval's simple_evaluate with its own vLLM model; the prompts are the rendered ones of the dump."""
    import importlib.metadata

    import lm_eval
    from lm_eval.tasks import TaskManager
    from vllm.platforms import current_platform

    # lm-eval looks for a distribution named vllm; the CPU build has another name and the same import name. vLLM itself
    # tells its platform by these names, so it must have done so before.
    assert current_platform.device_type
    found = importlib.metadata.version
    importlib.metadata.version = lambda name: found("vllm-cpu") if name == "vllm" else found(name)
    import lm_eval.models.vllm_causallms as vllm_model

    importlib.metadata.version = found

    folder = Path(job["folder"])
    lines = [
        one for one in json.loads(Path(job["requests"]).read_text(encoding="utf-8")) if one["kind"] == "MultipleChoice"
    ]
    with (folder / "questions.jsonl").open("w", encoding="utf-8") as file:
        for one in lines:
            choices = [f" {label}" for label in one["labels"]]
            file.write(json.dumps({"text": one["text"], "choices": choices, "target": 0}, ensure_ascii=False) + "\n")
    (folder / "choice.yaml").write_text(
        "task: bench_choice\ndataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: {folder / 'questions.jsonl'}}}}}\n"
        "test_split: test\noutput_type: multiple_choice\ndoc_to_text: text\n"
        "doc_to_choice: choices\ndoc_to_target: target\n"
        "target_delimiter: ''\nmetric_list:\n  - metric: acc\n",
        encoding="utf-8",
    )
    began = time.perf_counter()
    model = vllm_model.VLLM(
        pretrained=job["model"], enforce_eager=True, max_model_len=4096, dtype=job["dtype"], batch_size="auto"
    )
    loaded, processor = time.perf_counter(), time.process_time()
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    lm_eval.simple_evaluate(model=model, tasks=["bench_choice"], task_manager=manager, bootstrap_iters=0)
    asking = time.perf_counter() - loaded
    return {"planning": 0.0, "loading": loaded - began, "asking": asking, "processor": time.process_time() - processor}


CONTESTANTS = {"darumeru": contestant_darumeru, "generate": contestant_generate, "lm-eval": contestant_lm_eval}


def measured(name: str, job: dict[str, Any], folder: Path) -> dict[str, float]:
    """Run one contestant in a child process; its seconds."""
    job_file, result_file = folder / f"{name}.job.json", folder / f"{name}.result.json"
    job_file.write_text(json.dumps(job))
    command = [sys.executable, "-m", "benchmarks.run_speed", "--contestant", name, str(job_file), str(result_file)]
    with (folder / f"{name}.log").open("wb") as log:
        done = subprocess.run(command, env=os.environ | ENVIRONMENT, stdout=log, stderr=log, check=False)
    if done.returncode:
        sys.exit(f"{name} failed:\n" + (folder / f"{name}.log").read_text(errors="replace")[-2000:])
    result: dict[str, float] = json.loads(result_file.read_text())
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo/darumeru-demo")
    parser.add_argument("--data", default="bundled")
    parser.add_argument("--tasks", default="darumeru", help="of the run that is compared with LLM.generate alone")
    parser.add_argument("--no-choices", action="store_true", help="that run alone, without lm-eval on choice tasks")
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--num-fewshot", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--contestant", nargs=3, metavar=("NAME", "JOB", "RESULT"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.contestant:
        name, job_file, result_file = asked.contestant
        result = CONTESTANTS[name](json.loads(Path(job_file).read_text()))
        Path(result_file).write_text(json.dumps(result))
        return
    report: dict[str, Any] = {}
    suites = [(asked.tasks, asked.tasks.split(","), ("generate",))]
    suites += [] if asked.no_choices else [("choice", list(CHOICE_TASKS), ("generate", "lm-eval"))]
    for label, tasks, others in suites:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            job = {
                "model": str(Path(asked.model).resolve()),
                "dtype": json.loads((Path(asked.model) / "config.json").read_text())["dtype"],
                "data": asked.data,
                "limit": asked.limit,
                "num_fewshot": asked.num_fewshot,
                "tasks": list(tasks),
                "requests": str(folder / "requests.json"),
                "output": str(folder / "run"),
                "folder": str(folder),
            }
            times = {one: measured(one, job, folder) for one in ("darumeru", *others)}
            report[label] = {"requests": len(json.loads((folder / "requests.json").read_text())), "seconds": times}
            report[label]["ratio"] = {one: times[one]["asking"] / times["darumeru"]["asking"] for one in others}
    print(json.dumps(report, indent=2) if asked.json else _table(report))


def _table(report: dict[str, Any]) -> str:
    heads = ("requests", "contestant", "loading, s", "asking, s", "of the processor", "tokens", "times darumeru")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for label, part in report.items():
        for name, seconds in part["seconds"].items():
            figures = [f"{seconds[key]:.1f}" for key in ("loading", "asking", "processor")]
            cells = (f"{label} ({part['requests']})", name, *figures, f"{seconds.get('tokens', 0):,.0f}")
            lines.append(f"| {' | '.join(cells)} | {part['ratio'].get(name, 1.0):.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
