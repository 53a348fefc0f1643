"""Darumeru: a benchmark-first evaluation harness for Russian language models, with LEP as plugins.

Nothing heavy is imported here; names load when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_EXPORTS = {
    "evaluate": "darumeru.runs.evaluate",
    "load_run": "darumeru.runs.run",
    "load_runs": "darumeru.runs.run_table",
    "Run": "darumeru.runs.run",
    "compare": "darumeru.leaderboard.comparison",
    "Comparison": "darumeru.leaderboard.comparison",
    "export": "darumeru.publishing.exports",
    "UserError": "darumeru.core.errors",
    "RunFailed": "darumeru.core.errors",
    "DarumeruCallback": "darumeru.training.callback",
    "LiveEvaluation": "darumeru.training.live_evaluation",
    "LiveOptions": "darumeru.training.config",
    "lm_eval_model": "darumeru.lm_eval_bridge",
}
__all__ = sorted(_EXPORTS)

if TYPE_CHECKING:
    from darumeru.core.errors import RunFailed as RunFailed
    from darumeru.core.errors import UserError as UserError
    from darumeru.leaderboard.comparison import Comparison as Comparison
    from darumeru.leaderboard.comparison import compare as compare
    from darumeru.lm_eval_bridge import lm_eval_model as lm_eval_model
    from darumeru.publishing.exports import export as export
    from darumeru.runs.evaluate import evaluate as evaluate
    from darumeru.runs.run import Run as Run
    from darumeru.runs.run import load_run as load_run
    from darumeru.runs.run_table import load_runs as load_runs
    from darumeru.training.callback import DarumeruCallback as DarumeruCallback
    from darumeru.training.config import LiveOptions as LiveOptions
    from darumeru.training.live_evaluation import LiveEvaluation as LiveEvaluation

    __version__: str
else:

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version

            return version("darumeru")
        if name not in _EXPORTS:
            raise AttributeError(f"module 'darumeru' has no attribute {name!r}")
        return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
