"""Axolotl's plugin hook: `plugins: [darumeru.training.axolotl_plugin.DarumeruPlugin]` and a section `darumeru:`."""

from __future__ import annotations

from typing import Any

from axolotl.integrations.base import BasePlugin
from pydantic import BaseModel, Field

from darumeru.training.callback import DarumeruCallback
from darumeru.training.config import LiveOptions


class DarumeruArgs(BaseModel):
    """What axolotl's config takes in addition: fields of DarumeruCallback, those of LiveOptions under `live`."""

    darumeru: dict[str, Any] = Field(default_factory=dict)


class DarumeruPlugin(BasePlugin):  # type: ignore[misc]
    """Adds DarumeruCallback to axolotl's trainer."""

    def get_input_args(self) -> str:
        return f"{__name__}.DarumeruArgs"

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[Any]:
        options = dict(cfg.darumeru or {})
        live = LiveOptions(**dict(options.pop("live", None) or {}))
        return [DarumeruCallback(**options, live=live)]
