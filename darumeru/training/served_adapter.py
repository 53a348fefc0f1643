"""Adapters on a server that holds their base: loaded by name, asked, and taken out again (vLLM's dynamic LoRA)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.engines.openai_arguments import OpenAIArguments
from darumeru.engines.openai_server import GoneError, RefusedError, Server

_MEND = "start it as `VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve BASE --enable-lora`"


def check_server(url: str, arguments: Mapping[str, Any]) -> None:
    """UserError where no OpenAI-compatible server answers at the address."""
    with _server(url, arguments):
        pass


@contextmanager
def served_adapter(url: str, arguments: Mapping[str, Any], folder: Path, name: str) -> Iterator[str]:
    """The name under which the server answers with the adapter in `folder`, which it must see under the same path.

    arguments: --engine-args of the openai engine. UserError with the server's words when it does not take the adapter.
    """
    with _server(url, arguments) as server:
        served = {"lora_name": name, "lora_path": str(folder.resolve())}
        with suppress(RefusedError):  # one that an earlier watch left behind has other weights
            server.order("/unload_lora_adapter", {"lora_name": name})
        try:
            server.order("/load_lora_adapter", served)
        except RefusedError as error:
            mend = _MEND if error.status in (404, 405) and "adapter" not in str(error) else ""
            raise UserError(f"the server does not take the adapter: {error}", str(folder), mend) from error
        except GoneError as error:
            raise UserError(f"no server answers: {error}", server.address) from error
        try:
            yield name
        finally:
            with suppress(RefusedError, GoneError):
                server.order("/unload_lora_adapter", {"lora_name": name})


@contextmanager
def _server(url: str, arguments: Mapping[str, Any]) -> Iterator[Server]:
    server = Server(url, OpenAIArguments.of(arguments))
    try:
        server.models()
        yield server
    finally:
        server.close()
