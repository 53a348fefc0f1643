"""Supervised tuning of a base model into an instruct variant, as a step: all weights, loss on the assistant's words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from darumeru.adaptation.protocols import Candidate, StepContext
from darumeru.core.errors import UserError
from darumeru.core.files import content_hash
from darumeru.models.fingerprints import fingerprint
from darumeru.models.model_folder import Dtype, load_model, save_model
from darumeru.prompts.builder import load_tokenizer
from lep_plugins.training.chat_labels import ChatLabeller
from lep_plugins.training.conversations import Conversation, read_conversations
from lep_plugins.training.copy_tasks import CopyTasks
from lep_plugins.training.planned_work import tokens_in
from lep_plugins.training.training_loop import IGNORED, Batch, LoopSettings, TrainingLoop
from lep_plugins.vocabulary.corpus import Corpus

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token "
    "+ '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
"""For a base model whose tokenizer has the special tokens <|system|>, <|user|> and <|assistant|>."""


@dataclass(frozen=True)
class InstructTune:
    """data: JSONL files of conversations. copies: copying tasks made of `corpus` beside them, in each of `languages`,
    of copy_min_tokens to copy_max_tokens tokens. chat_template: for a model that has none (default: TEMPLATE, where
    the tokenizer has its special tokens). max_length: longer conversations are left out. Everything is trained."""

    data: tuple[str, ...] = ()
    corpus: tuple[str, ...] = ()
    copies: int = 0
    languages: tuple[str, ...] = ("ru", "en")
    copy_min_tokens: int = 10
    copy_max_tokens: int = 200
    chat_template: str | None = None
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_steps: int = 100
    batch_size: int = 32
    micro_batch: int = 16
    epochs: int = 1
    max_length: int = 512
    dtype: Dtype = "auto"
    evaluate_every: int | None = None
    save_every: int = 100

    name = "instruct_tune"
    resumable = True
    on_all_ranks = True

    def check(self) -> None:
        """UserError for settings that cannot be meant, before anything heavy."""
        if self.copies:
            Corpus.of(self.corpus)
            for language in self.languages:
                self._tasks(language)
        elif not self.data:
            raise UserError("there is nothing to tune on", self.name, "name data files, or copies and a corpus")
        for name in ("learning_rate", "batch_size", "micro_batch", "epochs", "max_length", "save_every"):
            if getattr(self, name) <= 0:
                raise UserError(f"{name} must be above 0, not {getattr(self, name)}", self.name)

    def planned_work(self, parameters: int) -> float | None:
        """6 operations a parameter and token: each copy twice its mean length."""
        said = tokens_in(self.data)
        if said is None:
            return None
        copied = self.copies * len(self.languages) * (self.copy_min_tokens + self.copy_max_tokens)
        return 6.0 * parameters * self.epochs * (copied + said)

    def run(self, context: StepContext, candidate: Candidate) -> Iterator[Candidate]:
        """Yield a whole model, chat template included, at each evaluation and at the end."""
        self.check()
        torch.manual_seed(context.seed)
        tokenizer = load_tokenizer(str(candidate.path))
        template = self._template(tokenizer, candidate.path)
        tokenizer.chat_template = template
        rows = self.rows(tokenizer, str(candidate.path), context.seed)
        context.say(f"{len(rows)} conversations")
        steps = max(1, self.epochs * len(rows) // self.batch_size)
        settings = LoopSettings(
            steps,
            self.learning_rate,
            min(self.warmup_steps, max(1, steps // 10)),
            self.weight_decay,
            0.0,
            save_every=self.save_every,
            evaluate_every=self.evaluate_every,
        )
        model = load_model(candidate.path, self.dtype).requires_grad_(True)
        batches = partial(self.batches, rows, tokenizer.eos_token_id or 0, context.seed)
        # By content: files and store may be touched, moved or copied between a stop and going on.
        made_rows = {"data": None, "corpus": None, "rows": content_hash(rows)}
        job = asdict(self) | made_rows | {"model": fingerprint(candidate.path), "seed": context.seed}
        loop = TrainingLoop(model, batches, settings, context.output, job, context.say)
        parents = (candidate.label or str(candidate.path),)
        for step in loop.run():
            folder = context.output / f"step-{step:06d}"
            if loop.accelerator.is_main_process:
                save_model(model, candidate.path, folder, template)
            loop.accelerator.wait_for_everyone()
            yield Candidate(folder, self.name, asdict(self), parents, step, f"{self.name}-{step}")

    def rows(self, tokenizer: Any, where: str, seed: int) -> list[tuple[list[int], list[int]]]:
        """(ids, labels) of every conversation that fits, in a seeded order."""
        rng = np.random.default_rng(seed)
        found: list[Conversation] = [one for path in self.data for one in read_conversations(Path(path))]

        def count(text: str) -> int:
            return len(tokenizer.encode(text, add_special_tokens=False))

        if self.copies:
            for language in self.languages:
                documents = (text for text in Corpus.of(self.corpus).texts() if _is_russian(text) == (language == "ru"))
                found += self._tasks(language).make(documents, count, rng)
        labeller = ChatLabeller(tokenizer, where)
        labelled = [labeller.labelled(one.messages) for one in found]
        rows = [(one.ids, one.labels) for one in labelled if len(one.ids) <= self.max_length]
        if not rows:
            raise UserError(f"none of {len(found)} conversations fits into {self.max_length} tokens", self.name)
        return [rows[place] for place in rng.permutation(len(rows))]

    def batches(self, rows: Sequence[tuple[list[int], list[int]]], filler: int, seed: int, step: int) -> list[Batch]:
        """The micro-batches of a step, rows of like length together."""
        places = range(step * self.batch_size, (step + 1) * self.batch_size)
        chosen = [rows[_order(seed, place // len(rows), len(rows))[place % len(rows)]] for place in places]
        chosen.sort(key=lambda row: -len(row[0]))
        return [
            _padded(chosen[start : start + self.micro_batch], filler)
            for start in range(0, len(chosen), self.micro_batch)
        ]

    def _tasks(self, language: str) -> CopyTasks:
        return CopyTasks(self.copies, self.copy_min_tokens, self.copy_max_tokens, language)

    def _template(self, tokenizer: Any, where: Path) -> str:
        own = self.chat_template or tokenizer.chat_template
        if isinstance(own, str):
            return own
        if not {"<|user|>", "<|assistant|>"} <= tokenizer.get_vocab().keys():
            raise UserError("the model has no chat template", str(where), "name one as chat_template")
        return TEMPLATE


def _padded(rows: Sequence[tuple[list[int], list[int]]], filler: int) -> Batch:
    width = max(len(ids) for ids, _ in rows)
    batch = {
        "input_ids": torch.full((len(rows), width), filler),
        "labels": torch.full((len(rows), width), IGNORED),
        "attention_mask": torch.zeros((len(rows), width), dtype=torch.long),
    }
    for number, (ids, labels) in enumerate(rows):
        batch["input_ids"][number, : len(ids)] = torch.tensor(ids)
        batch["labels"][number, : len(ids)] = torch.tensor(labels)
        batch["attention_mask"][number, : len(ids)] = 1
    return batch


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> Any:
    return np.random.default_rng((seed, epoch)).permutation(count)


def _is_russian(text: str) -> bool:
    letters = [letter for letter in text[:2000].lower() if letter.isalpha()]
    return 2 * sum("а" <= letter <= "я" or letter == "ё" for letter in letters) > len(letters)
