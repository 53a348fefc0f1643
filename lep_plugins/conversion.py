"""The conversion matrix T between two vocabularies: which old tokens each new token is the mean of.

T is sparse, row-stochastic, V_new x V_old (SPEC of LEP, arXiv:2412.21140 section 2.2): row t holds 1/K at each of
the K old tokens that segment the bytes of new token t; a token that both vocabularies have is one-hot. Computed
once, saved, and used by initialization and by propagation alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from darumeru.core.errors import UserError
from darumeru.models.token_bytes import SPACE_MARK, Special, TokenTable, backend, to_byte_level

SCHEMA = 1
MATRIX_FILE = "conversion.npz"
AUDIT_FILE = "vocabulary_delta.json"
ROW_MULTIPLE = 64
_NOT_PLAIN = re.compile(f"([\udc80-\udcff{SPACE_MARK}]+)")


class Origin(IntEnum):
    """Where the row of a new id comes from."""

    PADDING = 0  # no token has this id: a padding row or a hole
    COPIED = 1  # the old vocabulary has a token of the same bytes
    MEAN = 2  # the mean of the old tokens that segment its bytes
    SPECIAL = 3  # a special token that the old vocabulary has under the same name
    NEW = 4  # nothing in the old vocabulary: a new special, or bytes that it cannot spell


@dataclass(frozen=True)
class ConversionMatrix:
    """T with its reasons.

    rows_new, rows_old: embedding rows of the two models, padding included; T is rows_new x rows_old. indptr: int64,
    rows_new + 1; indices: int64, the old ids of new id t in the order of its text, indices[indptr[t]:indptr[t + 1]]
    (empty for PADDING and NEW). origins: uint8, rows_new, an `Origin` each. pieces_new, pieces_old: vocabulary
    strings by id, None for an id without a token; used by the audit file.
    """

    rows_new: int
    rows_old: int
    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int64]
    origins: npt.NDArray[np.uint8]
    pieces_new: tuple[str | None, ...] = ()
    pieces_old: tuple[str | None, ...] = ()

    @cached_property
    def matrix(self) -> Any:
        """T as a `scipy.sparse.csr_matrix`, float64, rows_new x rows_old, canonical (sorted, duplicates summed). A
        row sums to 1, or to 0 where the origin is PADDING or NEW."""
        from scipy.sparse import csr_matrix

        lengths = np.diff(self.indptr)
        weights = np.repeat(1.0 / np.maximum(lengths, 1), lengths)
        matrix = csr_matrix((weights, self.indices.copy(), self.indptr.copy()), shape=(self.rows_new, self.rows_old))
        matrix.sum_duplicates()
        return matrix

    def sources(self, token_id: int) -> list[int]:
        """The old ids behind new id `token_id`, in the order of the text."""
        return [int(source) for source in self.indices[self.indptr[token_id] : self.indptr[token_id + 1]]]

    def ids(self, *origins: Origin) -> npt.NDArray[np.int64]:
        """The new ids of these origins, ascending."""
        return np.flatnonzero(np.isin(self.origins, [int(origin) for origin in origins])).astype(np.int64)

    def one_hot(self, *origins: Origin) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(new ids, old ids) of the rows that are one old row: shared tokens (COPIED) and specials by name
        (SPECIAL); both by default."""
        new_ids = self.ids(*(origins or (Origin.COPIED, Origin.SPECIAL)))
        if np.isin(self.origins[new_ids], [int(Origin.COPIED), int(Origin.SPECIAL)]).all():
            return new_ids, self.indices[self.indptr[new_ids]]
        raise ValueError("only COPIED and SPECIAL rows are one-hot")

    def counts(self) -> dict[str, int]:
        """Number of new rows by origin, in lower case."""
        return {origin.name.lower(): int((self.origins == origin).sum()) for origin in Origin}

    def first(self, rows: int) -> ConversionMatrix:
        """T for the first `rows` new ids alone."""
        indptr = self.indptr[: rows + 1]
        indices, origins = self.indices[: indptr[-1]], self.origins[:rows]
        return replace(
            self, rows_new=rows, indptr=indptr, indices=indices, origins=origins, pieces_new=self.pieces_new[:rows]
        )

    def audit(self) -> Iterator[dict[str, Any]]:
        """One plain record per new token: {"id", "token", "copied": id} | {..., "mean": [ids]} | {..., "special":
        id} | {..., "new": true}."""
        for token_id in np.flatnonzero(self.origins != Origin.PADDING):
            token_id, origin, sources = int(token_id), self.origins[token_id], self.sources(int(token_id))
            record: dict[str, Any] = {"id": token_id, "token": self.pieces_new[token_id]}
            if origin == Origin.COPIED:
                record["copied"] = sources[0]
            elif origin == Origin.MEAN:
                record["mean"] = sources
            elif origin == Origin.SPECIAL:
                record["special"] = sources[0]
            else:
                record["new"] = True
            yield record

    def save(self, folder: Path) -> None:
        """Write conversion.npz and vocabulary_delta.json into `folder`."""
        np.savez_compressed(
            folder / MATRIX_FILE,
            schema=SCHEMA,
            shape=np.array([self.rows_new, self.rows_old]),
            indptr=self.indptr,
            indices=self.indices,
            origins=self.origins,
        )
        (folder / AUDIT_FILE).write_text(self.audit_text(), encoding="utf-8")

    def audit_text(self) -> str:
        """The contents of vocabulary_delta.json: a header, then one token a line."""
        header = {
            "schema": SCHEMA,
            "rows_new": self.rows_new,
            "rows_old": self.rows_old,
            "counts": self.counts(),
            "old_tokens": self.pieces_old,
        }
        records = ",\n".join(json.dumps(record, ensure_ascii=False) for record in self.audit())
        return f'{json.dumps(header, ensure_ascii=False)[:-1]}, "tokens": [\n{records}\n]}}\n'

    @classmethod
    def load(cls, folder: Path) -> ConversionMatrix:
        """Read what `save` wrote. Raises UserError when a file is missing, broken or of another schema."""
        try:
            with np.load(folder / MATRIX_FILE) as arrays:
                stored = {name: arrays[name] for name in arrays.files}
            audit = json.loads((folder / AUDIT_FILE).read_text(encoding="utf-8"))
            rows_new, rows_old = (int(rows) for rows in stored["shape"])
            schemas = {int(stored["schema"]), audit["schema"]}
            pieces: list[str | None] = [None] * rows_new
            for record in audit["tokens"]:
                pieces[record["id"]] = record["token"]
            arrays_of_rows = (stored["indptr"], stored["indices"], stored["origins"])
            loaded = cls(rows_new, rows_old, *arrays_of_rows, tuple(pieces), tuple(audit["old_tokens"]))
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise UserError(f"not a saved conversion matrix: {error}", where=str(folder)) from error
        if schemas != {SCHEMA}:
            raise UserError(
                f"a conversion matrix of schema {max(schemas)}", where=str(folder), mend=f"expected {SCHEMA}"
            )
        return loaded


class Segmenter:
    """Segments bytes with an old tokenizer's own model (merges or Viterbi), without its normalizer, pre-tokenizer,
    dummy prefix or added tokens, so that the bytes of the sub-tokens joined are exactly the bytes asked for."""

    def __init__(self, tokenizer: Any, table: TokenTable) -> None:
        from tokenizers import Tokenizer

        self.table = table
        self.model = Tokenizer(backend(tokenizer).model)

    def segment(self, texts: Sequence[bytes]) -> list[list[int] | None]:
        """Old ids for each byte string, all encoded in one batch; None where the vocabulary cannot spell it."""
        plans = [self._plan(raw) for raw in texts]
        plain = [part for plan in plans for part in plan if isinstance(part, str)]
        encoded = iter(self.model.encode_batch_fast(plain, add_special_tokens=False))
        segments: list[list[int] | None] = []
        for raw, plan in zip(texts, plans, strict=True):
            ids: list[int] = []
            for part in plan:
                ids.extend(next(encoded).ids if isinstance(part, str) else part)
            segments.append(ids if ids and self._spells(ids, raw) else None)
        return segments

    def _plan(self, raw: bytes) -> list[str | list[int]]:
        """Parts of `raw` in order: text for the model, or ids of byte-fallback pieces (half characters, and the
        space mark itself, which as text would come back as a space)."""
        if self.table.kind == "byte_level":
            return [to_byte_level(raw)]
        plan: list[str | list[int]] = []
        for part in _NOT_PLAIN.split(raw.decode("utf-8", "surrogateescape")):
            if _NOT_PLAIN.match(part):
                plan.append([self.table.byte_pieces.get(byte, -1) for byte in part.encode("utf-8", "surrogateescape")])
            elif part:
                plan.append(part.replace(" ", SPACE_MARK))
        return plan

    def _spells(self, ids: list[int], raw: bytes) -> bool:
        """Whether the sub-tokens joined are `raw`."""
        known = range(len(self.table))
        parts = [self.table.tokens[token_id] if token_id in known else None for token_id in ids]
        return all(isinstance(part, bytes) for part in parts) and b"".join(parts) == raw  # type: ignore[arg-type]


def _shared_id(token: bytes | Special, piece: str, old: TokenTable, same_kind: bool) -> int | None:
    """The old id of the same token: a special by name; otherwise the same piece of the same kind, else same bytes."""
    if isinstance(token, Special):
        by_name = old.special_ids.get(token.name)
        return old.ids_by_piece.get(token.name) if by_name is None and token.name in old.added else by_name
    return old.id_of(token, piece) if same_kind else old.ids_by_bytes.get(token)


def rows_for(tokens: int) -> int:
    """Embedding rows for so many ids: the next multiple of 64."""
    return -(-tokens // ROW_MULTIPLE) * ROW_MULTIPLE


def with_rows(table: TokenTable, rows: int) -> TokenTable:
    """The tokens that have one of the model's `rows` embedding rows.

    A tokenizer may hold more ids than that (a padding token that was added and never used): such a token is none of the
    model's, and a new token of that name is a new one."""
    if len(table) <= rows:
        return table
    byte_pieces = {byte: token_id for byte, token_id in table.byte_pieces.items() if token_id < rows}
    return replace(table, tokens=table.tokens[:rows], pieces=table.pieces[:rows], byte_pieces=byte_pieces)


def conversion_matrix(
    old_tokenizer: Any, new_tokenizer: Any, rows_old: int | None = None, rows_new: int | None = None
) -> ConversionMatrix:
    """T from the old vocabulary to the new one.

    old_tokenizer, new_tokenizer: `tokenizers.Tokenizer` or fast transformers tokenizers. rows_old, rows_new: rows
    of the embedding matrices (more than there are ids: padding); by default the number of ids. Old tokens beyond the
    old rows do not count (`with_rows`). Raises UserError for an unknown tokenizer kind and for fewer new rows than ids.
    """
    old, new = TokenTable.of(old_tokenizer), TokenTable.of(new_tokenizer)
    rows_old, rows_new = rows_old or len(old), rows_new or len(new)
    if rows_new < len(new):
        raise UserError(f"the new tokenizer has ids up to {len(new) - 1}, the embeddings only {rows_new} rows")
    old = with_rows(old, rows_old)
    origins = np.zeros(rows_new, dtype=np.uint8)
    sources: list[list[int]] = [[] for _ in range(rows_new)]
    unshared: list[tuple[int, bytes]] = []
    for token_id, (token, piece) in enumerate(zip(new.tokens, new.pieces, strict=True)):
        if token is None or piece is None:
            continue
        shared = _shared_id(token, piece, old, old.kind == new.kind)
        if shared is not None:
            origins[token_id] = Origin.SPECIAL if isinstance(token, Special) else Origin.COPIED
            sources[token_id] = [shared]
        elif isinstance(token, Special):
            origins[token_id] = Origin.NEW
        else:
            unshared.append((token_id, token))
    segments = Segmenter(old_tokenizer, old).segment([raw for _, raw in unshared])
    for (token_id, _), segment in zip(unshared, segments, strict=True):
        origins[token_id] = Origin.NEW if segment is None else Origin.MEAN
        sources[token_id] = segment or []
    indptr = np.concatenate([[0], np.cumsum([len(ids) for ids in sources])]).astype(np.int64)
    indices = np.array([source for ids in sources for source in ids], dtype=np.int64)
    padding = (None,) * (rows_new - len(new))
    return ConversionMatrix(rows_new, rows_old, indptr, indices, origins, new.pieces + padding, old.pieces)
