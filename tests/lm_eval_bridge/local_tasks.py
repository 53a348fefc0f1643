"""lm-eval tasks of every shape over a few local records; no Hub, no network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

WORDS = ["кошка", "собака", "дождь", "окно", "книга", "закон", "река", "город", "дверь", "хозяин", "вечер", "министр"]

CODE = """
from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean
from lm_eval.api.task import ConfigurableTask
from rouge_score import rouge_scorer


def rouge(doc, results):
    scorer = rouge_scorer.RougeScorer(["rouge1", "rougeL"], tokenizer=Words())
    scores = scorer.score(doc["answer"], results[0])
    said, target = set(results[0].split()), set(doc["answer"].split())
    shared = len(said & target)
    return {"rouge1": scores["rouge1"].fmeasure, "rougeL": scores["rougeL"].fmeasure,
            "word_f1": 2 * shared / max(len(said) + len(target), 1)}


class Words:
    def tokenize(self, text):
        return text.lower().split()


def fails_midway(doc, results):
    if doc["number"] == 3:
        raise KeyError("no such field")
    return {"acc": float(results[0][1])}


class Likelier(ConfigurableTask):
    '''A task in Python: is the answer likelier after its own question than after nothing?'''

    def __init__(self, config):
        super().__init__(config={key: value for key, value in config.items() if key != "class"})

    def construct_requests(self, doc, ctx, **kwargs):
        kwargs.pop("apply_chat_template", None), kwargs.pop("chat_template", None)
        pairs = [(ctx, " " + doc["answer"]), ("", " " + doc["answer"])]
        return [Instance(request_type="loglikelihood", doc=doc, arguments=pair, idx=i, **kwargs)
                for i, pair in enumerate(pairs)]

    def process_results(self, doc, results):
        (with_context, greedy), (alone, _) = results
        return {"likelier": float(with_context > alone), "gain": with_context - alone, "greedy": float(greedy)}

    def aggregation(self):
        return {"likelier": mean, "gain": mean, "greedy": mean}

    def higher_is_better(self):
        return {"likelier": True, "gain": True, "greedy": True}
"""


def records(count: int = 8) -> list[dict[str, Any]]:
    """Questions with four choices, a text, an answer and a sentence in two halves."""
    made = []
    for number in range(count):
        words = [WORDS[(number * 5 + step) % len(WORDS)] for step in range(5)]
        made.append(
            {
                "number": number,
                "question": f"Что было раньше: {words[0]} или {words[1]}?",
                "choices": [" ".join(words[: size + 1]) for size in range(4)],
                "target": number % 4,
                "answer": f"{words[2]} и {words[3]}",
                "start": f"Вчера {words[0]} и {words[4]}",
                "halves": [f"{words[1]} спит,", f"{words[2]} лежит,"],
                "text": " ".join(WORDS[(number + step * 5) % len(WORDS)] for step in range(900 if number == 0 else 20)),
            }
        )
    return made


def mean_of(*metrics: str) -> list[dict[str, Any]]:
    return [{"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in metrics]


LETTERS = "{{question}}\nA. {{choices[0]}}\nB. {{choices[1]}}\nC. {{choices[2]}}\nD. {{choices[3]}}\nОтвет:"
QUESTION: dict[str, Any] = {"doc_to_text": "Вопрос: {{question}}\nОтвет:", "doc_to_target": "target"}

TASKS: dict[str, dict[str, Any]] = {
    "letters": {
        "output_type": "multiple_choice",
        "doc_to_text": LETTERS,
        "doc_to_choice": ["A", "B", "C", "D"],
        "doc_to_target": "target",
        "fewshot_split": "train",
        "num_fewshot": 2,
        "metric_list": [
            *mean_of("acc", "acc_norm", "exact_match"),
            {"metric": "mcc", "aggregation": "matthews_corrcoef", "higher_is_better": True},
            {"metric": "brier_score", "aggregation": "brier_score", "higher_is_better": False},
        ],
    },
    "long_choices": QUESTION
    | {
        "output_type": "multiple_choice",
        "doc_to_choice": "choices",
        "metric_list": mean_of("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match"),
    },
    "halves": {
        "output_type": "multiple_choice",
        "doc_to_text": "{{target % 2}}",
        "doc_to_choice": "halves",
        "doc_to_target": "answer",
        "metric_list": mean_of("acc"),
    },
    "cloze": {
        "output_type": "loglikelihood",
        "doc_to_text": "{{start}}",
        "doc_to_target": " {{answer}}",
        "metric_list": [
            {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
            *mean_of("acc"),
        ],
    },
    "generation": {
        "output_type": "generate_until",
        "doc_to_text": "{{question}}\nОтвет:",
        "doc_to_target": "{{choices[target]}}",
        "fewshot_split": "train",
        "num_fewshot": 1,
        "repeats": 2,
        "generation_kwargs": {"until": ["\n", "и"], "max_gen_toks": 12, "do_sample": False},
        "metric_list": mean_of("exact_match"),
        "filter_list": [
            {"name": "first", "filter": [{"function": "take_first"}]},
            {
                "name": "word",
                "filter": [
                    {"function": "regex", "regex_pattern": r"(\w+)", "group_select": -1},
                    {"function": "majority_vote"},
                    {"function": "take_first"},
                ],
            },
        ],
    },
    "rouge": {
        "output_type": "generate_until",
        "doc_to_text": "{{start}}",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["\n\n"], "max_gen_toks": 16},
        "process_results": "!function local_code.rouge",
        "metric_list": mean_of("rouge1", "rougeL", "word_f1"),
    },
    "rolling": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "metric_list": [
            {"metric": "word_perplexity", "aggregation": "weighted_perplexity", "higher_is_better": False},
            {"metric": "byte_perplexity", "aggregation": "weighted_perplexity", "higher_is_better": False},
            {"metric": "bits_per_byte", "aggregation": "bits_per_byte", "higher_is_better": False},
        ],
    },
    "prefixed": QUESTION
    | {
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": ["A", "B", "C", "D"],
        "gen_prefix": "Ответ:",
        "fewshot_split": "train",
        "num_fewshot": 2,
        "metric_list": mean_of("acc", "acc_norm"),
    },
    "prefixed_generation": {
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{choices[target]}}",
        "gen_prefix": "Думаю, это",
        "generation_kwargs": {"until": ["."], "max_gen_toks": 8},
        "metric_list": mean_of("exact_match"),
    },
    "python_task": {
        "class": "!function local_code.Likelier",
        "output_type": "loglikelihood",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "metric_list": mean_of("acc"),
    },
}
GROUPS: dict[str, dict[str, Any]] = {
    "choices_group": {
        "task": ["letters", "long_choices", "inner_group"],
        "aggregate_metric_list": [{"metric": "acc", "weight_by_size": True}, {"metric": "acc_norm"}],
    },
    "inner_group": {
        "task": ["prefixed"],
        "aggregate_metric_list": [{"metric": "acc", "weight_by_size": False}],
    },
}
SELECTED = ("choices_group", *(name for name in TASKS if name not in ("letters", "long_choices", "prefixed")))


def write_tasks(folder: Path, tasks: Mapping[str, Mapping[str, Any]] = TASKS, count: int = 8) -> Path:
    """A folder of YAML files, their Python code and their data."""
    folder.mkdir(parents=True, exist_ok=True)
    write_lines(folder / "test.jsonl", records(count))
    write_lines(folder / "train.jsonl", records(count + 5)[count:])
    (folder / "local_code.py").write_text(CODE, encoding="utf-8")
    files = {"test": str(folder / "test.jsonl"), "train": str(folder / "train.jsonl")}
    common = {"dataset_path": "json", "dataset_kwargs": {"data_files": files}, "test_split": "test"}
    for name, task in tasks.items():
        write_yaml(folder / f"{name}.yaml", {"task": name, **common, "metadata": {"version": 1.0}, **task})
    for name, group in GROUPS.items():
        if set(group["task"]) <= {*tasks, *GROUPS}:
            write_yaml(folder / f"{name}.yaml", {"group": name, **group})
    return folder


def write_yaml(path: Path, document: Mapping[str, Any]) -> None:
    text = yaml.safe_dump(dict(document), allow_unicode=True, sort_keys=False)
    lines = [
        line.replace("'!function ", "!function ").rstrip("'") if "'!function " in line else line
        for line in text.split("\n")
    ]
    path.write_text("\n".join(lines), encoding="utf-8")


def write_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
