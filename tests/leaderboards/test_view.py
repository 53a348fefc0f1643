"""`darumeru view` as a reader and as a stranger meet it: real requests, real Chromium."""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from darumeru.core.files import file_hash
from darumeru.core.row import StoredAnswer
from darumeru.runs.manifest import MANIFEST
from darumeru.runs.score import score_run
from darumeru.runs.store import SampleStore
from darumeru.viewer.server import Viewer
from tests.cli.command import darumeru
from tests.leaderboards.browser import HOSTILE, Page
from tests.leaderboards.made_runs import chosen, copied, make_run, rewrite

LETTERS, COPIES = "darumeru/letters", "darumeru/copies"
HOSTILE_FOLDER = "<img src=x onerror=window.hacked=9>&\"'%2F"


def rows(wrong_each: int, count: int = 60) -> list[Any]:
    """Choices, every `wrong_each`-th wrong; three copies: one exact, one empty, one cut."""
    said = ["B" if n % wrong_each == 0 else "A" for n in range(count)]
    made = [chosen(LETTERS, str(n), "A", one, f"Вопрос номер {n}") for n, one in enumerate(said)]
    return [*made, copied(COPIES, "same", "да", "да"), copied(COPIES, "empty", "да", " "),
            copied(COPIES, "cut", "да", "нет…" if wrong_each == 2 else "да")]  # fmt: skip


def going_on(folder: Path, answered: int) -> list[Any]:
    """A run of 60 choices of which the first `answered` are there; returns the others."""
    whole = [row for row in rows(2) if row.task == LETTERS]
    make_run(folder, whole, "live-model", status="running")
    for name in ("results.json", "statistics.npz"):
        (folder / name).unlink()
    store = folder / "samples" / "darumeru__letters.jsonl"
    lines = store.read_text("utf-8").splitlines(keepends=True)
    store.write_text("".join(lines[:answered]), "utf-8")
    return whole[answered:]


def answer(folder: Path, more: list[Any]) -> None:
    with SampleStore(folder) as store:
        for row in more:
            store.append(StoredAnswer(row.task, row.id, row.key, row.prompt, row.prompt_tokens, 0, row.answer))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("view") / "runs"
    make_run(runs / "a", rows(2), "model-a")
    make_run(runs / "b", rows(3), "model-b")
    make_run(runs / "deeper" / HOSTILE_FOLDER, rows(2, 4), HOSTILE[1], profile=HOSTILE[0])
    make_run(runs / "other", [chosen("own/task", str(n), "A", "A") for n in range(4)], "other")
    make_run(runs / "training" / "steps" / "step-00000100", rows(2), "step")
    point = {"step": 100, "scores": {"mean": {"value": 0.5, "low": 0.4, "high": 0.6}}, "run": "steps/step-00000100"}
    (runs / "training" / "curve.jsonl").write_text(json.dumps(point) + "\n", "utf-8")
    (runs / "broken").mkdir()
    (runs / "broken" / MANIFEST).write_text("{", "utf-8")
    return runs


def serve(folder: Path) -> Viewer:
    viewer = Viewer(folder)
    threading.Thread(target=viewer.serve_forever, daemon=True).start()
    return viewer


@pytest.fixture(scope="module")
def viewer(folder: Path) -> Iterator[Viewer]:
    with serve(folder) as one:
        yield one
        one.shutdown()


@pytest.fixture
def shown(chromium: Any, viewer: Viewer) -> Iterator[Page]:
    """A page; afterwards it has asked this server alone, and nothing ran that should not."""
    page = Page(chromium)
    page.complaints()
    yield page
    assert page.js("return window.hacked") is None
    asked = page.js("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert all(name.startswith(("data:", "http://127.0.0.1:")) for name in asked)
    assert list(page.complaints()) == []
    page.driver.get(viewer.url)
    page.forget()


def visit(page: Page, address: str, width: int = 1280, theme: str = "light") -> Page:
    page.size(width)
    media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    page.driver.get("about:blank")
    page.driver.get(address)
    return page


def ask(viewer: Viewer, path: str, method: str = "GET", host: str | None = None) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", viewer.server_port, timeout=20)
    connection.request(method, path, headers={} if host is None else {"Host": host})
    answer = connection.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def test_strangers_get_nothing(viewer: Viewer) -> None:
    """OWASP on DNS rebinding: a server on loopback has to check the Host header; a token guards against other users."""
    home = f"/{viewer.token}/"
    assert viewer.server_address[0] == "127.0.0.1" and len(viewer.token) >= 32
    for path, host in (("/", None), ("/x/", None), (f"/{viewer.token[:-1]}/", None), (f"/x/{viewer.token}/", None),
                       (home, "evil.example"), (home, f"evil.example:{viewer.server_port}"), (home, "127.0.0.1"),
                       (home, f"127.0.0.1:{viewer.server_port}, evil.example")):  # fmt: skip
        status, headers, body = ask(viewer, path, host=host)
        assert status == 403 and b"model-a" not in body and viewer.token.encode() not in body, (path, host)
        assert headers["content-security-policy"].startswith("default-src 'none'")
    assert ask(viewer, home, host=f"localhost:{viewer.server_port}")[0] == 200
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        assert ask(viewer, home, method)[0] == 501
    status, headers, body = ask(viewer, home, "HEAD")
    assert status == 200 and body == b"" and int(headers["content-length"]) > 1000
    assert headers["cache-control"] == "no-store" and headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY" and headers["x-content-type-options"] == "nosniff"


def test_no_address_leaves_the_folder(viewer: Viewer, folder: Path) -> None:
    outside = make_run(folder.parent / "secret", rows(2, 4), "secret-model")
    home = f"/{viewer.token}/"
    for id in ("../secret", str(outside), "a/../../secret", "a\0", "a/", "", "broken/manifest.json", "..", "a/samples"):
        status, _, body = ask(viewer, f"{home}run/{quote(id, safe='')}")
        assert status == 404 and b"secret-model" not in body, id
    for path in ("run/a/b", "run", "compare", "compare?a=a&b=../secret", "static/page.css", "run/a?chunk=0&of=x",
                 "run/a?chunk=-1", "run/a?chunk=99999999999999999999", "run/..?state=1"):  # fmt: skip
        assert ask(viewer, home + path)[0] == 404, path
    status, _, body = ask(viewer, f"{home}run/broken")
    assert status == 409 and b"is broken" in body and b"<!doctype html>" in body


@pytest.mark.browser
def test_the_overview_has_board_runs_and_curves(shown: Page, viewer: Viewer) -> None:
    visit(shown, viewer.url)
    names = shown.texts("#board tbody th.name bdi")
    assert names[0] == "model-b" and set(names) == {"model-a", "model-b", HOSTILE[1]}
    assert len(shown.texts(".boards a")) == 2
    assert shown.texts(".runs .main .interval")[0].startswith("mean of the tasks, 0.")
    states = dict(zip(shown.texts(".runs th[scope=row] .interval"), shown.texts(".runs .badge"), strict=True))
    assert states["broken"] == "not readable" and states["a"] == "finished"
    assert states[f"deeper/{HOSTILE_FOLDER}"] == "finished" and "training/steps/step-00000100" not in states
    assert shown.texts(".training h2") == ["training"] and shown.texts(".steps a") == ["100"]
    shown.click(".steps a")
    assert shown.find("h1").text == "step" and shown.texts("#curve h2") == ["Learning curve"]
    shown.click(".crumbs a")
    shown.click(".boards a:last-child")
    assert shown.texts("#board tbody th.name bdi") == ["other"]
    visit(shown, viewer.url)
    name = shown.js("return [...document.querySelectorAll('.runs a')].find(e => e.textContent.includes('onerror'))")
    name.click()
    assert shown.find("h1").text == HOSTILE[1]
    assert shown.js("return document.querySelectorAll('img, [onmouseover], [onerror], script[src]').length") == 0


@pytest.mark.browser
def test_two_runs_are_compared_sample_by_sample(shown: Page, viewer: Viewer) -> None:
    """Of 60 choices a has every second wrong and b every third: 20 of a's wrong ones b has right, 10 the other way."""
    visit(shown, viewer.url)
    for side, run in (("a", "a"), ("b", "b")):
        shown.js("document.querySelector(`input[name=${arguments[0]}][value=${arguments[1]}]`).click()", side, run)
    shown.click(".compare")
    shown.wait("document.getElementById('differences') !== null")
    lines = [re.sub(r"\s+", " ", text) for text in shown.texts("#differences tbody tr")]
    assert lines[0].startswith("DaruMERA") and lines[1].startswith("darumeru/letters0.500")
    assert lines[1].endswith("+20 −10")
    shown.choose("#task", LETTERS)
    for result, count in (("flipped", 30), ("gained", 20), ("lost", 10), ("right", 20), ("wrong", 10), ("", 60)):
        shown.choose("#result", result)
        assert shown.find("#status").text == f"{count} of 63 samples", result
    shown.click("#reset")
    shown.choose("#flag", "empty")
    assert shown.texts("#samples tbody a") == ["empty"]
    shown.choose("#flag", "truncated")
    shown.click("#samples tbody a")
    shown.wait("document.querySelector('#sample[open] #sample-name')?.textContent === arguments[0]",
               "darumeru/copies / cut")  # fmt: skip
    assert shown.texts("#sample pre")[:4] == ["Повтори.", "нет…", "да", "да"]
    assert "undefined" not in shown.find("#sample").text
    assert "exact_copy_rate" in shown.texts("#sample dt")[0] and shown.texts("#sample dd")[0] == "A 0, B 1"


@pytest.mark.browser
@pytest.mark.parametrize(
    ("page", "look"), [("", "#board tbody th.name"), ("compare?a=a&b=b", "#samples"), ("run/a", "#tasks")]
)
def test_pages_fit_a_dark_phone_and_speak_russian(shown: Page, viewer: Viewer, page: str, look: str) -> None:
    visit(shown, viewer.url + page, 390, "dark")
    shown.click("#language")
    assert shown.fits() and shown.texts("#live-said") == ["обновляется"]
    assert shown.js("return document.documentElement.lang") == "ru"
    if not page:
        # The names stay at the left edge of the table however far the numbers are scrolled, and cover what is under.
        left = "return document.querySelector('#board tbody th.name').getBoundingClientRect().left"
        before = shown.js(left)
        shown.js("document.querySelector('#board').parentElement.scrollLeft = 80")
        assert shown.js("return document.querySelector('#board').parentElement.scrollLeft") > 0
        assert shown.js(left) == before
    colour = shown.js("return getComputedStyle(document.querySelector(arguments[0])).backgroundColor", look)
    assert page or colour == "rgb(20, 23, 27)"


@pytest.mark.browser
def test_a_run_that_goes_on_is_followed(shown: Page, tmp_path: Path) -> None:
    left = going_on(tmp_path / "live", 20)
    with serve(tmp_path) as viewer:
        visit(shown, viewer.url + "run/live")
        shown.js("window.here = true")
        shown.choose("#result", "wrong")
        assert shown.find("#status").text == "10 of 20 samples"
        assert "unfinished" in shown.find(".heading .badge").get_attribute("class")
        answer(tmp_path / "live", left[:20])
        shown.wait("document.getElementById('status').textContent === '20 of 40 samples'")
        assert shown.texts("#tasks tbody tr:nth-child(2) td:nth-child(3)") == ["40 / 60"]
        answer(tmp_path / "live", left[20:])
        rewrite(tmp_path / "live" / MANIFEST, {"status": "finished"})
        score_run(tmp_path / "live", json.loads((tmp_path / "live" / MANIFEST).read_text("utf-8")))
        shown.wait("document.getElementById('status').textContent === '30 of 60 samples'")
        shown.wait("document.querySelector('#tasks .interval') !== null")
        shown.click("#samples tbody tr:nth-child(2) a")
        shown.wait("document.querySelector('#sample[open] pre')?.textContent === 'Вопрос номер 2'")
        assert shown.js("return window.here") is True
        viewer.token = "another"  # as of a viewer that was started again on the same port
        shown.wait("document.getElementById('live').dataset.state === 'off'")
        shown.driver.get("about:blank")
        shown.complaints()  # the browser's own line on the refusal
        viewer.shutdown()


@pytest.mark.browser
def test_a_big_run_sends_texts_only_when_they_are_read(shown: Page, tmp_path: Path) -> None:
    made = [chosen(LETTERS, str(n), "A", "AB"[n % 2], f"Вопрос номер {n}. " + "Кошка спит. " * 40) for n in range(4000)]
    make_run(tmp_path / "big", made, resamples=0)
    with serve(tmp_path) as viewer:
        visit(shown, viewer.url + "run/big")
        assert shown.find("#status").text == "4000 of 4000 samples" and len(shown.texts("#samples tbody a")) == 50
        assert shown.js("return document.querySelectorAll('*').length") < 1500
        chunks = "return performance.getEntriesByType('resource').filter(e => e.name.includes('chunk=')).length"
        assert shown.js(chunks) == 0 and "Кошка" not in shown.driver.page_source
        shown.js("location.hash = '#darumeru%2Fletters/3999'")
        shown.wait("document.querySelector('#sample[open] pre')?.textContent.startsWith('Вопрос номер 3999.')")
        assert shown.js(chunks) == 1
        viewer.shutdown()


@pytest.mark.browser
def test_compare_writes_the_same_page_as_a_file(
    page: Page, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "compare.html"
    words = ("compare", str(folder / "a"), str(folder / "b"), "--resamples", "100", "--output", str(output))
    assert darumeru(capsys, monkeypatch, *words).code == 0
    page.open(output, "#darumeru%2Fletters/2")
    page.wait("document.querySelector('#sample[open] #sample-name')?.textContent === arguments[0]",
              "darumeru/letters / 2")  # fmt: skip
    assert [text.split() for text in page.texts(".choices tr")] == [
        ["B0.750chosen"], ["A0.125Gold"], ["A0.750chosenGold"], ["B0.125"]
    ]  # fmt: skip


def test_the_command_serves_until_a_signal_and_writes_nothing(folder: Path) -> None:
    before = {path: file_hash(path) for path in folder.rglob("*") if path.is_file()}
    process = subprocess.Popen([sys.executable, "-m", "darumeru", "view", str(folder)], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ)  # fmt: skip
    assert process.stdout is not None and select.select([process.stdout], [], [], 60)[0]
    url = process.stdout.readline().strip()
    port, token = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/([\w-]+)/", url).groups()  # type: ignore[union-attr]
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
    for path in ("", "run/a", "compare?a=a&b=b"):
        connection.request("GET", f"/{token}/{path}")
        assert b"model-a" in connection.getresponse().read()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 0 and "Traceback" not in said and token not in said
    assert {path: file_hash(path) for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("words", "said"), [(("nowhere",), "no such folder"), (("--port", "70000"), "--port")])
def test_bad_input_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    found = darumeru(capsys, monkeypatch, "view", *words)
    assert found.code == 2 and said in found.err and found.err.count("\n") == 1
