"""The server of the viewer: this machine alone, a token in every address, GET only."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import sys
import threading
import traceback
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from darumeru.core.errors import UserError
from darumeru.viewer.pages import NoSuchPage, Pages

ADDRESS = "127.0.0.1"
HTML, JSON, PLAIN, PACKED = "text/html; charset=utf-8", "application/json", "text/plain", "application/gzip"
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# Pages name the hashes of their own script and style in themselves; this is for them and for all that is no page.
POLICY = {HTML: "frame-ancestors 'none'; base-uri 'none'; object-src 'none'"}
NOTHING = "default-src 'none'; frame-ancestors 'none'"


class Viewer(ThreadingHTTPServer):
    """Serves the runs of a folder on loopback. port: 0 takes a free one. UserError when it is taken."""

    daemon_threads = True

    def __init__(self, root: Path, port: int = 0) -> None:
        if not root.is_dir():
            raise UserError("no such folder", str(root), "give the folder that your runs are in")
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            raise UserError(f"port {port} cannot be used: {error.strerror}", "--port", "choose another one") from error
        self.token = secrets.token_urlsafe(24)
        self.pages = Pages(root, f"/{self.token}/")
        self.lock = threading.Lock()
        self.hosts = {f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")}

    @property
    def url(self) -> str:
        """Where the pages are; whoever has it sees the runs."""
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away is no error."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            traceback.print_exc()


class _Handler(BaseHTTPRequestHandler):
    server: Viewer
    server_version, sys_version = "darumeru", ""
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        status, kind, body = self._answer()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY.get(kind, NOTHING))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: addresses hold the token."""

    def _answer(self) -> tuple[HTTPStatus, str, bytes]:
        refusal = self._refusal()
        if refusal:
            return HTTPStatus.FORBIDDEN, PLAIN, refusal.encode()
        split = urlsplit(self.path)
        parts = tuple(unquote(part, errors="surrogateescape") for part in split.path.split("/")[2:])
        query = {key: values[-1] for key, values in parse_qs(split.query, errors="surrogateescape").items()}
        try:
            return self._found(parts, query)
        except NoSuchPage:
            return HTTPStatus.NOT_FOUND, HTML, self.server.pages.error("there is nothing at this address").encode()
        except UserError as error:
            return HTTPStatus.CONFLICT, HTML, self.server.pages.error(error.line()).encode()

    def _refusal(self) -> str:
        """Why the request is not answered: a page of another origin may have caused it (DNS rebinding), or its sender
        was not told the address."""
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or hosts[0].lower() not in self.server.hosts:
            return "this server answers only to the address that `darumeru view` printed\n"
        first = self.path.removeprefix("/").split("/")[0]
        token = first.encode("utf-8", "surrogateescape")
        if not self.path.startswith("/") or not hmac.compare_digest(token, self.server.token.encode()):
            return "the address lacks the token that `darumeru view` printed\n"
        return ""

    def _found(self, parts: tuple[str, ...], query: dict[str, str]) -> tuple[HTTPStatus, str, bytes]:
        pages = self.server.pages
        if "state" in query:
            return HTTPStatus.OK, JSON, json.dumps({"version": pages.version(parts, query)}).encode()
        with self.server.lock:
            if "chunk" in query:
                number = query["chunk"]
                if not number.isdecimal() or len(number) > 9:
                    raise NoSuchPage
                return HTTPStatus.OK, PACKED, base64.b64decode(pages.chunk(query.get("of", ""), int(number)))
            return HTTPStatus.OK, HTML, pages.page(parts, query).encode()
