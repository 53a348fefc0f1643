"""Synthetic checkpoints of true vocabulary shape, for measuring Learned Embedding Propagation without the real models.

Three folders are written: base, target (the base moved by a linear map and noise) and donor (another vocabulary, its
rows the means of base rows plus noise). Only embed_tokens, lm_head and a few small neighbours exist; the tokenizers
are real byte-level BPE tokenizers with invented words, made so that as many base tokens are used and as many of them
meet in one donor token as with the 128,000-token Russian vocabulary of the LEP paper (26,636 used tokens; T^T T with
149,000 entries).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from darumeru.models.checkpoint import open_checkpoint
from darumeru.models.checkpoint_write import Replacement, write_checkpoint
from darumeru.models.token_bytes import to_byte_level
from lep_plugins.conversion import ConversionMatrix, conversion_matrix

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
CHUNK_ROWS = 4096
LEADS, TRAILS = range(0xC0, 0xD4), range(0x80, 0xA0)
FREQUENT_LETTERS = 332
SHARED_WORDS = 19_740
"""Ordinary words that both vocabularies have (besides letters and rare pieces)."""

NOISE_OF_TARGET, NOISE_OF_TRAINING, MAP_SIZE = 0.02, 0.3, 0.05


@dataclass(frozen=True)
class Shape:
    """hidden: d. rows_base, rows_donor: vocabulary sizes, 256 special tokens included. extended: whether the donor
    keeps the whole base vocabulary and adds to it. neighbour_bytes: other tensors in each shard that is rewritten."""

    hidden: int = 4096
    rows_base: int = 128_256
    rows_donor: int = 128_000
    extended: bool = False
    neighbour_bytes: int = 32 << 20

    @property
    def specials(self) -> int:
        return min(256, self.rows_base // 16)


def write_models(folder: Path, shape: Shape, seed: int = 0) -> tuple[Path, Path, Path]:
    """Write base, target and donor into `folder`; returns their folders."""
    base_words, base_merges = _base_words(shape, seed)
    donor_words = _donor_words(shape, base_words, seed)
    base_tokenizer = _tokenizer(base_words, base_merges, shape.specials)
    donor_tokenizer = _tokenizer(donor_words, base_merges if shape.extended else [], shape.specials)
    base, target, donor = (folder / name for name in ("base", "target", "donor"))
    for place, tokenizer in ((base, base_tokenizer), (target, base_tokenizer), (donor, donor_tokenizer)):
        place.mkdir(parents=True)
        tokenizer.save(str(place / "tokenizer.json"))
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|s0|>", "eos_token": "<|s1|>"}
        (place / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    matrix = conversion_matrix(base_tokenizer, donor_tokenizer, shape.rows_base, shape.rows_donor)
    _write_weights(base, shape, shape.rows_base, lambda name: _base_rows(shape, name, seed))
    _write_weights(target, shape, shape.rows_base, lambda name: _target_rows(shape, base, name, seed))
    _write_weights(donor, shape, shape.rows_donor, lambda name: _donor_rows(base, matrix, name, seed))
    return base, target, donor


# Words


def _letters() -> list[bytes]:
    return [bytes((lead, trail)) for lead in LEADS for trail in TRAILS]


def _base_words(shape: Shape, seed: int) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
    """(words by id, merges): bytes, two-byte letters, pairs of rare letters, then random words of ASCII bytes.

    No merge joins a frequent letter to anything, so a donor word of letters is cut as it was put together.
    """
    rng = np.random.default_rng(seed)
    letters = _letters()
    rare = letters[FREQUENT_LETTERS:]
    words = [bytes((byte,)) for byte in range(256)]
    merges = [(letter[:1], letter[1:]) for letter in letters]
    count = shape.rows_base - shape.specials
    pieces = min(6_000, count // 20)
    pairs = rng.choice(len(rare) ** 2, pieces, replace=False)
    merges += [(rare[pair // len(rare)], rare[pair % len(rare)]) for pair in pairs.tolist()]
    parts = [bytes((byte,)) for byte in range(0x20, 0x7F)]
    known = set(parts)
    while len(words) + len(merges) < count:
        for first, second in rng.integers(0, len(parts), (count, 2)).tolist():
            one, two = parts[first], parts[second]
            if one + two not in known and len(words) + len(merges) < count:
                known.add(one + two)
                merges.append((one, two))
                if len(one + two) <= 6:
                    parts.append(one + two)
    return words + [one + two for one, two in merges], merges


def _donor_words(shape: Shape, base: list[bytes], seed: int) -> list[bytes]:
    """Words by id: bytes, letters and rare pieces, shared words of the base, and new words of several letters."""
    rng = np.random.default_rng(seed + 1)
    letters = _letters()
    pieces = [word for word in base if len(word) == 4 and word[0] >= 0xC0]
    plain = [word for word in base if len(word) > 1 and word[0] < 0x80]
    shared = base if shape.extended else base[:256] + letters + pieces + plain[: min(SHARED_WORDS, len(plain) // 2)]
    words = dict.fromkeys(shared)
    count = shape.rows_donor - shape.specials
    frequent = letters[:FREQUENT_LETTERS]
    for piece in pieces:
        words[piece + frequent[int(rng.integers(FREQUENT_LETTERS))]] = None
    while len(words) < count:
        lengths = rng.integers(2, 5, count).tolist()
        for length, chosen in zip(lengths, rng.integers(0, FREQUENT_LETTERS, (count, 4)).tolist(), strict=True):
            words[b"".join(frequent[place] for place in chosen[:length])] = None
    return list(words)[:count]


def _tokenizer(words: list[bytes], merges: list[tuple[bytes, bytes]], specials: int) -> Tokenizer:
    vocab = {to_byte_level(word): token_id for token_id, word in enumerate(words)}
    joined = [(to_byte_level(one), to_byte_level(two)) for one, two in merges]
    tokenizer = Tokenizer(models.BPE(vocab, joined, ignore_merges=True))
    split = pre_tokenizers.Split(Regex(r"\s+"), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    names = [f"<|s{place}|>" for place in range(specials)]
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    return tokenizer


# Rows


def _generator(*seeds: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(np.random.SeedSequence(seeds).generate_state(1)[0]))


def _base_rows(shape: Shape, name: str, seed: int) -> Iterator[torch.Tensor]:
    """Gaussian rows around a common mean, columns of spread 0.01 to 0.04: about as anisotropic as real embeddings."""
    generator = _generator(seed, 1, name == HEAD)
    spread = torch.logspace(-2, -1.4, shape.hidden)[torch.randperm(shape.hidden, generator=generator)]
    mean = 0.2 * spread * torch.randn(shape.hidden, generator=generator)
    for start in range(0, shape.rows_base, CHUNK_ROWS):
        height = min(CHUNK_ROWS, shape.rows_base - start)
        yield torch.randn((height, shape.hidden), generator=generator).mul_(spread).add_(mean).bfloat16()


def _target_rows(shape: Shape, base: Path, name: str, seed: int) -> Iterator[torch.Tensor]:
    """base + base P Q + noise, with a low-rank map P Q."""
    generator = _generator(seed, 2, name == HEAD)
    rank = min(64, shape.hidden)
    left, right = (torch.randn((shape.hidden, rank), generator=generator) / shape.hidden**0.5 for _ in range(2))
    for _, rows in open_checkpoint(base).chunks(name, CHUNK_ROWS * shape.hidden * 2):
        wide = rows.float()
        noise = torch.randn(wide.shape, generator=generator).mul_(NOISE_OF_TARGET * wide.std())
        yield (wide + MAP_SIZE * (shape.hidden / rank) ** 0.5 * ((wide @ left) @ right.T) + noise).bfloat16()


def _donor_rows(base: Path, matrix: ConversionMatrix, name: str, seed: int) -> Iterator[torch.Tensor]:
    """T E_base plus what training would have added; rows that T leaves empty stay at the noise."""
    generator = _generator(seed, 3, name == HEAD)
    rows = open_checkpoint(base).rows(name)
    weights = matrix.matrix
    spread = float(rows[:1000].float().std())
    for start in range(0, weights.shape[0], CHUNK_ROWS):
        part = weights[start : start + CHUNK_ROWS]
        near, places = np.unique(part.indices, return_inverse=True)
        means = torch.nn.functional.embedding_bag(
            torch.from_numpy(places.astype(np.int64)),
            rows[torch.from_numpy(near.astype(np.int64))].float(),
            torch.from_numpy(part.indptr[:-1].astype(np.int64)),
            mode="sum",
            per_sample_weights=torch.from_numpy(part.data).float(),
        )
        yield (means + NOISE_OF_TRAINING * spread * torch.randn(means.shape, generator=generator)).bfloat16()


# Files


def _write_weights(folder: Path, shape: Shape, rows: int, chunks: Any) -> None:
    """Two shards with an index: the embedding and the head, each with neighbours of small shapes."""
    import tempfile

    from safetensors.torch import save_file

    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 1,
        "hidden_size": shape.hidden,
        "tie_word_embeddings": False,
        "bos_token_id": shape.rows_base - shape.specials,
        "eos_token_id": [shape.rows_base - shape.specials + 1],
    }
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        names: dict[str, str] = {}
        for place, name in enumerate((EMBEDDING, HEAD), 1):
            file = f"model-{place:05}-of-00002.safetensors"
            height = max(1, shape.neighbour_bytes // (2 * shape.hidden))
            neighbour = f"model.layers.{place}.self_attn.q_proj.weight"
            tensors = {name: torch.zeros((1, shape.hidden)).bfloat16()}
            tensors[neighbour] = torch.zeros((height, shape.hidden)).bfloat16()
            save_file(tensors, str(Path(temporary) / file), metadata={"format": "pt"})
            names |= dict.fromkeys(tensors, file)
        index = {"metadata": {"total_size": 0}, "weight_map": names}
        (Path(temporary) / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
        (Path(temporary) / "config.json").write_text(json.dumps(config), encoding="utf-8")
        contents = {
            name: Replacement((rows, shape.hidden), "BF16", lambda name=name: chunks(name))  # type: ignore[misc]
            for name in (EMBEDDING, HEAD)
        }
        written = folder.parent / f"{folder.name}.weights"
        write_checkpoint(open_checkpoint(temporary), written, contents, config=config | {"vocab_size": rows})
    for path in written.iterdir():
        path.rename(folder / path.name)
    written.rmdir()
