"""HTTP to an OpenAI-compatible server: limits of time and size, retries, and what its failures mean."""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, stop_when_event_set
from tenacity.nap import sleep_using_event

from darumeru.core.errors import UserError, near_names
from darumeru.core.files import json_line
from darumeru.core.secrets import HIDDEN, redacted, secret_values
from darumeru.engines.openai_arguments import OpenAIArguments

# Too many requests, and failures of the server or of what stands before it.
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
LARGEST_ANSWER = 16 << 20
CONNECT_SECONDS = 20.0
LONGEST_BACKOFF = 60.0
CLOSE_SECONDS = 5.0
_PATHS = ("/models", "/chat/completions", "/completions")


class RefusedError(Exception):
    """There is no answer to this one request; the server's own words, or what is wrong with what it sent. status: of
    HTTP, 0 when there was none. busy: another try may help. wait: seconds that the server asks to wait."""

    def __init__(self, text: str, status: int = 0, busy: bool = False, wait: float | None = None) -> None:
        super().__init__(text)
        self.status, self.busy, self.wait = status, busy, wait


class GoneError(Exception):
    """Nobody answers at the address any more."""


@dataclass(frozen=True)
class Reply:
    """A whole answer of HTTP."""

    status: int
    headers: httpx.Headers
    content: bytes
    url: httpx.URL

    def json(self) -> Any:
        """Its JSON; RefusedError when it is none. NaN and Infinity are none."""
        try:
            return json.loads(self.content, parse_constant=_no_number)
        except RecursionError as error:
            raise RefusedError("the answer is nested too deeply") from error
        except ValueError as error:
            raise RefusedError("the answer is not JSON") from error


class Server:
    """One server, usable from several threads. url: the address that ends in /v1.

    Requests run in one event loop in a thread of its own, so that a time limit holds for all of a request, whatever it
    waits for.
    """

    def __init__(self, url: str, arguments: OpenAIArguments) -> None:
        self.url = url.rstrip("/")
        self.arguments = arguments
        self.stopping = threading.Event()
        key = arguments.key
        self._secrets = secret_values({"url": url, "api_key": key, "body": arguments.body})
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        patience = httpx.Timeout(None, connect=min(CONNECT_SECONDS, arguments.timeout))
        self._client = httpx.AsyncClient(headers=headers, timeout=patience, limits=limits)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="openai_server", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    @property
    def address(self) -> str:
        """The address as it may be shown."""
        return str(redacted(self.url))

    def models(self) -> list[dict[str, Any]]:
        """What the server serves; UserError when this is no such server."""
        reply = self._models()
        if reply.status == 404 and not self.url.endswith("/v1"):
            self.url += "/v1"
            reply = self._models()
        if reply.status in (401, 403):
            raise UserError("the server wants a key", self.address, "set OPENAI_API_KEY")
        if 300 <= reply.status < 400:
            raise UserError(self._failure(reply, frozenset()).args[0], self.address)
        try:
            document = reply.json() if reply.status == 200 else None
        except RefusedError:
            document = None
        listed = document.get("data") if isinstance(document, dict) else None
        if not isinstance(listed, list) or not all(_is_model(each) for each in listed):
            raise UserError(f"not an OpenAI-compatible server (GET /models: HTTP {reply.status})", self.address)
        return listed

    def _models(self) -> Reply:
        try:
            return self._send("GET", "/models")
        except (GoneError, RefusedError) as error:
            raise UserError(f"no server answers: {error}", self.address) from error

    def served(self) -> dict[str, Any]:
        """The entry of `models` that is asked: the one that the arguments name, or the only one. UserError when there
        is none or a choice."""
        wanted = self.arguments.model
        models = {each["id"]: each for each in self.models()}
        if wanted is None and len(models) == 1:
            return next(iter(models.values()))
        if wanted in models:
            return models[wanted]
        mend = f"served: {', '.join(sorted(models)[:8]) or 'none'}"
        if wanted is None:
            raise UserError(
                "the server has several models" if models else "the server has no model",
                self.address,
                f"--engine-args model=NAME; {mend}",
            )
        raise UserError(f"the server has no model `{wanted}`", self.address, mend, near_names(wanted, models))

    def post(self, path: str, body: Mapping[str, Any], retried: frozenset[int] = RETRIED) -> dict[str, Any]:
        """The server's JSON answer. retried: HTTP statuses worth another try. Raises RefusedError or GoneError when
        the tries are used up."""
        tries = Retrying(
            stop=stop_after_attempt(self.arguments.retries + 1) | stop_when_event_set(self.stopping),
            retry=retry_if_exception(self._may_pass),
            wait=self._wait,
            sleep=sleep_using_event(self.stopping),
            reraise=True,
        )
        return tries(self._once, path, body, retried)

    def order(self, path: str, body: Mapping[str, Any]) -> None:
        """POST something whose answer says nothing; RefusedError or GoneError when it is not done."""
        reply = self._send("POST", path, json_line(body).encode())
        if not 200 <= reply.status < 300:
            raise self._failure(reply, frozenset())

    def _once(self, path: str, body: Mapping[str, Any], retried: frozenset[int]) -> dict[str, Any]:
        reply = self._send("POST", path, json_line(body).encode())
        if not 200 <= reply.status < 300:
            raise self._failure(reply, retried)
        value = reply.json()
        if not isinstance(value, dict):
            raise RefusedError("the answer is not a JSON object")
        return value

    def _may_pass(self, error: BaseException) -> bool:
        """Whether another try may help. Nobody waits longer between two tries than for an answer."""
        if isinstance(error, RefusedError):
            return error.busy and (error.wait or 0) <= self.arguments.timeout
        return isinstance(error, GoneError)

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome and state.outcome.exception()
        if isinstance(error, RefusedError) and error.wait is not None:
            return error.wait
        return min(self.arguments.backoff * 2.0 ** min(state.attempt_number - 1, 60), LONGEST_BACKOFF)

    def _send(self, method: str, path: str, content: bytes | None = None) -> Reply:
        """One try. RefusedError when it takes too long, is too large or breaks off; GoneError when nobody is there."""
        if self.stopping.is_set():
            raise GoneError(f"{self.address}: closed")
        try:
            return asyncio.run_coroutine_threadsafe(self._whole(method, path, content), self._loop).result()
        except httpx.ConnectTimeout as error:
            raise GoneError(f"{self.address}: no connection within {CONNECT_SECONDS:g} s") from error
        except TimeoutError as error:
            raise RefusedError(f"no whole answer within {self.arguments.timeout:g} s", busy=True) from error
        except (httpx.ConnectError, httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
            raise GoneError(f"{self.address}: {self._hidden(str(error)) or type(error).__name__}") from error
        except httpx.HTTPError as error:
            reason = self._hidden(str(error)) or type(error).__name__
            raise RefusedError(f"the answer breaks off: {reason}", busy=True) from error

    async def _whole(self, method: str, path: str, content: bytes | None) -> Reply:
        headers = {"Content-Type": "application/json"} if content else {}
        async with asyncio.timeout(self.arguments.timeout):
            asked = self._client.stream(method, f"{self.url}{path}", content=content, headers=headers)
            async with asked as response:
                found = bytearray()
                async for part in response.aiter_bytes():
                    found += part
                    if len(found) > LARGEST_ANSWER:
                        raise RefusedError(f"the answer is larger than {LARGEST_ANSWER >> 20} MB")
        for secret in self._secrets:
            # A server that repeats its key: no answer and no message may carry it further.
            found = found.replace(secret.encode(), HIDDEN.encode())
        return Reply(response.status_code, response.headers, bytes(found), response.url)

    def _failure(self, reply: Reply, retried: frozenset[int]) -> RefusedError:
        if 300 <= reply.status < 400 and "Location" in reply.headers:
            place = self._hidden(str(reply.url.join(reply.headers["Location"])))
            for path in _PATHS:
                place = place.removesuffix(path)
            mend = "to itself" if place == self.address else f"to {place}; give that address"
            return RefusedError(f"redirects {mend}", reply.status)
        wait = _retry_after(reply.headers)
        asks = f" (asks to wait {wait:.0f} s)" if wait is not None and wait > self.arguments.timeout else ""
        reason = self._hidden(_reason(reply))
        return RefusedError(f"HTTP {reply.status}: {reason}{asks}", reply.status, reply.status in retried, wait)

    def _hidden(self, text: str) -> str:
        return str(redacted(text, self._secrets))

    def close(self) -> None:
        """End waiting retries and close the connections; may be called twice."""
        if self.stopping.is_set():
            return
        self.stopping.set()
        asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        self._thread.join(CLOSE_SECONDS)

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()
        self._loop.stop()


def _is_model(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("id"), str) and bool(entry["id"])


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def _reason(reply: Reply) -> str:
    """The message inside the error's JSON, or the beginning of the text."""
    try:
        value = reply.json()
        while isinstance(value, dict):
            value = value.get("error") or value.get("message") or value.get("detail") or str(value)
        said = str(value)
    except (RefusedError, RecursionError):
        said = reply.content[:1000].decode("utf-8", "replace")
    return " ".join(said.split())[:300] or "no reason is given"


def _retry_after(headers: httpx.Headers) -> float | None:
    """Seconds to wait, of a number or a date; None where there is none, or it has passed."""
    said = headers.get("Retry-After", "")
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(said).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return seconds if seconds >= 0 and not math.isnan(seconds) else None
