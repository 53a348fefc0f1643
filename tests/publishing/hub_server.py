"""The Hub's endpoint on this machine, as far as publishing asks it: one repository a path, commits kept in memory."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """repositories: "models/OWNER/NAME" -> path -> content. created: bodies of the requests that made one. commits: the
    headers of commits, with "files". tokens: that were sent. refuse: a status that every commit gets."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    created: list[dict[str, Any]] = field(default_factory=list)
    commits: list[dict[str, Any]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    refuse: int = 0
    url: str = ""


@contextmanager
def hub(state: FakeHub) -> Iterator[FakeHub]:
    class Handler(_Handler):
        of = state

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        state.url = f"http://127.0.0.1:{server.server_port}"
        yield state
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    of: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None: ...

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode())

    def _body(self) -> bytes:
        if "chunked" in (self.headers.get("Transfer-Encoding") or ""):
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_GET(self) -> None:
        self.of.tokens.add(self.headers.get("Authorization") or "")
        path = unquote(self.path.split("?")[0]).strip("/")
        if path.startswith("api/"):
            kind, _, name = path.removeprefix("api/").partition("/")
            if f"{kind}/{name}" not in self.of.repositories:
                return self._send(404, b"{}", X_Error_Code="RepoNotFound")
            return self._json({"id": name, "sha": COMMIT})
        repository, _, file = path.partition("/resolve/main/")
        kind = "" if repository.startswith(("datasets/", "spaces/")) else "models/"
        content = self.of.repositories.get(kind + repository, {}).get(file)
        if content is None:
            return self._send(404, b"", X_Error_Code="EntryNotFound")
        return self._send(200, content, ETag='"1"', X_Repo_Commit=COMMIT)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.of.tokens.add(self.headers.get("Authorization") or "")
        body, path = self._body(), unquote(self.path.split("?")[0]).strip("/")
        if path == "api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if path == "api/repos/create":
            asked = json.loads(body)
            self.of.created.append(asked)
            owner = asked.get("organization") or "owner"
            name = f"{asked.get('type', 'model')}s/{owner}/{asked['name'].rpartition('/')[2]}"
            self.of.repositories.setdefault(name, {})
            return self._json({"url": f"{self.of.url}/{name}", "name": name})
        if "/preupload/" in path:
            files = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                     for one in json.loads(body)["files"]]  # fmt: skip
            return self._json({"files": files})
        if self.of.refuse:
            return self._json({"error": f"no rights with {self.headers.get('Authorization')}"}, self.of.refuse)
        repository = path.removeprefix("api/").partition("/commit/")[0]
        lines = [json.loads(line) for line in body.splitlines()]
        files = {one["value"]["path"]: base64.b64decode(one["value"]["content"])
                 for one in lines if one["key"] == "file"}  # fmt: skip
        self.of.repositories[repository] |= files
        self.of.commits.append(lines[0]["value"] | {"files": files, "address": self.path})
        pull = f"{self.of.url}/{repository}/discussions/1" if "create_pr=1" in self.path else None
        return self._json({"commitUrl": f"{self.of.url}/{repository}/commit/{COMMIT}", "commitOid": COMMIT,
                           "pullRequestUrl": pull})  # fmt: skip
