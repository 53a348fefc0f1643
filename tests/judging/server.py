"""A judge behind the OpenAI dialect: what it says is a function of the question, so that right values are known."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Judge:
    """says: question -> what is said. scores: whether log-probabilities are given. model: entry of GET /models.
    asked: the questions, in the order they came. failing: words of questions that get an error."""

    def __init__(self, says: Callable[[str], str], scores: bool = True) -> None:
        self.says = says
        self.scores = scores
        self.model: dict[str, Any] = {"id": "judge", "root": "weights-1"}
        self.asked: list[str] = []
        self.failing = ""
        self.url = ""


@contextmanager
def serving(judge: Judge) -> Iterator[Judge]:
    """The judge on a free port of 127.0.0.1 while the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self._send({"object": "list", "data": [judge.model]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            question = body["messages"][-1]["content"]
            probed = body["messages"][0]["content"].startswith("1 + 1")
            if not probed:
                judge.asked.append(question)
                if judge.failing and judge.failing in question:
                    self.send_error(400)
                    return
            said = "2" if probed else judge.says(question)
            message = {"role": "assistant", "content": said}
            top = [{"token": said, "logprob": math.log(0.7)}, {"token": "?", "logprob": math.log(0.2)}]
            given = body.get("logprobs") and judge.scores
            logprobs = {"content": [{**top[0], "top_logprobs": top}]} if given else None
            self._send({"choices": [{"message": message, "logprobs": logprobs, "finish_reason": "stop"}]})

        def _send(self, document: Any) -> None:
            data = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    judge.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield judge
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
