"""A server with the faults that lie below JSON, and those of the dialect with token ids: raw bytes, one mode each."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

Answer = dict[str, Any]
Change = Callable[[Answer], Any]

# Good answers before a mode begins; enough for both times that a server is looked at.
GOOD = 12


def _http(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _error(status: str, **headers: str) -> bytes:
    return _http(b'{"error": {"message": "slow down"}}', status, **headers)


# Bytes instead of the good answer.
RAW: Mapping[str, bytes] = {
    "no_bytes": b"",
    "no_http": b"\x00\x01\x02\xff" * 50,
    "status_of_words": b"HTTP/1.1 fine OK\r\n\r\n{}",
    "status_999": _http(b"{}", "999 Odd"),
    "broken_gzip": _http(b"\x1f\x8b\x08\x00no gzip", Content_Encoding="gzip"),
    "broken_chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n",
    "length_negative": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}",
    "header_endless": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 2_000_000,
    "utf_16": _http('{"choices": "я"}'.encode("utf-16")),
    "number_1e999": _http(b'{"choices": 1e999}'),
    "digits_10000": _http(b'{"choices": ' + b"9" * 10_000 + b"}"),
    "retry_after_huge": _error("429 Slow", Retry_After="1e300"),
    "retry_after_words": _error("503 Busy", Retry_After="soon\x7f"),
    "retry_after_date_huge": _error("503 Busy", Retry_After="Wed, 21 Oct 9999 07:28:00 GMT"),
    "redirect_elsewhere": _http(b"", "301 Moved", Location="https://user:Hidden99@example.org/v1/completions"),
    "redirect_nowhere": _http(b"", "302 Found"),
    "redirect_broken": _http(b"", "302 Found", Location="http://[::1"),
    "error_with_controls": _http(b'{"error": "a\\u0000b\\u001b[31m\\u202ec"}', "400 Bad"),
}


def _scores(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = ((answer.get("logprobs") or {}).get("top_logprobs") or [{}])[0]
    return found


def _set_scores(value: Any) -> Change:
    return lambda answer: _scores(answer).update(dict.fromkeys(_scores(answer), value))


def _ids(value: Any) -> Change:
    return lambda answer: "token_ids" in answer and answer.update(token_ids=value)


# Changes of a good answer with token ids.
CHANGES: Mapping[str, Change] = {
    "choice_logprobs_null": lambda answer: answer.update(logprobs=None),
    "choice_logprobs_list": lambda answer: answer.update(logprobs=[]),
    "choice_top_text": lambda answer: "logprobs" in answer and answer.update(logprobs={"top_logprobs": "x"}),
    "choice_top_rows_null": lambda answer: "logprobs" in answer and answer.update(logprobs={"top_logprobs": [None]}),
    "choice_scores_null": _set_scores(None),
    "choice_scores_text": _set_scores("-1"),
    "choice_scores_true": _set_scores(True),
    "choice_scores_positive": _set_scores(3.5),
    "choice_scores_huge": _set_scores(10**400),
    "choice_other_tokens": lambda answer: [_scores(answer).clear(), _scores(answer).update({"token_id:x": -1.0})],
    "ids_text": _ids("300"),
    "ids_texts": _ids(["300"]),
    "ids_negative": _ids([-1]),
    "ids_null": _ids(None),
    "prompt_rows_short": lambda answer: "prompt_logprobs" in answer and answer["prompt_logprobs"].pop(),
    "prompt_rows_null": lambda answer: answer.update(prompt_logprobs=[None] * len(answer.get("prompt_logprobs") or ())),
    "finish_filtered": lambda answer: answer.update(finish_reason="content_filter"),
    "finish_number": lambda answer: answer.update(finish_reason=5),
}
MODES = (*RAW, *CHANGES, "header_drip", "key_in_answer")


def good(asked: Mapping[str, Any]) -> Answer:
    """The dialect of vLLM's /completions with token ids; the same prompt always gets the same answer."""
    prompt, wanted = asked["prompt"], asked.get("logprobs")
    choice: Answer = {"finish_reason": "stop", "text": f" ответ {len(prompt)}"}
    if wanted is not None:
        ids = asked.get("logprob_token_ids") or range(300, 300 + wanted)
        choice["logprobs"] = {"top_logprobs": [{f"token_id:{i}": -0.5 - place for place, i in enumerate(ids)}]}
    if asked.get("prompt_logprobs") is not None:
        choice["prompt_logprobs"] = [None, *({str(i): {"logprob": -1.0}} for i in prompt[1:])]
    if asked.get("return_token_ids"):
        choice["token_ids"] = [300 + len(prompt) % 7, 301]
    return choice


class StrangeServer:
    """http://127.0.0.1:PORT/MODE/v1. mended: modes that behave from now on."""

    def __init__(self) -> None:
        self.mended: set[str] = set()
        self._asked: dict[str, int] = {}
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def url(self, mode: str) -> str:
        return f"http://127.0.0.1:{self.port}/{mode}/v1"

    def mend(self, mode: str) -> None:
        self.mended.add(mode)

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.split(b"\r\n") if line[:15].lower() == b"content-length:"), 0
            )
            while len(body) < length:
                body += connection.recv(65536)
            mode = head.split(b"/", 2)[1].decode()
            if head.startswith(b"GET"):
                connection.sendall(_http(b'{"data": [{"id": "strange"}]}'))
                return
            key = head.decode().lower().rpartition("bearer ")[2].split("\r\n")[0]
            self._reply(connection, mode, good(json.loads(body)), key)

    def _reply(self, connection: socket.socket, mode: str, answer: Answer, key: str) -> None:
        self._asked[mode] = self._asked.get(mode, 0) + 1
        strange = mode not in self.mended and self._asked[mode] > GOOD
        if strange and mode == "header_drip":
            with suppress(OSError):
                for letter in "HTTP/1.1 200 OK\r\nX: " + "a" * 1000:
                    connection.sendall(letter.encode())
                    time.sleep(0.1)
        if strange and mode in RAW:
            connection.sendall(RAW[mode])
            return
        if strange and mode in CHANGES:
            CHANGES[mode](answer)
        if mode == "key_in_answer":
            answer["text"] = f"ваш ключ {key}"
            answer.pop("token_ids", None)
        connection.sendall(_http(json.dumps({"choices": [answer]}).encode()))


@contextmanager
def strange_server() -> Iterator[StrangeServer]:
    """The server while the context lasts."""
    server = StrangeServer()
    try:
        yield server
    finally:
        server.close()
