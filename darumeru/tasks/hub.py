"""The Hub, asked once whether it is there, instead of half a minute of retries for every file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

SECONDS = 5.0


@contextmanager
def hub_access() -> Iterator[None]:
    """Offline, with what is cached, where the Hub does not answer; its libraries' own lines do not reach the terminal,
    where they would cut a progress display."""
    import datasets
    import huggingface_hub

    switches = huggingface_hub.constants, datasets.config
    loggers = datasets.utils.logging, huggingface_hub.utils.logging
    before = [one.HF_HUB_OFFLINE for one in switches]
    said = [one.get_verbosity() for one in loggers]
    for logger in loggers:
        logger.set_verbosity_error()
    offline = any(before) or not _answers(huggingface_hub.constants.ENDPOINT)
    for switch in switches:
        switch.HF_HUB_OFFLINE = offline
    try:
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.HF_HUB_OFFLINE = value
        for logger, verbosity in zip(loggers, said, strict=True):
            logger.set_verbosity(verbosity)


@cache
def _answers(address: str) -> bool:
    import httpx

    try:
        httpx.head(address, timeout=SECONDS)
    except httpx.HTTPError:
        return False
    return True
