"""An engine that is lent: its borrower asks it and cannot close it."""

from __future__ import annotations

from typing import Any, cast

from darumeru.engines.protocol import Engine


def lent(engine: Engine) -> Engine:
    """The same engine, but that closing it does nothing: who lends it closes it."""
    return cast(Engine, _Lent(engine))


class _Lent:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def close(self) -> None:
        pass
