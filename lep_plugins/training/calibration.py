"""What both calibrations share: mixing data with copy tasks, LoRA training, merging, the report."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from darumeru.adaptation.protocols import Candidate, StepContext
from darumeru.core.errors import UserError
from darumeru.models.model_folder import Dtype
from lep_plugins.training.conversations import Conversation, read_conversations, write_conversations
from lep_plugins.training.copy_tasks import CopyTasks
from lep_plugins.training.filters import Filter, make_filters
from lep_plugins.training.lora_model import Layers, Saved
from lep_plugins.training.lora_training import LoraTrained, LoraTraining

SCHEMA = 1


@dataclass(frozen=True)
class Calibration:
    """The base of both steps.

    filters: names of filters, in order; filter_options: name -> its parameters. copy_corpus: text files (plain, JSONL,
    Parquet) with `copy_field`, from which `copies` copying tasks of copy_min_tokens to copy_max_tokens are made. The
    rest as for LoraTraining.
    """

    filters: tuple[str, ...] = ()
    filter_options: Mapping[str, Mapping[str, Any]] | None = None
    copy_corpus: tuple[str, ...] = ()
    copy_field: str = "text"
    copy_language: str = "ru"
    copies: int = 0
    copy_min_tokens: int = 1
    copy_max_tokens: int = 1
    rank: int = 8
    alpha: float = 1.0
    layers: Layers = "all"
    saved: tuple[Saved, ...] = ()
    learning_rate: float = 2.5e-5
    weight_decay: float = 0.1
    schedule: str = "cosine"
    warmup_steps: int = 0
    max_length: int = 8192
    batch_size: int = 64
    micro_batch: int = 1
    epochs: int = 1
    save_every: int = 50
    gradient_checkpointing: bool = True
    dtype: Dtype = "auto"

    name: ClassVar[str] = "calibration"
    resumable: ClassVar[bool] = True
    on_all_ranks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """UserError: unknown filters and languages, parameters that make no sense, copy tasks without a corpus."""
        self._training()
        self._copying()
        self._filters()
        if self.copies and not self.copy_corpus:
            mend = "set copy_corpus: [FILE], or copies: 0"
            raise UserError(f"{self.copies} copy tasks are wanted and there is no corpus for them", self.name, mend)

    def run(self, context: StepContext, candidate: Candidate) -> Iterator[Candidate]:
        """Yield the merged model at the end of every epoch. A killed step goes on where it was. UserError, before
        heavy work: a file that is missing or broken, a server that does not answer, a model without a chat template;
        after filtering: nothing is left."""
        data = context.output / "data"
        with _main_process_first():
            if not (data / "train.jsonl").is_file():
                self.check(context, candidate)
                data.mkdir(parents=True, exist_ok=True)
                self._write_data(context, candidate, data)
        conversations = read_conversations(data / "train.jsonl")
        trained = self._training().train(
            candidate.path, conversations, context.output / "training", context.seed, context.say
        )
        yield from self._merged(context, candidate, trained)

    def check(self, context: StepContext, candidate: Candidate) -> None:
        """Everything that can be known to fail before heavy work; see `run`."""
        from darumeru.models.checkpoint import open_checkpoint
        from darumeru.models.model_files import find_model
        from lep_plugins.vocabulary.corpus import Corpus

        if self.copies:
            Corpus.of(self.copy_corpus, self.copy_field)
        if not find_model(str(candidate.path)).has_chat_template:
            mend = "calibrate an instruct model, or give the tokenizer a chat_template"
            raise UserError("the model has no chat template", str(candidate.path), mend)
        if open_checkpoint(candidate.path).tied and len(self.saved) == 1:
            context.say("embedding and head of this model are one matrix: both are trained")
        for each in self._filters().values():
            each.check()

    def conversations(self, context: StepContext, data: Path) -> tuple[Sequence[Conversation], Mapping[str, Any]]:
        """(what is trained on beside the copy tasks, what the report says of it)."""
        raise NotImplementedError

    def _write_data(self, context: StepContext, candidate: Candidate, data: Path) -> None:
        from darumeru.core.files import to_json, write_atomically
        from darumeru.prompts.builder import load_tokenizer
        from lep_plugins.vocabulary.corpus import Corpus

        kept, told = self.conversations(context, data)
        copies: list[Conversation] = []
        if self.copies:
            tokenizer = load_tokenizer(str(candidate.path))
            texts = Corpus.of(self.copy_corpus, self.copy_field).texts()
            random = np.random.default_rng([context.seed, 1])
            copies = self._copying().make(texts, lambda text: len(tokenizer.tokenize(text)), random)
            if len(copies) < self.copies:
                context.say(f"warning: the corpus gives {len(copies)} copy tasks of the {self.copies} wanted")
        mixed = [*kept, *copies]
        order = np.random.default_rng([context.seed, 2]).permutation(len(mixed))
        sources = Counter(conversation.source for conversation in mixed)
        report = {"schema": SCHEMA, **told, "copies": len(copies), "trained_on": dict(sources)}
        write_atomically(data / "report.json", to_json(report))
        context.say(f"data: {', '.join(f'{count} {source}' for source, count in sources.items())}")
        write_conversations(data / "train.jsonl", (mixed[place] for place in order))

    def _merged(self, context: StepContext, candidate: Candidate, trained: LoraTrained) -> Iterator[Candidate]:
        from lep_plugins.training.lora_merging import merge_adapter

        parents = (candidate.label or str(candidate.path),)
        made = [(step, adapter, context.output / f"model-{step}") for step, adapter in trained.epochs()]
        for step, adapter, output in (*made, (trained.steps, trained.adapter, context.output / "model")):
            with _main_process_first():
                if not output.is_dir():
                    merge_adapter(candidate.path, adapter, output)
            yield Candidate(output, self.name, self._parameters(), parents, step, f"{self.name}-{step}")

    def _parameters(self) -> dict[str, Any]:
        values = asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def _filters(self) -> dict[str, Filter]:
        return make_filters(self.filters, self.filter_options or {})

    def _copying(self) -> CopyTasks:
        return CopyTasks(self.copies, self.copy_min_tokens, self.copy_max_tokens, self.copy_language)

    def _training(self) -> LoraTraining:
        return LoraTraining(
            rank=self.rank,
            alpha=self.alpha,
            layers=self.layers,
            saved=tuple(self.saved),
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            max_length=self.max_length,
            batch_size=self.batch_size,
            micro_batch=self.micro_batch,
            epochs=self.epochs,
            schedule=self.schedule,
            warmup_steps=self.warmup_steps,
            save_every=self.save_every,
            gradient_checkpointing=self.gradient_checkpointing,
            dtype=self.dtype,
        )


def require_some(kept: Sequence[Conversation], given: int, rejected: Counter[str], where: str) -> None:
    """UserError with the counts when nothing passed the filters."""
    if not kept:
        told = ", ".join(f"{reason}: {count}" for reason, count in rejected.most_common())
        raise UserError(f"all {given} conversations were filtered out ({told})", where, "relax the filters")


def _main_process_first() -> AbstractContextManager[None]:
    """Under `accelerate launch` the first process does the work and the others find it done."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return nullcontext()
    import torch
    from accelerate import PartialState

    first: AbstractContextManager[None] = PartialState(cpu=not torch.accelerator.is_available()).main_process_first()
    return first
