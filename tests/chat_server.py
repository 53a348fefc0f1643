"""A small OpenAI-compatible server inside a test, which says what it serves and what it answers."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def chat_server(
    model: Callable[[], dict[str, Any]], reply: Callable[[dict[str, Any]], dict[str, Any] | int]
) -> Iterator[str]:
    """The address of a server on a free port of 127.0.0.1 while the context lasts. model: the entry of GET /models.
    reply: to the body of a question, a document or the status of an error."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self._send({"object": "list", "data": [model()]})

        def do_POST(self) -> None:
            answer = reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if isinstance(answer, int):
                self.send_error(answer)
            else:
                self._send(answer)

        def _send(self, document: Any) -> None:
            data = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def spoken(text: str, likely: Mapping[str, float] | None = None) -> dict[str, Any]:
    """The document that says `text`. likely: token -> probability of the first tokens, the one that was drawn first."""
    top = [{"token": token, "logprob": math.log(share)} for token, share in (likely or {}).items()]
    logprobs = {"content": [{**top[0], "top_logprobs": top}]} if top else None
    message = {"role": "assistant", "content": text}
    return {"choices": [{"message": message, "logprobs": logprobs, "finish_reason": "stop"}]}
