"""A small server that speaks the OpenAI dialect; what it says depends on words in the question."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

SAID = {
    "хорошо": '{"grammar": 5, "relevance": 4}',
    "ограда": '```json\n{"grammar": 4, "relevance": 4}\n```',
    "неграмотно": '{"grammar": 3, "relevance": 5}',
    "невпопад": '{"grammar": 5, "relevance": 1}',
    "мусор": "Оценка: 5 из 5!",
    "шесть": '{"grammar": 6, "relevance": 5}',
    "дробь": '{"grammar": 4.5, "relevance": 5}',
    "половина": '{"grammar": 5}',
    "лишнее": '{"grammar": 5, "relevance": 5, "style": 5}',
    "болтовня": 'Вот: {"grammar": 5, "relevance": 5}',
    "список": "[5, 5]",
    "истина": '{"grammar": true, "relevance": 5}',
    "пусто": "",
}


class JudgeServer(ThreadingHTTPServer):
    """asked: the questions in the order they came. stumbles: how many more answers to "споткнулся" fail.
    gone: drop every connection from now on."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.stumbles = 1
        self.gone = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may leave when they like."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: JudgeServer

    def do_GET(self) -> None:
        self._say(200, {"data": [{"id": "judge"}]})

    def do_POST(self) -> None:
        if self.server.gone:
            self.close_connection = True
            return
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = body["messages"][-1]["content"]
        if "Ответ помощника" not in question:  # the engine finds out what the server can do
            self._say(200, chat("2"))
            return
        self.server.asked.append(question)
        answer = question.rsplit("<<<", 1)[1].split(">>>")[0].strip()
        if answer == "отказ":
            self._say(400, {"error": {"message": "no"}})
        elif answer == "споткнулся" and self.server.stumbles:
            self.server.stumbles -= 1
            self._say(500, {"error": "later"})
        else:
            self._say(200, chat(SAID.get(answer, SAID["хорошо"])))

    def _say(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


def chat(text: str) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}


@contextmanager
def judge_server() -> Iterator[JudgeServer]:
    server = JudgeServer()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
