"""Continued pre-training on plain text, as a step (paper, section 2.3): by default of the embeddings alone."""

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
from lep_plugins.training.packing import PackedCorpus, pack
from lep_plugins.training.planned_work import tokens_in
from lep_plugins.training.trained_parameters import Trained, check_trained, choose, embeddings
from lep_plugins.training.training_loop import Batch, LoopSettings, TrainingLoop
from lep_plugins.vocabulary.corpus import Corpus


@dataclass(frozen=True)
class Pretrain:
    """corpus: text files, read in order; field: of JSON lines and Parquet; share: of the documents, drawn with the
    seed. mixed: text files (another language) from which `mixed_share` of all blocks come. trained: "embeddings" (the
    paper), "edges", "lora" or "full" (trained_parameters.py); lora_rank, lora_alpha: for "lora". new_rows_rate: times
    the learning rate for rows of tokens that the model before the change of vocabulary had not. block: tokens of a
    block; batch_size: blocks of an optimizer step, micro_batch of them at a time. max_steps: end before `epochs` are
    over. mask_documents: no attention across the documents of a block. embedding_decay: 0, because rows that no text
    touches would only shrink. epsilon: of AdamW; where a batch holds a small part of the vocabulary it has to be above
    the gradients of the other rows (1e-4), or each step moves these as far as the rows that were read. evaluate_every:
    steps between candidates; save_every: between whole states. The defaults are those of the paper for LLaMA-3-8B."""

    corpus: tuple[str, ...] = ()
    field: str = "text"
    share: float = 1.0
    mixed: tuple[str, ...] = ()
    mixed_share: float = 0.1
    trained: Trained = "embeddings"
    lora_rank: int = 8
    lora_alpha: float = 16.0
    learning_rate: float = 2e-4
    new_rows_rate: float = 1.0
    weight_decay: float = 0.1
    embedding_decay: float = 0.0
    epsilon: float = 1e-8
    warmup_steps: int = 100
    batch_size: int = 256
    micro_batch: int = 8
    block: int = 1024
    epochs: int = 1
    max_steps: int | None = None
    mask_documents: bool = True
    dtype: Dtype = "auto"
    evaluate_every: int | None = None
    save_every: int = 100

    name = "pretrain"
    resumable = True
    on_all_ranks = True

    def check(self, model: Path) -> None:
        """UserError for settings that cannot be meant, before anything heavy."""
        Corpus.of(self.corpus, self.field, self.share)
        check_trained(self.trained)
        if self.mixed:
            Corpus.of(self.mixed, self.field, self.share)
            if not 0 < self.mixed_share < 1:
                raise UserError(f"mixed_share must be between 0 and 1, not {self.mixed_share}", self.name)
        if self.new_rows_rate != 1:
            new_rows(model)
        for name in ("learning_rate", "new_rows_rate", "batch_size", "micro_batch", "block", "epochs", "save_every"):
            if getattr(self, name) <= 0:
                raise UserError(f"{name} must be above 0, not {getattr(self, name)}", self.name)
        from darumeru.models.model_files import find_model

        context = find_model(str(model)).context_length
        if context is not None and self.block > context:
            mend = f"a block of at most {context}"
            raise UserError(f"a block of {self.block} tokens is longer than the model's context", str(model), mend)

    def planned_work(self, parameters: int) -> float | None:
        """6 operations a parameter and token, 4 where the layers learn nothing."""
        if self.max_steps is not None:
            tokens = float(self.max_steps * self.batch_size * self.block)
        elif (all_tokens := tokens_in(self.corpus)) is not None:
            tokens = self.epochs * self.share * all_tokens
        else:
            return None
        return tokens * parameters * (4 if self.trained in ("embeddings", "lora") else 6)

    def run(self, context: StepContext, candidate: Candidate) -> Iterator[Candidate]:
        """Yield a whole model at each evaluation and at the end; goes on where context.output was left."""
        from accelerate import PartialState

        self.check(candidate.path)
        torch.manual_seed(context.seed)
        # By content: files and store may be touched, moved or copied between a stop and going on.
        model_hash = fingerprint(candidate.path)
        hashes = {name: [fingerprint(Path(path)) for path in getattr(self, name)] for name in ("corpus", "mixed")}
        drawn = [self.share, context.seed] if self.share < 1 else []
        # Without `cpu` accelerate takes each process without an accelerator for the only one.
        with PartialState(cpu=not torch.accelerator.is_available()).main_process_first():
            tokenizer = load_tokenizer(str(candidate.path))
            packs = []
            for name in ("corpus", "mixed") if self.mixed else ("corpus",):
                key = content_hash([model_hash, hashes[name], self.field, self.block, *drawn])
                texts = Corpus.of(getattr(self, name), self.field, self.share, context.seed).texts
                folder = context.output / ("packed" if name == "corpus" else name)
                packs.append(pack(texts, tokenizer, self.block, folder, key, context.say))
        packed = packs[0]
        settings = self.settings(packed)
        model = choose(load_model(candidate.path, self.dtype), self.trained, self.lora_rank, self.lora_alpha)
        batches = partial(self.batches, packs, context.seed)
        job = asdict(self) | hashes | {"model": model_hash, "seed": context.seed}
        rates = self._row_rates(model, candidate.path)
        loop = TrainingLoop(model, batches, settings, context.output, job, context.say, row_rates=rates)
        parameters = asdict(self) | {"corpus": list(self.corpus), "mixed": list(self.mixed)}
        for step in loop.run():
            folder = context.output / f"step-{step:06d}"
            if loop.accelerator.is_main_process:
                save_model(model, candidate.path, folder)
            loop.accelerator.wait_for_everyone()
            parents = (candidate.label or str(candidate.path),)
            yield Candidate(folder, self.name, parameters, parents, step, f"{self.name}-{self.trained}-{step}")

    def settings(self, packed: PackedCorpus) -> LoopSettings:
        """How long and how fast; an epoch is one of the corpus, whatever is mixed in."""
        share = 1 - self.mixed_share if self.mixed else 1.0
        steps = int(self.epochs * packed.count / share) // self.batch_size
        if steps == 0 and self.max_steps is None:
            have, mend = f"{packed.count} blocks, {self.epochs} epochs", "more text, or a smaller batch_size"
            raise UserError(f"the corpus ({have}) does not fill one batch of {self.batch_size}", "pretrain", mend)
        if self.max_steps is not None:
            steps = self.max_steps
        return LoopSettings(
            steps,
            self.learning_rate,
            min(self.warmup_steps, max(1, steps // 10)),
            self.weight_decay,
            self.embedding_decay,
            epsilon=self.epsilon,
            save_every=self.save_every,
            evaluate_every=self.evaluate_every,
        )

    def batches(self, packs: Sequence[PackedCorpus], seed: int, step: int) -> list[Batch]:
        """The micro-batches of a step: of the corpus a seeded permutation of all blocks, another one each epoch; every
        (1 / mixed_share)-th block is one of the second pack, if there is one."""
        places = range(step * self.batch_size, (step + 1) * self.batch_size)
        share = self.mixed_share if len(packs) > 1 else 0.0
        blocks = []
        for place in places:
            before, after = int(place * share), int((place + 1) * share)
            pack, number = (packs[1], before) if after > before else (packs[0], place - before)
            epoch, place_in_epoch = divmod(number, pack.count)
            blocks.append(pack.blocks(_order(seed, epoch, pack.count)[place_in_epoch : place_in_epoch + 1]))
        ids = np.concatenate(blocks)
        return [
            self._batch(packs[0], ids[start : start + self.micro_batch])
            for start in range(0, len(ids), self.micro_batch)
        ]

    def _row_rates(self, model: Any, folder: Path) -> dict[int, torch.Tensor]:
        """Parameter -> rate of each of its rows [V, 1], for matrices over the vocabulary."""
        if self.new_rows_rate == 1:
            return {}
        rates = torch.ones(len(model.get_input_embeddings().weight), 1)
        rates[torch.from_numpy(new_rows(folder))] = self.new_rows_rate
        return {id(weight): rates.to(weight.device) for weight in embeddings(model)}

    def _batch(self, packed: PackedCorpus, ids: Any) -> Batch:
        batch = {"input_ids": torch.from_numpy(ids), "labels": torch.from_numpy(ids)}
        if self.mask_documents:
            positions = packed.positions(ids)
            batch["position_ids"] = torch.from_numpy(positions)
            # The first token of a document is not to be guessed from another document.
            batch["labels"] = torch.from_numpy(np.where(positions == 0, -100, ids))
        return batch


def new_rows(model: Path) -> Any:
    """Ids whose rows are no old row, as the step that changed the vocabulary wrote it down. UserError: none did."""
    from lep_plugins.conversion import MATRIX_FILE, ConversionMatrix, Origin

    if not (model / MATRIX_FILE).is_file():
        mend = "new_rows_rate is for a model that a vocabulary step made"
        raise UserError("nothing says which of the model's tokens are new", str(model), mend)
    return ConversionMatrix.load(model).ids(Origin.MEAN, Origin.NEW)


@lru_cache(maxsize=8)
def _order(seed: int, epoch: int, count: int) -> Any:
    return np.random.default_rng((seed, epoch)).permutation(count)
