"""How alike a model holds a sentence and its translation, layer by layer (after Language Ranker, arXiv:2404.11553).

Cosines of hidden states are high between any two sentences, since they share a few large directions. So each layer is
given with the cosine of sentences that do not belong together, and what counts is the difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from darumeru.core.errors import UserError

if TYPE_CHECKING:
    import torch

Pair = tuple[str, str]
Pool = Literal["mean", "last"]
FloatArray = npt.NDArray[np.float64]
RESAMPLES = 1000
BATCH = 16


@dataclass(frozen=True)
class Layer:
    """layer: 0 for the embeddings, the last one after the final norm. parallel: mean cosine of sentences and their
    translations; unrelated: of all other pairs; gain: parallel less unrelated, with its 95 % interval over pairs."""

    layer: int
    parallel: float
    unrelated: float
    gain: float
    low: float
    high: float


@dataclass(frozen=True)
class LanguageProbe:
    """layers from the embeddings on. gain: mean over the layers after the embeddings, the number to watch; low, high:
    its 95 % interval. pairs: how many; pool: "mean" of the tokens or the "last" one. gains: of each pair, for paired
    comparisons."""

    layers: tuple[Layer, ...]
    gain: float
    low: float
    high: float
    pairs: int
    pool: Pool
    gains: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


def bundled_pairs() -> list[Pair]:
    """Russian sentences with their English translations, written for this project."""
    return read_pairs(Path(__file__).with_name("pairs.tsv"))


def read_pairs(path: Path) -> list[Pair]:
    """Pairs of a file with two columns and a tab between. UserError names a line that is none; ten are the least."""
    pairs = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read: {error}", str(path)) from error
    for number, line in enumerate(lines, 1):
        parts = [part.strip() for part in line.split("\t")]
        if not line.strip():
            continue
        if len(parts) != 2 or not all(parts):
            raise UserError("is not two sentences with a tab between", f"{path}:{number}")
        pairs.append((parts[0], parts[1]))
    if len(pairs) < 10:
        raise UserError(f"holds {len(pairs)} pairs", str(path), "ten are the least")
    return pairs


def probe_languages(
    model: Any, tokenizer: Any, pairs: Sequence[Pair], pool: Pool = "mean", seed: int = 0
) -> LanguageProbe:
    """Compare the hidden states of a model for both sides of the pairs; the model's mode and gradients stay.

    model: a transformers causal model. Special tokens and the first token of a sequence, on which attention rests, are
    not part of a sentence's mean. UserError: a sentence of fewer than two tokens, states that are no numbers.
    """
    with _still(model):
        first, second = (_states(model, tokenizer, side, pool) for side in zip(*pairs, strict=True))
    own, other = (
        np.stack(part) for part in zip(*(_cosines(a, b) for a, b in zip(first, second, strict=True)), strict=True)
    )
    gains = own - other
    drawn = np.random.default_rng(seed).integers(0, len(pairs), (RESAMPLES, len(pairs)))
    spread = gains[:, drawn].mean(axis=2)
    low, high = np.quantile(spread, [0.025, 0.975], axis=1)
    layers = tuple(
        Layer(place, *(round(float(one[place]), 6) for one in (own.mean(1), other.mean(1), gains.mean(1), low, high)))
        for place in range(len(gains))
    )
    whole = np.quantile(spread[1:].mean(axis=0), [0.025, 0.975])
    of_pairs = tuple(round(float(one), 6) for one in gains[1:].mean(axis=0))
    gain = round(float(gains[1:].mean()), 6)
    return LanguageProbe(layers, gain, float(whole[0]), float(whole[1]), len(pairs), pool, of_pairs)


def difference(before: LanguageProbe, after: LanguageProbe, seed: int = 0) -> tuple[float, float, float]:
    """Gain of `after` less that of `before`, with the 95 % interval over the same resampled pairs."""
    each = np.array(after.gains) - np.array(before.gains)
    drawn = np.random.default_rng(seed).integers(0, len(each), (RESAMPLES, len(each)))
    low, high = np.quantile(each[drawn].mean(axis=1), [0.025, 0.975])
    return float(each.mean()), float(low), float(high)


def _cosines(first: FloatArray, second: FloatArray) -> tuple[FloatArray, FloatArray]:
    """For each pair the cosine with its translation, and the mean of those with all other sentences of either side."""
    a, b = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (first, second))
    every = a @ b.T
    own = np.diag(every)
    others = (every.sum(axis=0) + every.sum(axis=1) - 2 * own) / (2 * (len(own) - 1))
    return own, others


def _states(model: Any, tokenizer: Any, texts: Sequence[str], pool: Pool) -> list[FloatArray]:
    """Layer -> one vector [sentences, d] each."""
    import torch

    found: list[list[FloatArray]] = []
    ids = [tokenizer(text)["input_ids"] for text in texts]
    order = sorted(range(len(texts)), key=lambda place: len(ids[place]))
    for start in range(0, len(order), BATCH):
        part = [ids[place] for place in order[start : start + BATCH]]
        width = max(map(len, part))
        mask = torch.tensor([[1] * len(one) + [0] * (width - len(one)) for one in part])
        padded = torch.tensor([list(one) + [one[-1]] * (width - len(one)) for one in part])
        device = next(model.parameters()).device
        out = model(padded.to(device), attention_mask=mask.to(device), output_hidden_states=True, use_cache=False)
        weights = _weights(tokenizer, part, width, pool)
        found.append([(weights[:, None] @ one.double().cpu().numpy())[:, 0] for one in out.hidden_states])
    places = np.argsort(order)
    layers = [np.concatenate(parts)[places] for parts in zip(*found, strict=True)]
    if not all(np.isfinite(one).all() for one in layers):
        raise UserError("its hidden states are no numbers", "model", "try --dtype float32")
    return layers


def _weights(tokenizer: Any, part: Sequence[Sequence[int]], width: int, pool: Pool) -> FloatArray:
    """[sentences, width]: what each token counts in the vector of its sentence."""
    special = set(tokenizer.all_special_ids)
    weights = np.zeros((len(part), width))
    for row, ids in enumerate(part):
        own = [place for place in range(1, len(ids)) if ids[place] not in special]
        if not own:
            raise UserError("a sentence has fewer than two tokens", "pairs", "leave it out")
        if pool == "last":
            own = own[-1:]
        weights[row, own] = 1 / len(own)
    return weights


@contextmanager
def _still(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; the mode that the model had comes back."""
    import torch

    trained = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(trained)
