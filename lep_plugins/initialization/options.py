"""What can be said to an initializer beside its corpus: one value for the command line, Python and recipes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from darumeru.core.errors import UserError

Dtype = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class InitOptions:
    """distill: layer whose hidden states are matched (-1: the last, after the final norm); snippets of a token;
    snippet_length in old tokens; batch of snippets; learning_rate; dtype of the layers ("auto": as stored). focus, ofa:
    vectors, a text file. ofa: rank, None for all of d. zett: hypernet, an exported program."""

    layer: int = -1
    snippets: int = 25
    snippet_length: int = 50
    batch: int = 16
    learning_rate: float = 1e-4
    dtype: Dtype = "auto"
    vectors: str | None = None
    rank: int | None = None
    hypernet: str | None = None

    def __post_init__(self) -> None:
        least = {"snippets": 1, "snippet_length": 4, "batch": 1, "rank": 1}
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and value < bound:
                raise UserError(f"{name} must be at least {bound}, not {value}", "initialization")
        if self.layer < 1 and self.layer != -1:
            raise UserError(f"no layer {self.layer}", "initialization", "count from 1; -1 is the last one")
        if not self.learning_rate > 0:
            raise UserError(f"learning_rate must be above 0, not {self.learning_rate}", "initialization")
        if self.dtype not in get_args(Dtype):
            raise UserError(f'no dtype "{self.dtype}"', "initialization", f"known: {', '.join(get_args(Dtype))}")


DEFAULTS = InitOptions()
