"""The bundled questions of the 17 tasks and what is answered to them by a rule: read and made without Darumeru, so that
its prompts and numbers have something to be compared with.

The rule, where n is the place of the task in TASKS plus that of the question in its task (both orders of PARus count):

- choice among K labels: where n % 5 is 4 all labels are equally probable; else where n % 3 is 0 label number n % K is
  the most probable one; else the right label is;
- generation: in turn (n % 4) the reference, the reference without its last character, its first half, nothing; what is
  not empty is said after a space;
- log-probabilities: token t of sentence s of document d has -(1 + (5 s + 3 d + t (s + 1)) % 11) / 8.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.shared_data import ROOT

BUNDLED = ROOT / "tasks" / "bundled"
MODEL = ROOT / "demo" / "darumeru-demo"
LETTERS, DIGITS = ("A", "B", "C", "D"), ("1", "2", "3")

# Task -> group, folder, labels (none: not a choice), in the order of the leaderboard.
TASKS: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "darumeru/rummlu": ("DaruMMLU", "RefalMachine/darumeru/rummlu", LETTERS),
    "nlpcoreteam/rummlu": ("DaruMMLU", "RefalMachine/darumeru/mmlu_nlpcoreteam", LETTERS),
    "nlpcoreteam/enmmlu": ("DaruMMLU", "RefalMachine/darumeru/mmlu_nlpcoreteam", LETTERS),
    "darumeru/multiq": ("DaruMERA", "RefalMachine/darumeru/multiq", ()),
    "darumeru/parus": ("DaruMERA", "RefalMachine/darumeru/parus", DIGITS[:2]),
    "darumeru/rcb": ("DaruMERA", "RefalMachine/darumeru/rcb", DIGITS),
    "darumeru/rwsd": ("DaruMERA", "RefalMachine/darumeru/rwsd", ("Да", "Нет")),
    "darumeru/use": ("DaruMERA", "RefalMachine/darumeru/use", ()),
    "darumeru/ruopenbookqa": ("DaruMERA", "RefalMachine/darumeru/ruopenbookqa", LETTERS),
    "darumeru/ruworldtree": ("DaruMERA", "RefalMachine/darumeru/ruworldtree", LETTERS),
    "russiannlp/rucola_custom": ("DaruMERA", "RussianNLP/rucola", ("0", "1")),
    "daru/treewayabstractive": ("DaruSum", "dichspace/daru_treeway_eval", ()),
    "daru/treewayextractive": ("DaruSum", "dichspace/daru_treeway_eval", ()),
    "darumeru/cp_sent_en": ("DaruCopy-EN", "RefalMachine/darumeru/cp_sent_en", ()),
    "darumeru/cp_para_en": ("DaruCopy-EN", "RefalMachine/darumeru/cp_para_en", ()),
    "darumeru/cp_sent_ru": ("DaruCopy-RU", "RefalMachine/darumeru/cp_sent_ru", ()),
    "darumeru/cp_para_ru": ("DaruCopy-RU", "RefalMachine/darumeru/cp_para_ru", ()),
}
EXTRACTIVE = "Наиболее важные предложения статьи: "


@dataclass(frozen=True)
class Said:
    """A question with its answer. holds: what its prompt must hold. record: questions of one record or document share
    it. target: the right label, the reference, or whether the sentence is in the summary. One of the last three is
    set: probabilities of labels, a text with its token ids, log-probabilities of tokens."""

    holds: str
    record: int
    target: str
    meta: Mapping[str, Any]
    probabilities: Mapping[str, float] | None = None
    text: str | None = None
    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] | None = None

    @property
    def label(self) -> str:
        """The most probable label, the first of equal ones."""
        chances = self.probabilities or {}
        return max(chances, key=chances.__getitem__)


@cache
def said(task: str) -> tuple[Said, ...]:
    """All questions of a task in the order of the records, answered by the rule."""
    _, folder, labels = TASKS[task]
    name = "validation" if task.startswith("russiannlp/") else "test"
    lines = (BUNDLED / folder / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")
    records = [json.loads(line) for line in lines if line]
    if task == "daru/treewayextractive":
        return tuple(one for number, record in enumerate(records) for one in _sentences(number, record))
    asked = [(number, *each) for number, record in enumerate(records) for each in _questions(task, record)]
    start = list(TASKS).index(task)
    return tuple(
        Said(holds, record, target, meta, probabilities=_choice(place, labels, target))
        if labels
        else Said(holds, record, target, meta, text=_text(place, target), tokens=tokens(_text(place, target)))
        for place, (record, holds, target, meta) in enumerate(asked, start)
    )


def _questions(task: str, record: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """What the prompt must hold, target, meta; two of them for PARus."""
    if task.startswith("nlpcoreteam/"):
        language = task.split("/")[1][:2]
        choices = "".join(
            f"\n{letter}. {one}" for letter, one in zip(LETTERS, record[f"choices_{language}"], strict=True)
        )
        yield record[f"question_{language}"] + choices, LETTERS[record["answer"]], {"subject": record["subject"]}
    elif task.startswith("russiannlp/"):
        yield record["sentence"], str(record["label"]), {}
    elif task.startswith("daru/"):
        yield " ".join(record["src_sents"]), " ".join(record["summary_sents"]), {}
    else:
        template, inputs, target = record["messages"][0]["content"], record["inputs"], record["outputs"]
        segments = [one["segment"] for one in target] if task == "darumeru/multiq" else []
        yield template.format(**inputs), segments[0] if segments else target, {**record["meta"], "targets": segments}
        if task == "darumeru/parus":
            exchanged = inputs | {"choice1": inputs["choice2"], "choice2": inputs["choice1"]}
            yield template.format(**exchanged), {"1": "2", "2": "1"}[target], {}


def _sentences(number: int, record: Mapping[str, Any]) -> Iterator[Said]:
    for place, sentence in enumerate(record["src_sents"]):
        length = len(tokens(EXTRACTIVE + sentence))
        logprobs = tuple(-(1 + (5 * place + 3 * number + token * (place + 1)) % 11) / 8 for token in range(length))
        target = str(int(place in record["extractive_summary"]))
        yield Said(" ".join(record["src_sents"]), number, target, {}, logprobs=logprobs)


def _choice(place: int, labels: Sequence[str], target: str) -> dict[str, float]:
    picked = labels[place % len(labels)] if place % 3 == 0 else target
    sure = place % 5 != 4
    return {label: 0.2 + 0.1 * (sure and label == picked) for label in labels}


def _text(place: int, reference: str) -> str:
    kept = (len(reference), len(reference) - 1, len(reference) // 2, 0)[place % 4]
    return " " + reference[:kept] if kept else ""


def tokens(text: str) -> tuple[int, ...]:
    """Ids of a text in the demo model's tokenizer, read by the tokenizers library alone."""
    return tuple(_tokenizer(MODEL).encode(text, add_special_tokens=False).ids)


@cache
def _tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json"))
