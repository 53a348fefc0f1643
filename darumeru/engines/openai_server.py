"""HTTP to an OpenAI-compatible server: retries, and what its failures mean."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from darumeru.core.errors import UserError

# Too many requests, and failures of the server or of what stands before it.
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
BUSY = frozenset({429})


class RefusedError(Exception):
    """The server understood and said no (4xx), or went on failing after all retries; its own words."""


class GoneError(Exception):
    """Nobody answers at the address any more."""


@dataclass(frozen=True)
class Patience:
    """retries: further tries after the first. backoff: seconds before the first of them, doubled each time (a
    Retry-After of the server counts instead). timeout: seconds for one answer."""

    retries: int = 5
    backoff: float = 0.5
    timeout: float = 600.0


class Server:
    """One server, usable from several threads. url: the address that ends in /v1."""

    def __init__(self, url: str, api_key: str | None, patience: Patience) -> None:
        self.url = url.rstrip("/")
        self.patience = patience
        self.stopping = threading.Event()
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        self._client = httpx.Client(headers=headers, timeout=patience.timeout, limits=limits)

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

    def post(self, path: str, body: Mapping[str, Any], retried: frozenset[int] = RETRIED) -> dict[str, Any]:
        """The server's JSON answer. retried: HTTP statuses worth another try. Raises RefusedError or GoneError when
        the tries are used up."""
        wait = self.patience.backoff
        for left in range(self.patience.retries, -1, -1):
            failure: Exception
            delay = wait
            try:
                response = self._client.post(f"{self.url}{path}", json=dict(body))
            except httpx.TimeoutException:
                failure = RefusedError(f"no answer within {self.patience.timeout:g} s")
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
