"""Chat vector: donor + target - base in every tensor (arXiv:2310.04799), for donors whose layers were trained too.

A vocabulary row moves by the change of the same token, or by the mean change of the base tokens that spell it.
"""

import numpy as np
from scipy.sparse import csr_matrix

from lep_plugins.conversion import Origin
from lep_plugins.propagation.changes import MeanDifference
from lep_plugins.propagation.methods import Method, Outcome, Setting


def _outcome(setting: Setting) -> Outcome:
    relation, base = setting.relation, setting.trio.base.rows(setting.matrix)
    rows = relation.fit_rows(Origin.COPIED, Origin.MEAN)
    weights, used = relation.weights(rows)
    height = setting.donor.height
    place = csr_matrix((np.ones(len(rows)), (rows, np.arange(len(rows)))), shape=(height, len(rows)))
    with setting.phases("reading rows"):
        target_ids = relation.target_of_base[used]
        change = MeanDifference.of((place @ weights).tocsr(), base, setting.target, used, target_ids)
    return Outcome(change, len(rows), len(used))


METHOD = Method("chat_vector", _outcome, layers=True)
