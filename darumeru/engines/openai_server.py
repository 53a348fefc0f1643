"""HTTP to an OpenAI-compatible server: retries, and what its failures mean."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import httpx

from darumeru.core.errors import UserError, near_names
from darumeru.engines.openai_arguments import OpenAIArguments
from darumeru.engines.protocol import EngineOptions

# Too many requests, and failures of the server or of what stands before it.
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
BUSY = frozenset({429})
_IDENTITY = ("id", "root", "parent", "owned_by", "max_model_len")


class RefusedError(Exception):
    """The server understood and said no (4xx), or went on failing after all retries; its own words."""


class GoneError(Exception):
    """Nobody answers at the address any more."""


class Server:
    """One server, usable from several threads. url: the address that ends in /v1."""

    def __init__(self, url: str, arguments: OpenAIArguments) -> None:
        self.url = url.rstrip("/")
        self.arguments = arguments
        self.stopping = threading.Event()
        headers = {"Authorization": f"Bearer {arguments.key}"} if arguments.key else {}
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        self._client = httpx.Client(headers=headers, timeout=arguments.timeout, limits=limits)

    def models(self) -> list[dict[str, Any]]:
        """What the server serves; UserError when this is no such server."""
        try:
            response = self._client.get(f"{self.url}/models")
            if response.status_code == 404 and not self.url.endswith("/v1"):
                self.url += "/v1"
                response = self._client.get(f"{self.url}/models")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UserError(f"no server answers: {error or type(error).__name__}", self.url) from error
        if response.status_code in (401, 403):
            raise UserError("the server wants a key", self.url, "set OPENAI_API_KEY")
        try:
            listed = response.json()["data"] if response.status_code == 200 else None
        except (ValueError, KeyError, TypeError):
            listed = None
        if not isinstance(listed, list) or not all(isinstance(each, dict) and "id" in each for each in listed):
            raise UserError(f"not an OpenAI-compatible server (GET /models: HTTP {response.status_code})", self.url)
        return listed

    def served(self) -> dict[str, Any]:
        """The entry of `models` that is asked: the one that the arguments name, or the only one. UserError when there
        is none or a choice."""
        wanted = self.arguments.model
        models = {str(each["id"]): each for each in self.models()}
        if wanted is None and len(models) == 1:
            return next(iter(models.values()))
        if wanted in models:
            return models[wanted]
        mend = f"served: {', '.join(sorted(models)[:8]) or 'none'}"
        if wanted is None:
            raise UserError(
                "the server has several models" if models else "the server has no model",
                self.url,
                f"--engine-args model=NAME; {mend}",
            )
        raise UserError(f"the server has no model `{wanted}`", self.url, mend, near_names(wanted, models))

    def post(self, path: str, body: Mapping[str, Any], retried: frozenset[int] = RETRIED) -> dict[str, Any]:
        """The server's JSON answer. retried: HTTP statuses worth another try. Raises RefusedError or GoneError when
        the tries are used up."""
        wait = self.arguments.backoff
        for left in range(self.arguments.retries, -1, -1):
            failure: Exception
            delay = wait
            try:
                response = self._client.post(f"{self.url}{path}", json=dict(body))
            except httpx.TimeoutException:
                failure = RefusedError(f"no answer within {self.arguments.timeout:g} s")
            except httpx.HTTPError as error:
                failure = GoneError(f"{self.url}: {error or type(error).__name__}")
            else:
                if response.status_code < 400:
                    return _object(response)
                failure = RefusedError(f"HTTP {response.status_code}: {_reason(response)}")
                if response.status_code not in retried:
                    raise failure
                delay = _retry_after(response, wait)
            if not left or self.stopping.wait(delay):
                raise failure
            wait *= 2
        raise AssertionError("unreachable")

    def close(self) -> None:
        """End waiting retries and close the connections."""
        self.stopping.set()
        self._client.close()


def served_model(options: EngineOptions) -> Mapping[str, Any]:
    """What the server at options.model says it serves: the identity of a server's model.

    Of the entry in GET /models: id, root (what was loaded), parent (of an adapter), owned_by, max_model_len, as far as
    the server tells them; no address, time or permission, which differ without another model. UserError as in
    `Server.models` and `Server.served`.
    """
    server = Server(options.model, OpenAIArguments.of(options.extra))
    try:
        entry = server.served()
    finally:
        server.close()
    return {key: entry[key] for key in _IDENTITY if entry.get(key) is not None}


def _object(response: httpx.Response) -> dict[str, Any]:
    try:
        value = response.json()
    except ValueError as error:
        raise RefusedError("the answer is not JSON") from error
    if not isinstance(value, dict):
        raise RefusedError("the answer is not a JSON object")
    return value


def _reason(response: httpx.Response) -> str:
    """The message inside the error's JSON, or the beginning of the text."""
    try:
        value = response.json()
    except ValueError:
        return response.text.strip()[:200] or response.reason_phrase
    while isinstance(value, dict):
        value = value.get("error") or value.get("message") or value.get("detail") or str(value)
    return " ".join(str(value).split())[:300]


def _retry_after(response: httpx.Response, default: float) -> float:
    try:
        return min(float(response.headers.get("Retry-After", default)), 60.0)
    except ValueError:
        return default
