"""How the ids of base, target and donor belong together: which rows are fitted, which are copied, which are new."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from darumeru.core.errors import UserError
from darumeru.models.token_bytes import Special, TokenTable
from darumeru.models.token_ids import same_token
from lep_plugins.conversion import ConversionMatrix, Origin, conversion_matrix, rows_for, with_rows
from lep_plugins.propagation.models import EMBEDDING, Model, Trio
from lep_plugins.propagation.rows import Ids
from lep_plugins.propagation.solve import Problem
from lep_plugins.propagation.special_tokens import AddedToken, added_tokens, named_tokens


@dataclass(frozen=True)
class Relation:
    """conversion: T of base and donor, donor rows x base rows. target_of_base: the target's id of each base row, -1
    where it has no such token. copied_ids (ascending), copied_from: the result's rows that are the target's as they
    are, added and special tokens, and the target's ids of them. appended: those of them that the donor lacks, in the
    order of the target's ids; they follow the donor's `donor_tokens` tokens. rows: rows of the result, padding
    included."""

    conversion: ConversionMatrix
    target_of_base: Ids
    copied_ids: Ids
    copied_from: Ids
    appended: tuple[AddedToken, ...]
    donor_tokens: int
    rows: int

    @property
    def new_ids(self) -> dict[str, int]:
        """The ids of the appended tokens by name."""
        return {token.content: self.donor_tokens + place for place, token in enumerate(self.appended)}

    @property
    def donor_rows(self) -> Ids:
        """The donor's rows that belong to a token; the others are padding and holes."""
        return np.flatnonzero(self.conversion.origins != Origin.PADDING).astype(np.int64)

    def fit_rows(self, *origins: Origin) -> Ids:
        """Donor ids of these origins that take part in a fit: not copied from the target, and every old token behind
        them is ordinary and known to the target."""
        candidates = np.setdiff1d(self.conversion.ids(*origins), self.copied_ids)
        matrix = self.conversion.matrix[candidates]
        unusable = matrix @ (self.target_of_base < 0).astype(np.float64)
        usable: Ids = candidates[unusable == 0]
        return usable

    def result_id(self, trio: Trio, target_id: int) -> int | None:
        """The result's id of a token of the target; None when the result has no such token."""
        table = trio.target.table
        piece = table.pieces[target_id] if target_id < len(table) else None
        return self.new_ids[piece] if piece in self.new_ids else same_token(target_id, table, trio.donor.table)

    def weights(self, fit_rows: Ids) -> tuple[Any, Ids]:
        """(T_u, used base ids): the rows of T that are fitted, over the columns that they use."""
        matrix = self.conversion.matrix[fit_rows].tocsc()
        used = np.flatnonzero(np.diff(matrix.indptr)).astype(np.int64)
        return matrix[:, used].tocsr(), used

    def problem(self, trio: Trio, matrix: str, *origins: Origin) -> Problem:
        """The least-squares problem of one matrix over the rows of these origins. UserError when there are none."""
        fit_rows = self.fit_rows(*origins)
        if not len(fit_rows):
            what = "no shared tokens" if origins == (Origin.COPIED,) else "no token of the donor is made of base tokens"
            raise UserError(f"{what}: nothing to fit", str(trio.donor.path), "use method swap")
        weights, used = self.weights(fit_rows)
        return Problem(trio.base.rows(matrix), trio.target.rows(matrix), used, self.target_of_base[used], weights)


def relate(trio: Trio) -> Relation:
    """Compare the three vocabularies. A token without an embedding row has no part in the fit and is not copied; in the
    result its row is the mean. UserError: a tokenizer of an unknown kind."""
    rows_base, rows_target, rows_donor = (
        model.rows(EMBEDDING).height for model in (trio.base, trio.target, trio.donor)
    )
    every = max(rows_donor, len(trio.donor.table))
    conversion = conversion_matrix(trio.base.tokenizer, trio.donor.tokenizer, rows_base, every).first(rows_donor)
    base, target = with_rows(trio.base.table, rows_base), with_rows(trio.target.table, rows_target)
    target_of_base = _target_of_base(base, target, rows_base)
    names = target_names(trio.target)
    donor_ids = trio.donor.table.ids_by_piece
    shared = sorted((donor_ids[name], token_id) for name, token_id in names.items() if name in donor_ids)
    lacking = sorted((token_id, name) for name, token_id in names.items() if name not in donor_ids)
    flags = added_tokens(trio.target.tokenizer)
    appended = tuple(flags.get(name, AddedToken(name)) for _, name in lacking)
    first = len(trio.donor.table)
    tokens = first + len(appended)
    rows = rows_donor if tokens <= rows_donor else rows_for(tokens)
    pairs = shared + [(first + place, token_id) for place, (token_id, _) in enumerate(lacking)]
    copied = np.array([pair for pair in pairs if pair[1] < rows_target], dtype=np.int64).reshape(-1, 2)
    return Relation(conversion, target_of_base, copied[:, 0], copied[:, 1], appended, first, rows)


def target_names(target: Model) -> dict[str, int]:
    """The target's added and special tokens by name, and the tokens its special-token map names, with their ids."""
    ids = target.table.ids_by_piece
    specials = {token.name for token in target.table.tokens if isinstance(token, Special)}
    mapped = {name for name in named_tokens(target.tokenizer_folder) if name in ids}
    added = set(added_tokens(target.tokenizer))
    unlisted = specials - added - mapped  # the unknown token of a Unigram model: the donor's model has its own
    return {name: ids[name] for name in (specials | mapped | added) - unlisted}


def _target_of_base(base: TokenTable, target: TokenTable, rows_base: int) -> Ids:
    """The target's id of each base row with the same bytes; -1 for specials, padding and what the target lacks."""
    found = np.full(rows_base, -1, dtype=np.int64)
    for token_id, (token, piece) in enumerate(zip(base.tokens, base.pieces, strict=True)):
        if isinstance(token, bytes) and piece is not None:
            same = target.id_of(token, piece)
            found[token_id] = -1 if same is None else same
    return found
