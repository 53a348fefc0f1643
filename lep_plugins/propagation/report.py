"""What a propagation did: a value, its JSON and its table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lep_plugins.propagation.phases import Cost

if TYPE_CHECKING:
    from rich.console import RenderableType

SCHEMA = 1
CONDITION_LIMIT = 1e4
RESIDUAL_LIMIT = 0.9
CHANGE_LIMIT = 0.5


@dataclass(frozen=True)
class MovedToken:
    """A token and how far its row moved: change is the length of the change, relative that by the row's length."""

    id: int
    token: str
    change: float
    relative: float


@dataclass(frozen=True)
class MatrixReport:
    """One fitted matrix. matrix: "embedding" or "head". tensor: its name. width: d. fit_rows, used_tokens: donor
    tokens in the fit and base tokens behind them. rank, condition, residual, delta_norm (Frobenius), solver: of the
    fit (None where the method has none). change: ||output - donor|| / ||donor||. precision: of the products. moved:
    the tokens that moved most."""

    matrix: str
    tensor: str
    width: int
    fit_rows: int
    used_tokens: int
    rank: int | None
    condition: float | None
    residual: float | None
    delta_norm: float | None
    solver: str | None
    precision: str
    change: float
    moved: tuple[MovedToken, ...]

    def warnings(self) -> list[str]:
        """What a reader should look at, one line each."""
        found = []
        if self.rank is not None and self.rank < self.width:
            found.append(f"{self.matrix}: the fit has rank {self.rank} of {self.width}; other directions are unchanged")
        if self.condition is not None and self.condition > CONDITION_LIMIT:
            found.append(f"{self.matrix}: condition number {self.condition:.1e}, above {CONDITION_LIMIT:.0e}")
        if self.residual is not None and self.residual > RESIDUAL_LIMIT:
            found.append(f"{self.matrix}: the linear map explains little of the change (residual {self.residual:.2f})")
        if self.change > CHANGE_LIMIT:
            found.append(f"{self.matrix}: rows changed by {self.change:.0%} of their length, above {CHANGE_LIMIT:.0%}")
        return found


@dataclass(frozen=True)
class PropagationReport:
    """base, target, donor, output: folders. tied: one matrix for both. rows: of the result. tokens: number of donor
    rows by origin (copied, mean, special, new, padding). appended: names of the target's tokens that were added.
    matrices: E and W. warnings: in words. costs: by phase."""

    method: str
    base: str
    target: str
    donor: str
    output: str
    tied: bool
    rows: int
    tokens: Mapping[str, int]
    appended: tuple[str, ...]
    matrices: tuple[MatrixReport, ...]
    warnings: tuple[str, ...]
    costs: Mapping[str, Cost]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, with a schema version."""
        return {"schema": SCHEMA, **asdict(self)}

    def rows_by_origin(self) -> dict[str, int]:
        """Rows of the result by origin, the appended ones among them; they add up to `rows`."""
        tokens = {name: count for name, count in self.tokens.items() if name != "padding"}
        tokens["appended"] = len(self.appended)
        return {**tokens, "padding": self.rows - sum(tokens.values())}

    def render(self) -> RenderableType:
        """A table a matrix, then tokens and warnings, for a rich console."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(
            "", *(part.matrix for part in self.matrices), title=f"{self.method} propagation", title_justify="left"
        )
        for name, cells in _cells(self.matrices).items():
            table.add_row(name, *cells)
        parts = ", ".join(f"{count} {name}" for name, count in self.rows_by_origin().items() if count)
        lines = [Text(f"{self.rows} rows: {parts}")]
        if self.appended:
            lines.append(Text(f"appended from the target: {' '.join(self.appended)}"))
        lines += [Text(f"warning: {warning}", style="yellow") for warning in self.warnings]
        return Group(table, *lines)


def _cells(matrices: tuple[MatrixReport, ...]) -> dict[str, list[str]]:
    rows = {
        "tensor": [part.tensor for part in matrices],
        "donor tokens fitted": [str(part.fit_rows) for part in matrices],
        "base tokens used": [str(part.used_tokens) for part in matrices],
        "rank": [f"{part.rank} of {part.width}" if part.rank is not None else "-" for part in matrices],
        "condition number": [_number(part.condition) for part in matrices],
        "residual": [_number(part.residual) for part in matrices],
        "norm of Delta": [_number(part.delta_norm) for part in matrices],
        "change of the rows": [f"{part.change:.2%}" for part in matrices],
        "solver": [part.solver or "-" for part in matrices],
        "products": [part.precision for part in matrices],
    }
    moved = ["\n".join(f"{item.relative:7.2%} {item.token!r}" for item in part.moved) or "-" for part in matrices]
    return rows | {"moved most": moved}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
