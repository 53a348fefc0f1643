"""Static vectors of tokens: learnt from a corpus, or read from a file of word vectors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from darumeru.core.errors import UserError

Vectors = npt.NDArray[np.float32]
WIDTH, WINDOW, FEWEST = 200, 5, 10
TEXTS_AT_ONCE, BATCH_TOKENS, OVERSAMPLED, ROUNDS = 64, 1_000_000, 20, 3


def corpus_vectors(texts: Iterable[str], tokenizer: Any, rows: int, seed: int = 0) -> Vectors:
    """rows x at most WIDTH, unit length; zeros for a token that occurs fewer than FEWEST times.

    Skip-gram with negative sampling factorizes the shifted pointwise mutual information of tokens and neighbours (Levy
    and Goldberg, NeurIPS 2014); here its positive part is factorized itself, by a randomized SVD with square-rooted
    singular values, so that no learning rate and no order of the text plays a part. Neighbours within WINDOW tokens
    count 1 / distance."""
    counts = _neighbours(texts, tokenizer, rows)
    known = np.flatnonzero(np.asarray(counts.sum(axis=1)).ravel() > 0)
    vectors = np.zeros((rows, min(WIDTH, max(1, len(known)))), dtype=np.float32)
    if len(known):
        vectors[known] = _unit(_factors(_positive_information(counts[known][:, known]), vectors.shape[1], seed))
    return vectors


def _neighbours(texts: Iterable[str], tokenizer: Any, rows: int) -> Any:
    """Symmetric weighted counts of neighbours, scipy CSR rows x rows; rare tokens have none."""
    from scipy.sparse import coo_matrix, csr_matrix, diags_array

    total, frequency = csr_matrix((rows, rows), dtype=np.float32), np.zeros(rows, dtype=np.int64)
    for batch in _token_batches(texts, tokenizer):
        left, right, weights = [], [], []
        for ids in batch:
            frequency += np.bincount(ids, minlength=rows)
            for distance in range(1, min(WINDOW + 1, len(ids))):
                left.append(ids[:-distance])
                right.append(ids[distance:])
                weights.append(np.full(len(ids) - distance, 1 / distance, dtype=np.float32))
        if left:
            places = (np.concatenate(left), np.concatenate(right))
            total = total + coo_matrix((np.concatenate(weights), places), shape=(rows, rows)).tocsr()
    kept = diags_array((frequency >= FEWEST).astype(np.float32))
    return (kept @ (total + total.T) @ kept).tocsr()


def _token_batches(texts: Iterable[str], tokenizer: Any) -> Iterator[list[npt.NDArray[np.int32]]]:
    """The ids of texts, about BATCH_TOKENS at a time."""
    stream, batch, size = iter(texts), list[npt.NDArray[np.int32]](), 0
    while some := list(islice(stream, TEXTS_AT_ONCE)):
        for encoding in tokenizer.encode_batch_fast(some, add_special_tokens=False):
            batch.append(np.array(encoding.ids, dtype=np.int32))
            size += len(encoding.ids)
        if size >= BATCH_TOKENS:
            yield batch
            batch, size = [], 0
    yield batch


def _positive_information(counts: Any) -> Any:
    """max(0, log(p(a, b) / (p(a) p(b)^0.75))): the exponent is that of word2vec's noise distribution."""
    pairs = counts.tocoo()
    pairs.eliminate_zeros()
    of_one = np.asarray(counts.sum(axis=1)).ravel().astype(np.float64)
    of_other = of_one**0.75
    values = np.log(pairs.data.astype(np.float64) * of_other.sum() / (of_one[pairs.row] * of_other[pairs.col]))
    pairs.data = np.maximum(values, 0).astype(np.float32)
    return pairs.tocsr()


def _factors(matrix: Any, width: int, seed: int) -> npt.NDArray[np.float64]:
    """U sqrt(S) of the largest `width` singular values (Halko, Martinsson and Tropp 2011, with subspace iteration)."""
    start = np.random.default_rng(seed).standard_normal((matrix.shape[1], min(width + OVERSAMPLED, matrix.shape[0])))
    basis, _ = np.linalg.qr(matrix @ start)
    for _ in range(ROUNDS):
        basis, _ = np.linalg.qr(matrix.T @ basis)
        basis, _ = np.linalg.qr(matrix @ basis)
    left, values, _ = np.linalg.svd((matrix.T @ basis).T, full_matrices=False)
    found: npt.NDArray[np.float64] = (basis @ left[:, :width]) * np.sqrt(values[:width])
    return found


def _unit(vectors: npt.NDArray[Any]) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


def read_vectors(path: Path) -> Iterator[tuple[str, Vectors]]:
    """(word, vector) of each line of a file in word2vec's text format: word, then numbers, apart by spaces; a first
    line of two whole numbers is its head. UserError, with the line: no file, no numbers, another width."""
    if not path.is_file():
        raise UserError("no such file of vectors", where=str(path))
    width = 0
    with path.open(encoding="utf-8", errors="strict") as file:
        try:
            for number, line in enumerate(file, 1):
                word, *numbers = line.rstrip("\n").rstrip(" ").split(" ")
                if number == 1 and len(numbers) == 1 and word.isdigit():
                    continue
                vector = _numbers(numbers)
                width = width or (0 if vector is None else len(vector))
                if vector is None or len(vector) != width:
                    mend = "word2vec's text format: a word, then as many numbers on every line"
                    raise UserError("not a line of vectors", f"{path}:{number}", mend)
                yield word, vector
        except UnicodeDecodeError as error:
            raise UserError(f"the vectors are not UTF-8 ({error.reason})", where=str(path)) from None
    if not width:
        raise UserError("the file holds no vectors", where=str(path))


def _numbers(texts: list[str]) -> Vectors | None:
    try:
        vector = np.array([float(text) for text in texts], dtype=np.float32)
    except ValueError:
        return None
    return vector if len(vector) and math.isfinite(float(np.abs(vector).sum())) else None


def vectors_by_id(path: Path, rows: int) -> Vectors:
    """rows x width, unit length, of a file whose words are token ids; zeros for ids that it lacks. UserError: a word
    that is no id."""
    found: dict[int, Vectors] = {}
    for word, vector in read_vectors(path):
        if word == "</s>":  # which word2vec and fastText write for the end of a line
            continue
        if not word.isdecimal() or int(word) >= rows:
            raise UserError(
                f'"{word}" is no token id below {rows}', str(path), "train the vectors on a text of ids, not of tokens"
            )
        found[int(word)] = vector
    return _stacked(found, rows, str(path))


def vectors_by_word(path: Path, tokenizers: tuple[tuple[Any, int], ...]) -> tuple[Vectors, ...]:
    """For each (tokenizer, rows): rows x width, unit length: a token's vector is the mean over the words of the file
    that are spelled with it, alone or after a space; zeros for tokens in no word."""
    words, vectors = zip(*read_vectors(path), strict=True)
    table = np.stack(vectors)
    return tuple(_unit(_spelled(words, table, tokenizer, rows)) for tokenizer, rows in tokenizers)


def _spelled(words: tuple[str, ...], table: Vectors, tokenizer: Any, rows: int) -> npt.NDArray[np.float64]:
    total, count = np.zeros((rows, table.shape[1])), np.zeros((rows, 1))
    forms = [form for word in words for form in (word, f" {word}")]
    encoded = tokenizer.encode_batch_fast(forms, add_special_tokens=False)
    for place, vector in enumerate(table):
        ids = np.unique([number for form in encoded[2 * place : 2 * place + 2] for number in form.ids])
        ids = ids[ids < rows].astype(np.int64)
        total[ids] += vector
        count[ids] += 1
    means: npt.NDArray[np.float64] = total / np.maximum(count, 1)
    return means


def _stacked(found: dict[int, Vectors], rows: int, where: str) -> Vectors:
    if not found:
        raise UserError("the file holds no vectors", where=where)
    vectors = np.zeros((rows, len(next(iter(found.values())))), dtype=np.float32)
    for number, vector in found.items():
        vectors[number] = vector
    return _unit(vectors)
