"""A candidate as a line of the board."""

from __future__ import annotations

from pathlib import Path

from darumeru.adaptation.scoring import Scored
from darumeru.adaptation.store import Made
from darumeru.core.options import to_plain
from darumeru.leaderboard.candidates import BoardLine


def board_line(made: Made, scored: Scored | None, folder: Path, race: str = "") -> BoardLine:
    """scored: None where its step is not scored. folder: the pipeline's; paths in it are relative to it. race: what a
    race says of it."""
    candidate = made.candidate
    return BoardLine(
        label=made.label,
        lineage=made.lineage,
        scores=scored.scores if scored else {},
        main=scored.main if scored else None,
        measures=scored.measures if scored else {},
        failed=scored.failed if scored else None,
        deleted=made.deleted,
        training=made.variant,
        training_step=candidate.training_step,
        samples=scored.samples if scored else 0,
        part=scored.part if scored else None,
        race=race,
        facts={
            "node": made.node or None,
            "variant": made.variant or None,
            "step": candidate.step,
            "parameters": to_plain(candidate.parameters),
            "parents": list(candidate.parents),
            "path": _relative(made.path, folder),
            "run": _relative(scored.run, folder) if scored else None,
        },
    )


def _relative(path: Path, folder: Path) -> str:
    resolved, folder = path.resolve(), folder.resolve()
    return str(resolved.relative_to(folder)) if resolved.is_relative_to(folder) else str(resolved)
