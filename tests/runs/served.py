"""A small OpenAI-compatible server inside the test: it says what it serves and answers with fixed probabilities."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Served:
    """model: entry of GET /models; favourite: the token that gets most of the probability. asked: generating calls."""

    def __init__(self) -> None:
        self.model: dict[str, Any] = {"id": "m", "root": "weights-1", "created": 1}
        self.favourite = "1"
        self.asked = 0
        self.url = ""


@contextmanager
def serving(served: Served) -> Iterator[Served]:
    """The server on a free port of 127.0.0.1 while the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self._send({"object": "list", "data": [served.model]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if body["messages"][0]["content"].startswith("Вопрос"):
                served.asked += 1
            top = [{"token": t, "logprob": math.log(0.7 if t == served.favourite else 0.1)} for t in "123"]
            logprobs = {"content": [{**top[0], "top_logprobs": top}]} if body.get("logprobs") else None
            message = {"role": "assistant", "content": served.favourite}
            self._send({"choices": [{"message": message, "logprobs": logprobs, "finish_reason": "stop"}]})

        def _send(self, document: Any) -> None:
            data = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
