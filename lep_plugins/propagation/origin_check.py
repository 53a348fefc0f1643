"""Was the donor made from this base? Its special tokens and the rows of shared tokens tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from darumeru.core.errors import UserError
from lep_plugins.conversion import Origin
from lep_plugins.propagation.models import Trio
from lep_plugins.propagation.relation import Relation
from lep_plugins.propagation.rows import gather_any
from lep_plugins.propagation.special_tokens import named_tokens

SAMPLE = 2048
LIKENESS = 0.1
"""Mean cosine of centred rows below which donor and base are strangers: unrelated rows give 0 +- 1/sqrt(d n), a donor
trained from the base stays far above."""

MEND = "--force goes on all the same"


def check_origin(trio: Trio, relation: Relation) -> None:
    """UserError when the donor lacks a token that the base's special-token map names, or its rows of shared tokens do
    not resemble the base's."""
    names = set(named_tokens(trio.base.tokenizer_folder)) & trio.base.table.ids_by_piece.keys()
    if lost := sorted(names - trio.donor.table.ids_by_piece.keys()):
        raise UserError(f"the donor has no token {lost[0]} of the base", str(trio.donor.path), MEND)
    donor_ids, base_ids = relation.conversion.one_hot(Origin.COPIED)
    if len(donor_ids) < 2:
        return
    picked = np.unique(np.linspace(0, len(donor_ids) - 1, SAMPLE).astype(np.int64))
    for matrix in trio.matrices:
        donor, base = trio.donor.rows(matrix), trio.base.rows(matrix)
        likeness = _likeness(gather_any(donor, donor_ids[picked]), gather_any(base, base_ids[picked]))
        if likeness < LIKENESS:
            text = f"the donor was not made from this base: rows of shared tokens differ (mean cosine {likeness:.2f})"
            raise UserError(text, donor.where, MEND)


def _likeness(one: Any, other: Any) -> float:
    one, other = (rows.double() - rows.double().mean(0) for rows in (one, other))
    return float(torch.nn.functional.cosine_similarity(one, other, dim=1).mean())
