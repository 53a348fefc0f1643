"""Darumeru's tasks as tasks of stock lm-eval: the one class that every YAML file in tasks/lm_eval points at."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.task import Task, TaskConfig

from darumeru.core.errors import UserError
from darumeru.core.row import SampleRow
from darumeru.lm_eval_bridge.spoken import lines, row
from darumeru.metrics import metric as metric_named
from darumeru.prompts.chat_template import ChatTemplate
from darumeru.prompts.plain import FORMATS
from darumeru.tasks.formats import sample_maker
from darumeru.tasks.profiles import profile_named
from darumeru.tasks.questions import questions_of
from darumeru.tasks.records import Split, load_split
from darumeru.tasks.registry import load_registry
from darumeru.tasks.sample import Sample
from darumeru.tasks.spec import RecordSource, TaskSpec
from darumeru.tasks.subset import limited

SCORE = "score"
COMMANDS = ("lm_eval", "lm-eval")
MEND = (
    """use --metadata '{"data": "bundled"}', or `darumeru fetch --data-dir DIR` on a machine with network and """
    """--metadata '{"data": "DIR"}'"""
)


class Value(float):
    """A metric's value on one record, for reading, with the answered samples that the data set's score is made of."""

    rows: tuple[SampleRow, ...] = ()

    @classmethod
    def of(cls, value: float, rows: Sequence[SampleRow]) -> Value:
        made = cls(value)
        made.rows = tuple(rows)
        return made


@dataclass(frozen=True)
class DataSetScore:
    """lm-eval's aggregation of `Value`s: the unweighted mean of metrics, each over all samples at once."""

    metrics: tuple[str, ...]

    def __call__(self, values: Sequence[Value]) -> float:
        rows = [one for value in values for one in value.rows]
        return float(np.mean([metric_named(name).statistic(rows).value for name in self.metrics]))


class DarumeruTask(Task):  # type: ignore[misc]
    """One task of Darumeru; a document is a record with all its samples (both orders, all sentences).

    config: the YAML file's fields: task (name in lm-eval), darumeru_task (name in Darumeru), num_fewshot, metadata.
    metadata is also what `lm_eval --metadata` gives: data ("hub", "bundled" or a folder; default "hub") and profile.
    Examples are always turns of their own.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        metadata = dict(config.get("metadata") or {})
        self.VERSION = metadata.get("version")
        self.data = str(metadata.get("data", "hub"))
        self.profile = profile_named(str(metadata.get("profile", "darumeru")))
        registry = load_registry(self.profile.name)
        self.spec: TaskSpec = registry.select([str(config["darumeru_task"])])[0]
        self.OUTPUT_TYPE = "generate_until" if self.spec.method == "generate" else "loglikelihood"
        self.DATASET_PATH = self.spec.source.repository
        self.DATASET_NAME = self.spec.source.config
        self._config = TaskConfig(
            task=str(config["task"]),
            dataset_path=self.DATASET_PATH,
            dataset_name=self.DATASET_NAME,
            test_split=self.spec.source.test,
            fewshot_split=self.spec.source.shots,
            num_fewshot=config.get("num_fewshot"),
            output_type=self.OUTPUT_TYPE,
            generation_kwargs=self._generation(),
            metadata=metadata,
        )
        self._instances = None
        self._filters = _take_first()
        self._made: dict[int, dict[str, list[Sample]]] = {}
        self.fewshot_rnd = None

    def _generation(self) -> dict[str, Any] | None:
        if self.spec.method != "generate":
            return None
        return {"until": list(self.spec.stop), "max_gen_toks": self.spec.max_new_tokens, "do_sample": False}

    def has_training_docs(self) -> bool:
        return False

    def has_validation_docs(self) -> bool:
        return False

    def has_test_docs(self) -> bool:
        return True

    def test_docs(self) -> list[dict[str, Any]]:
        """One document a record: its id, and the ids and right answers of its samples."""
        return list(self._documents)

    @cached_property
    def _documents(self) -> list[dict[str, Any]]:
        return [
            {
                "record": name,
                "samples": [{"id": one.id, "target": one.target, "meta": dict(one.meta)} for one in samples],
            }
            for name, samples in self._records(self.config.num_fewshot or 0).items()
        ]

    def _records(self, shots: int) -> dict[str, list[Sample]]:
        """Record -> its samples, in the data's order."""
        wanted = shots if self.spec.few_shot else 0
        if wanted not in self._made:
            found = questions_of(self.spec, wanted, self._split)
            made = sample_maker(self.spec.format, self.spec.name)(self.spec, found.asked, found.shots, wanted)
            grouped: dict[str, list[Sample]] = {}
            for sample in limited(made, self.spec, None):
                grouped.setdefault(sample.cluster, []).append(sample)
            self._made[wanted] = grouped
        return self._made[wanted]

    def _split(self, source: RecordSource, split: str) -> Split:
        try:
            return load_split(source, split, self.data)
        except UserError as error:
            # What `darumeru run` says here are options that lm_eval has not.
            said = UserError(error.what, error.where, MEND if "--data" in error.mend else error.mend, error.near)
            if Path(sys.argv[0]).stem not in COMMANDS:
                raise said from error
            # Its command would show a traceback.
            print(f"error: {said.line()}", file=sys.stderr)
            raise SystemExit(UserError.exit_code) from error

    def doc_to_text(self, doc: Mapping[str, Any]) -> str:
        return str(doc["record"])

    def doc_to_target(self, doc: Mapping[str, Any]) -> str:
        return ", ".join(str(sample["target"]) for sample in doc["samples"])

    def fewshot_context(
        self,
        doc: Mapping[str, Any],
        num_fewshot: int,
        system_instruction: str | None = None,
        apply_chat_template: bool = False,
        fewshot_as_multiturn: bool = True,
        chat_template: Callable[..., str] | None = None,
        gen_prefix: str | None = None,
    ) -> list[str]:
        """The prompt of each of the document's samples."""
        rendered = []
        for sample in self._records(num_fewshot)[doc["record"]]:
            messages = sample.conversation(self._shots(sample, num_fewshot))
            if not messages:
                rendered.append("")
                continue
            if chat_template is None:
                text = ChatTemplate(None, plain=FORMATS[self.profile.plain_format]).render(messages)
                rendered.append(f"{system_instruction}\n{text}" if system_instruction else text)
                continue
            history = [{"role": message.role, "content": message.content} for message in messages]
            if system_instruction:
                history.insert(0, {"role": "system", "content": system_instruction})
            rendered.append(chat_template(history, add_generation_prompt=messages[-1].role == "user"))
        return rendered

    def _shots(self, sample: Sample, wanted: int) -> int:
        return min(wanted, sample.most) if self.spec.few_shot else sample.most

    def construct_requests(self, doc: Mapping[str, Any], ctx: Sequence[str], **kwargs: Any) -> list[Instance]:
        samples = self._records(self.config.num_fewshot or 0)[doc["record"]]
        shortest = min(len(sample.continuation or "") for sample in samples)
        chat = kwargs.get("chat_template") is not None
        asked = [
            line
            for sample, text in zip(samples, ctx, strict=True)
            for line in lines(self.spec, sample, text, shortest, self._stops(sample, chat))
        ]
        return [
            Instance(request_type=line.kind, doc=doc, arguments=line.arguments, idx=place, metadata=kwargs["metadata"])
            for place, line in enumerate(asked)
        ]

    def _stops(self, sample: Sample, chat: bool) -> tuple[str, ...]:
        reference = sample.target if self.spec.copies_reference else ""
        return self.profile.stops(self.spec.stop, chat, reference)

    def process_results(self, doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, Value]:
        shots = self.config.num_fewshot or 0
        samples = self._records(shots)[doc["record"]]
        each = len(results) // len(samples)
        rows = [
            row(self.spec, sample, self._shots(sample, shots), results[place * each : (place + 1) * each])
            for place, sample in enumerate(samples)
        ]
        values = {name: Value.of(_mean(name, rows), rows) for name in self.spec.metrics}
        score = float(np.mean([values[name] for name in self.spec.score]))
        return {SCORE: Value.of(score, rows)} | values

    def aggregation(self) -> dict[str, DataSetScore]:
        return {SCORE: DataSetScore(self.spec.score)} | {name: DataSetScore((name,)) for name in self.spec.metrics}

    def higher_is_better(self) -> dict[str, bool]:
        better = {name: metric_named(name).measure.direction == "higher" for name in self.spec.metrics}
        return {SCORE: all(better[name] for name in self.spec.score)} | better


def _mean(name: str, rows: Sequence[SampleRow]) -> float:
    """Mean over the record's samples of the metric's value on each; NaN for one that has none on a single sample."""
    found = [metric_named(name).values(one).get(name) for one in rows]
    values = [value for value in found if value is not None]
    return float(np.mean(values)) if values else float("nan")


def _take_first() -> list[Any]:
    from lm_eval.filters import build_filter_ensemble

    return [build_filter_ensemble("none", [["take_first", None]])]
