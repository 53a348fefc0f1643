"""Token Distillation (arXiv:2505.20133): input rows of new tokens are learnt so that the model's hidden states stay
what they were with the old segmentation of the same text. Teacher and student are the one frozen model.

Beside the paper: one phrase of a window is replaced, the rest keeps its old ids, and in a substituted vocabulary the
phrase is the least piece of text that both segmentations bound. Output rows are the means, since the loss says nothing
of them; a tied model has one row for both.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from darumeru.core.errors import UserError
from darumeru.core.files import content_hash, write_atomically
from darumeru.models.checkpoint_output import check_memory
from darumeru.models.fingerprints import fingerprint
from lep_plugins.conversion import Origin
from lep_plugins.initialization.distiller import Distiller, depth, distance, pairs_of
from lep_plugins.initialization.mean import mean
from lep_plugins.initialization.rows import Fresh, Ids
from lep_plugins.initialization.snippets import Snippet, SnippetSearch, SnippetSet
from lep_plugins.initialization.task import REPORT, Task
from lep_plugins.training.training_loop import Batch, LoopSettings, Objective, TrainingLoop

FEWEST = 3
"""Snippets without which a token keeps its mean (fewer where fewer are asked for)."""

HELD_OUT = 64
"""Snippets that are not learnt from; the report's losses are of these."""

BETAS, SAVE_EVERY = (0.9, 0.999), 200


def distill(task: Task) -> dict[str, Fresh]:
    """Learnt input rows, means as output rows. Resumable: snippets, rows and optimizer lie in `task.work`.

    UserError: no corpus, none of the new tokens in it, no such layer, too little memory, several processes."""
    corpus = task.text("distill")
    _check(task)
    fresh = mean(task)
    embedding = task.matrices[0]
    ids = task.conversion.ids(Origin.MEAN)
    if not len(ids):
        return fresh
    job = _job(task)
    found = _search(task, corpus.texts(), ids, content_hash(job))
    counts = found.counts(task.conversion.rows_new)
    trained = ids[counts[ids] >= min(FEWEST, task.options.snippets)]
    if not len(trained):
        mend = "text in the language of the new tokens, more of it"
        raise UserError(f"the corpus holds none of the {len(ids)} new tokens often enough", "--corpus", mend)
    learnt = _learnt(task, found, trained, np.setdiff1d(ids, trained), fresh[embedding.name], job)
    return {**fresh, embedding.name: _with_learnt(fresh[embedding.name], trained, learnt)}


def _with_learnt(fresh: Fresh, trained: Ids, learnt: torch.Tensor) -> Fresh:
    def rows(ids: Ids) -> torch.Tensor:
        made = fresh(ids)
        places = np.searchsorted(trained, ids).clip(max=len(trained) - 1)
        own = trained[places] == ids
        made[torch.from_numpy(own)] = learnt[torch.from_numpy(places[own])]
        return made

    return rows


def _check(task: Task) -> None:
    checkpoint, layer = task.matrices[0].checkpoint, task.options.layer
    layers = depth(checkpoint.config)
    if layers and layer > layers:
        raise UserError(f"no layer {layer}", str(checkpoint.path), f"the model has {layers}")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("runs in one process", "--method distill", "start it without torchrun or accelerate launch")
    if not torch.accelerator.is_available():
        check_memory(sum(entry.end - entry.begin for entry in checkpoint.tensors.values()), "distillation")


def _job(task: Task) -> dict[str, Any]:
    """What the rows depend on, by content."""
    return {
        **{name: value for name, value in asdict(task.options).items() if name not in ("vectors", "rank", "hypernet")},
        "model": fingerprint(task.matrices[0].checkpoint.path),
        "tokenizer": content_hash(task.new_tokenizer.to_str()),
        "corpus": [fingerprint(path) for path in task.corpus],
        "field": task.field,
        "seed": task.seed,
    }


def _search(task: Task, texts: Any, ids: Ids, key: str) -> SnippetSet:
    path = task.work / "snippets.npz"
    stored = SnippetSet.load(path, key)
    if stored is not None:
        return stored
    wanted = np.zeros(task.conversion.rows_new, dtype=bool)
    wanted[ids] = True
    usable = wanted.copy()
    usable[task.conversion.ids(Origin.COPIED)] = True
    old, options = task.source.description.build(), task.options
    search = SnippetSearch(old, task.new_tokenizer, wanted, usable, options.snippets, options.snippet_length)
    found = SnippetSet(tuple(search.search(texts)), search.texts)
    task.work.mkdir(parents=True, exist_ok=True)
    found.save(path, key)
    task.say(f"{len(found.snippets):,} snippets of {len({one.token for one in found.snippets}):,} new tokens")
    return found


@dataclass(frozen=True)
class Batches:
    """Snippets as what the distiller is given. place: by new id, the id that the distiller knows it by. bos: the old
    BOS token, which stands before every window, or none."""

    snippets: Sequence[Snippet]
    place: npt.NDArray[np.int64]
    bos: int | None

    def batch(self, chosen: Sequence[int] | Ids) -> Batch:
        """The snippets with these numbers."""
        before = [] if self.bos is None else [self.bos]
        teachers, students, pairs = [], [], []
        for row, number in enumerate(chosen):
            one = self.snippets[int(number)]
            teachers.append(np.array([*before, *one.old]))
            students.append(np.array([*before, *one.old[: one.begin], *self.place[one.new], *one.old[one.stop :]]))
            # Up to the phrase the places agree, from its last piece on they do so counted from the end.
            first = np.arange(len(before) + one.begin)
            last = np.arange(len(before) + one.stop - 1, len(teachers[-1]))
            shift = len(students[-1]) - len(teachers[-1])
            both = np.stack([np.concatenate([first, last]), np.concatenate([first, last + shift])])
            pairs.append(np.concatenate([np.full((1, both.shape[1]), row), both]))
        return {
            "teacher": _padded(teachers),
            "student": _padded(students),
            "pairs": torch.from_numpy(np.concatenate(pairs, axis=1)),
        }


def _padded(rows: Sequence[Ids]) -> torch.Tensor:
    whole = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)
    for place, row in enumerate(rows):
        whole[place, : len(row)] = torch.from_numpy(row)
    return whole


def _learnt(task: Task, found: SnippetSet, trained: Ids, kept: Ids, start: Fresh, job: dict[str, Any]) -> torch.Tensor:
    """The rows of `trained`, float32, after one epoch; the report goes to the work folder."""
    from darumeru.models.model_folder import load_model

    options, known = task.options, task.conversion.rows_old
    place = np.full(task.conversion.rows_new, -1, dtype=np.int64)
    copied, sources = task.conversion.one_hot(Origin.COPIED)
    place[copied], place[trained] = sources, known + np.arange(len(trained))
    place[kept] = known + len(trained) + np.arange(len(kept))
    learnable = np.isin([one.token for one in found.snippets], trained)
    batches = Batches([one for one, use in zip(found.snippets, learnable, strict=True) if use], place, _bos(task))
    order = np.random.default_rng(task.seed).permutation(len(batches.snippets))
    held = order[: min(HELD_OUT, len(order) // 10)]
    order = order[len(held) :]
    network = load_model(task.matrices[0].checkpoint.path, options.dtype)
    fixed = start(kept) if len(kept) else torch.empty(0, task.matrices[0].width)
    model = Distiller(network, start(trained), fixed, options.layer)
    before = mean_distance(model, batches, held, options.batch)
    steps = -(-len(order) // options.batch)
    settings = LoopSettings(
        steps, options.learning_rate, 0, 0.0, 0.0, betas=BETAS, final_share=1.0, save_every=SAVE_EVERY
    )
    loop = TrainingLoop(
        model,
        lambda step: [batches.batch(order[step * options.batch : (step + 1) * options.batch])],
        settings,
        task.work,
        job,
        task.say,
        objective=Objective(distance, pairs_of),
    )
    for _ in loop.run():
        pass
    after = mean_distance(model, batches, held, options.batch)
    _report(task, found, trained, kept, {"steps": steps, "held_out": len(held), "loss": after, "loss_of_means": before})
    return model.embedding.weight.detach().float().cpu()


def mean_distance(model: Distiller, batches: Batches, chosen: Ids, size: int) -> float | None:
    """The mean squared difference over snippets, `size` at a time; None for none."""
    total, pairs = 0.0, 0
    with torch.no_grad():
        for start in range(0, len(chosen), size):
            batch = batches.batch(chosen[start : start + size])
            total, pairs = total + float(distance(model, batch)), pairs + pairs_of(batch)
    return total / pairs if pairs else None


def _bos(task: Task) -> int | None:
    name = task.source.roles.get("bos_token")
    return None if name is None else task.old.ids_by_piece.get(name)


def _report(task: Task, found: SnippetSet, trained: Ids, kept: Ids, numbers: dict[str, Any]) -> None:
    counts = found.counts(task.conversion.rows_new)
    few = {_shown(task, int(token)): int(counts[token]) for token in kept}
    report = {
        "schema": 1,
        "method": "distill",
        "options": _job(task),
        "trained": len(trained),
        "too_few_snippets": few,
        "snippets": int(counts[trained].sum()),
        "texts_read": found.texts,
        **numbers,
    }
    write_atomically(task.work / Path(REPORT), json.dumps(report, ensure_ascii=False, indent=1) + "\n")
    if few:
        named = ", ".join(map(repr, list(few)[:5]))
        task.say(f"warning: {len(few)} tokens keep their mean, too few snippets: {named}{' ...' * (len(few) > 5)}")
    if numbers["loss"] is not None:
        change = f"{numbers['loss_of_means']:.4g} with means, {numbers['loss']:.4g} now"
        task.say(f"{len(trained):,} tokens learnt; mean squared difference on held-out snippets: {change}")


def _shown(task: Task, token_id: int) -> str:
    token = task.new.tokens[token_id]
    return token.decode("utf-8", "backslashreplace") if isinstance(token, bytes) else str(task.new.pieces[token_id])
