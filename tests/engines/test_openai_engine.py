"""The engine for servers: against vLLM's real server, and against servers that misbehave."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from darumeru.core.errors import UserError
from darumeru.engines import (
    EngineDied,
    EngineOptions,
    Generate,
    LogLikelihood,
    Message,
    MultipleChoice,
    Request,
    load_engine,
)
from darumeru.engines.openai_engine import served_model
from tests.engines.asking import LETTERS, Prompts, answers, assert_same, mixed
from tests.engines.vllm_server import serving

ASK = (Message("user", "Кто спит на окне?"),)
OPEN = (*ASK, Message("assistant", "Ответ:"))


@pytest.fixture(scope="module")
def server(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of vLLM's own server on the tiny model."""
    with serving(tiny_model, tmp_path_factory.mktemp("server") / "log") as address:
        yield address


def test_a_vllm_server_says_what_the_engine_says(server: str, tiny_model: Path, vllm_engine: Any) -> None:
    """With token ids everything is exact. top_k is asked within the server's own most probable 20 tokens."""
    engine: Any = load_engine("openai", EngineOptions(model=server, tokenizer=str(tiny_model)))
    assert engine.capabilities == {"multiple_choice", "generate", "loglikelihood"} and engine.limits == ()
    assert engine.max_model_len == 2048
    requests = [request for request in mixed(60) if getattr(request.kind, "top_k", None) is None]
    requests += [Request(Prompts(61).prompt(9), MultipleChoice(("x", "y"), ((5, 6), (7,)), top_k=20))]
    expected = answers(vllm_engine, requests)
    assert_same(answers(engine, requests), expected, 1e-3)
    too_many = Request(Prompts(61).prompt(9), MultipleChoice(("x",), ((5,),), top_k=50))
    assert answers(engine, [too_many])[0].error == "the server: the top 50 tokens are asked for, the server gives 20"
    # What a server without these abilities would get: the same numbers another way.
    engine.dialect.named = False
    assert_same(answers(engine, requests), expected, 1e-3)
    engine.dialect.prompt_scores = "echo"
    scored = [request for request in requests if isinstance(request.kind, LogLikelihood)]
    assert_same(answers(engine, scored), answers(vllm_engine, scored), 1e-3)
    engine.dialect.returns_ids = False
    text = answers(engine, [Request(Prompts(62).prompt(9), Generate(6))])[0]
    assert text.tokens and text.finish_reason in ("stop", "length")
    iterator = engine.answer(requests)
    next(iterator)
    iterator.close()
    engine.close()


def test_without_a_tokenizer_messages_are_sent(server: str, tiny_model: Path, vllm_engine: Any) -> None:
    """The server's own template makes the same prompt that the local one makes."""
    from transformers import AutoTokenizer

    engine: Any = load_engine("openai", EngineOptions(model=server))
    assert engine.capabilities == {"multiple_choice", "generate"}
    assert engine.limits == (
        "no extractive summarization and no token counts without --tokenizer",
        "choice probabilities limited to the server's top 20 tokens",
    )
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    plain = [{"role": message.role, "content": message.content} for message in ASK]
    prompt = tokenizer.apply_chat_template(plain, add_generation_prompt=True, return_dict=False)
    expected = answers(vllm_engine, [Request(tuple(prompt), Generate(8))])[0]
    assert answers(engine, [Request((), Generate(8), messages=ASK)])[0].text == expected.text
    opened = tokenizer.encode("<|bos|><|start|>user\nКто спит на окне?<|eos|>\n<|start|>assistant\nОтвет:")[1:]
    next_token = answers(vllm_engine, [Request(tuple(opened), Generate(1))])[0]
    best = tokenizer.decode(next_token.tokens).strip()
    exact = answers(vllm_engine, [Request(tuple(opened), MultipleChoice(("best",), (next_token.tokens,)))])[0]
    got = answers(engine, [Request((), MultipleChoice((best, "☃"), ((), ())), messages=OPEN)])[0].probabilities
    assert got is not None and exact.probabilities is not None
    assert got[best] == pytest.approx(exact.probabilities["best"], rel=1e-3)
    assert got["☃"] == 0
    engine.close()


Reply = tuple[int, Any]


class Misbehaving:
    """A server whose every answer is decided by `reply(path, body, number)`; it keeps what it was asked."""

    def __init__(self, reply: Callable[[str, dict[str, Any], int], Reply]) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.stopped = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _do(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
                if outer.stopped:
                    # shutdown() leaves open connections alone; a server that is gone does not.
                    self.close_connection = True
                    return
                outer.asked.append((self.path, body))
                outer.headers.append(dict(self.headers))
                status, value = reply(self.path, body, len(outer.asked))
                content = value.encode() if isinstance(value, str) else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = _do

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        self.http.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that left is no news
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self.stopped = True
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def misbehaving() -> Iterator[Callable[[Callable[..., Reply]], Misbehaving]]:
    made: list[Misbehaving] = []

    def make(reply: Callable[..., Reply]) -> Misbehaving:
        made.append(Misbehaving(reply))
        return made[-1]

    yield make
    for each in made:
        each.stop()


MODELS = {"data": [{"id": "one"}]}
FAST = {"backoff": 0.01, "retries": 3, "timeout": 5}


def _chat(text: str = "да", **more: Any) -> Reply:
    return 200, {"choices": [{"message": {"content": text}, "finish_reason": "stop", **more}]}


def _plain(path: str, body: dict[str, Any], number: int) -> Reply:
    """A server that can chat and nothing else."""
    if path.endswith("/models"):
        return 200, MODELS
    if "continue_final_message" in body or "logprobs" in body:
        return 400, {"error": {"message": "unknown field"}}
    return _chat()


def test_missing_abilities_are_said_at_the_start(misbehaving: Any, tiny_model: Path) -> None:
    chat: Any = load_engine("openai", EngineOptions(model=misbehaving(_plain).url, extra=FAST))
    assert chat.capabilities == {"generate"}
    assert [limit.split(":")[0] for limit in chat.limits] == [
        "no extractive summarization and no token counts without --tokenizer",
        "the server gives no log-probabilities",
        "the server does not continue an open assistant message",
    ]

    def completions(path: str, body: dict[str, Any], number: int) -> Reply:
        if path.endswith("/models"):
            return 200, MODELS
        if set(body) - {
            "model",
            "prompt",
            "max_tokens",
            "temperature",
            "stop",
            "logprobs",
            "return_tokens_as_token_ids",
        }:
            return 500, "unknown field"
        if body.get("logprobs", 0) > 5:
            return 400, {"error": {"message": "at most 5"}}
        top = {" A": -0.5, "B": -1.5, "x": -3.0}
        logprobs = {"logprobs": {"top_logprobs": [top]}} if "logprobs" in body else {}
        return 200, {"choices": [{"text": "Ответ да", "finish_reason": "length", **logprobs}]}

    server = misbehaving(completions)
    engine: Any = load_engine("openai", EngineOptions(model=server.url, tokenizer=str(tiny_model), extra=FAST))
    assert engine.capabilities == {"multiple_choice", "generate"}
    assert engine.limits == (
        "the server gives no log-probabilities of prompt tokens: no extractive summarization",
        "choice probabilities limited to the server's top 5 tokens",
        "the server does not tell the generated token ids: its text is tokenized again",
    )
    chosen, text = answers(engine, [Request((1, 5), LETTERS), Request((1, 5), Generate(3))])
    assert chosen.probabilities == pytest.approx({"A": 2.718281828**-0.5, "B": 2.718281828**-1.5, "C": 0.0})
    assert text.text == "Ответ да" and text.tokens and text.finish_reason == "length"


def test_a_busy_or_failing_server_is_asked_again(misbehaving: Any) -> None:
    seen: dict[str, int] = {}

    def reply(path: str, body: dict[str, Any], number: int) -> Reply:
        content = body.get("messages", [{}])[-1].get("content")
        if not path.endswith("/models") and content in ("слишком часто", "сломан", "всегда сломан", "нет"):
            seen[content] = seen.get(content, 0) + 1
            if content == "нет":
                return 400, {"error": {"message": "context is\ntoo long"}}
            if content == "всегда сломан" or seen[content] < 3:
                return (429 if content == "слишком часто" else 500), "no"
        return _plain(path, body, number)

    engine = load_engine("openai", EngineOptions(model=misbehaving(reply).url, extra=FAST))
    words = ["слишком часто", "сломан", "всегда сломан", "нет", "хорошо"]
    got = answers(engine, [Request((), Generate(3), messages=(Message("user", word),)) for word in words])
    assert [one.text for one in got] == ["да", "да", None, None, "да"]
    assert [one.error for one in got if one.error] == [
        "the server: HTTP 500: no",
        "the server: HTTP 400: context is too long",
    ]
    assert seen == {"слишком часто": 3, "сломан": 3, "всегда сломан": 4, "нет": 1}


def test_a_server_that_is_gone_is_the_engine_s_death(misbehaving: Any) -> None:
    def slowly(path: str, body: Any, number: int) -> Reply:
        time.sleep(0.02)
        return _plain(path, body, number)

    server = misbehaving(slowly)
    engine = load_engine("openai", EngineOptions(model=server.url, extra={**FAST, "concurrency": 2}))
    iterator = engine.answer([Request((), Generate(3), messages=ASK)] * 500)
    got = [next(iterator) for _ in range(5)]
    server.stop()
    with pytest.raises(EngineDied, match="the server does not answer any more"):
        got += iterator
    assert 5 <= len(got) < 500
    engine.close()


EARLY = """
import sys
from darumeru.engines import EngineOptions, Generate, Message, Request, load_engine
engine = load_engine("openai", EngineOptions(model=sys.argv[1], extra={"concurrency": 2}))
answers = engine.answer([Request((), Generate(3), messages=(Message("user", "да"),))] * 9)
next(answers)
answers.close()
engine.close()
"""


def test_a_process_that_ends_early_does_not_wait_for_a_slow_server(misbehaving: Any) -> None:
    free = threading.Event()

    def reply(path: str, body: dict[str, Any], number: int) -> Reply:
        if sum(one == body for _, one in server.asked) > 1 and not path.endswith("/models"):
            free.wait(60)
        return _plain(path, body, number)

    server = misbehaving(reply)
    try:
        subprocess.run([sys.executable, "-c", EARLY, server.url], check=True, timeout=50)
    finally:
        free.set()


def test_only_so_many_requests_at_once(misbehaving: Any) -> None:
    running, most = 0, 0
    lock, loaded, three = threading.Lock(), threading.Event(), threading.Event()

    def reply(path: str, body: dict[str, Any], number: int) -> Reply:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == 3:
                three.set()
        if loaded.is_set():
            three.wait(4)  # a slow machine has to get there too
        time.sleep(0.005)
        with lock:
            running -= 1
        return _plain(path, body, number)

    engine = load_engine("openai", EngineOptions(model=misbehaving(reply).url, extra={**FAST, "concurrency": 3}))
    loaded.set()
    answers(engine, [Request((), Generate(3), messages=ASK)] * 40)
    assert most == 3


def test_an_answer_that_was_filtered_or_is_no_answer_is_an_error(misbehaving: Any) -> None:
    replies = iter([_chat(finish_reason="content_filter"), (200, "not json"), (200, []), (200, {"choices": []})])

    def reply(path: str, body: dict[str, Any], number: int) -> Reply:
        return next(replies) if body.get("max_tokens") == 77 else _plain(path, body, number)

    engine = load_engine("openai", EngineOptions(model=misbehaving(reply).url, extra={**FAST, "concurrency": 1}))
    got = answers(engine, [Request((), Generate(77), messages=ASK)] * 4)
    assert [one.error for one in got] == [
        "the server: the answer ended for the reason `content_filter`",
        "the server: the answer is not JSON",
        "the server: the answer is not a JSON object",
        "the server: the answer has no choices",
    ]


def test_the_key_and_extra_fields_are_sent(misbehaving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    server = misbehaving(_plain)
    body = {"chat_template_kwargs": {"enable_thinking": False}}
    engine = load_engine("openai", EngineOptions(model=server.url, extra={**FAST, "body": body}))
    answers(engine, [Request((), Generate(3, ("\n",)), messages=OPEN)])
    path, asked = server.asked[-1]
    assert path == "/v1/chat/completions"
    assert asked == {
        "model": "one", "temperature": 0, "max_tokens": 3, "stop": ["\n"], **body,
        "messages": [{"role": message.role, "content": message.content} for message in OPEN],
    }  # fmt: skip
    assert {headers.get("authorization") or headers.get("Authorization") for headers in server.headers} == {
        "Bearer secret"
    }


@pytest.mark.parametrize(
    ("reply", "extra", "pattern"),
    [
        (lambda *_: (401, {}), {}, "wants a key .set OPENAI_API_KEY"),
        (lambda *_: (200, "<html>"), {}, "not an OpenAI-compatible server"),
        (lambda *_: (200, {"data": []}), {}, "has no model"),
        (lambda *_: (200, {"data": [{"id": "a"}, {"id": "b"}]}), {}, "several models .*model=NAME; served: a, b"),
        (lambda *_: (200, {"data": [{"id": "llama"}]}), {"model": "lama"}, "no model `lama`; did you mean llama"),
        (lambda *_: (200, MODELS), {"retry": 1}, "no argument `retry`; did you mean retries"),
        (lambda path, *_: (200, MODELS) if path.endswith("models") else (404, "x"), {}, "chat endpoint refuses"),
    ],
)
def test_what_is_wrong_with_a_server_is_one_line(misbehaving: Any, reply: Any, extra: Any, pattern: str) -> None:
    with pytest.raises(UserError, match=pattern) as caught:
        load_engine("openai", EngineOptions(model=misbehaving(reply).url, extra={**FAST, **extra}))
    assert "\n" not in caught.value.line()


def test_no_server_at_all() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    with pytest.raises(UserError, match="no server answers"):
        load_engine("openai", EngineOptions(model=f"http://127.0.0.1:{free}/v1"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"concurrency": "many"}, 'concurrency must be a whole number of at least 1, not "many"'),
        ({"concurrency": -3}, "concurrency must be a whole number of at least 1, not -3"),
        ({"concurrency": True}, "concurrency must be a whole number of at least 1, not true"),
        ({"retries": "x"}, 'retries must be a whole number of at least 0, not "x"'),
        ({"retries": 1.5}, "retries must be a whole number of at least 0, not 1.5"),
        ({"retries": -1}, "retries must be a whole number of at least 0, not -1"),
        ({"backoff": float("inf")}, "backoff must be a number of at least 0, not Infinity"),
        ({"timeout": "x"}, 'timeout must be a number of at least 0.001, not "x"'),
        ({"timeout": -1}, "timeout must be a number of at least 0.001, not -1"),
        ({"timeout": float("nan")}, "timeout must be a number of at least 0.001, not NaN"),
        ({"body": 5}, "body must be an object of fields that JSON can hold, not 5"),
        ({"body": {"seed": float("nan")}}, r'body must be an object of fields that JSON can hold, not {"seed": NaN}'),
        ({"model": 5}, "model must be text, not 5"),
        ({"api_key": "ключ"}, "api_key must be printable ASCII text"),
        ({"api_key": 5}, r"api_key must be text, not \*\*\*"),
        ({"seed": 1}, "the openai engine has no argument `seed`"),
        ({"time_out": 1}, "the openai engine has no argument `time_out`; did you mean timeout"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_asked(arguments: dict[str, Any], said: str) -> None:
    """Values of cases/engine_args_types.md; nobody listens at the address, so asking would be another error."""
    for ask in (served_model, lambda options: load_engine("openai", options)):
        with pytest.raises(UserError, match=f"--engine-args: {said}"):
            ask(EngineOptions(model="http://127.0.0.1:1/v1", extra=arguments))


def test_a_key_that_no_header_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "ключ")
    with pytest.raises(UserError, match="OPENAI_API_KEY: must be printable ASCII text") as caught:
        load_engine("openai", EngineOptions(model="http://127.0.0.1:1/v1"))
    assert "ключ" not in str(caught.value)


def test_what_a_server_serves_is_its_identity_wherever_it_is(misbehaving: Any) -> None:
    entry = {"id": "ours", "object": "model", "created": 1, "owned_by": "vllm", "root": "/models/a", "permission": []}

    def reply(path: str, body: dict[str, Any], number: int) -> Reply:
        if not path.endswith("/models"):
            return _plain(path, body, number)
        return 200, {"data": [{**entry, "created": number, "max_model_len": 2048}, {"id": "other"}]}

    abilities = {"chat": True, "continues": False, "top": 0}
    expected = {"id": "ours", "owned_by": "vllm", "root": "/models/a", "max_model_len": 2048, "abilities": abilities}
    for server in (misbehaving(reply), misbehaving(reply)):
        options = EngineOptions(model=server.url, extra={"model": "ours", "timeout": 5.0})
        assert served_model(options) == served_model(options) == expected
        assert served_model(EngineOptions(model=server.url, extra={"model": "other"})) == {
            "id": "other",
            "abilities": abilities,
        }
        with pytest.raises(UserError, match="the server has several models"):
            served_model(EngineOptions(model=server.url))
        server.stop()
    with pytest.raises(UserError, match="no server answers"):
        served_model(options)
