"""The outcome of a method that fits D by least squares."""

from __future__ import annotations

from lep_plugins.conversion import Origin
from lep_plugins.propagation.changes import Linear
from lep_plugins.propagation.methods import Outcome, Setting
from lep_plugins.propagation.solve import solve


def fitted(setting: Setting, *origins: Origin) -> Outcome:
    """Fit Delta on the donor tokens of these origins. UserError: there are none, or NaN or infinity in the rows."""
    problem = setting.relation.problem(setting.trio, setting.matrix, *origins)
    solution = solve(problem, setting.device, phases=setting.phases)
    change = Linear.of(solution.delta, setting.donor, setting.relation.donor_rows, setting.target.dtype, setting.device)
    return Outcome(change, problem.weights.shape[0], problem.weights.shape[1], solution.fit)
