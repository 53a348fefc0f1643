"""The HTML report in a real browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from darumeru.leaderboard.html_report import write_report
from darumeru.runs.score import score_run
from tests.leaderboards.browser import HOSTILE, Page
from tests.leaderboards.made_runs import chosen, copied, make_run

pytestmark = pytest.mark.browser
LETTERS, COPIES = "darumeru/letters", "darumeru/copies"


def rows(count: int = 70) -> list[Any]:
    """Every third choice is wrong; of the copies one is exact, one empty, one cut."""
    made = [chosen(LETTERS, str(n), "A", "B" if n % 3 == 0 else "A", f"Вопрос номер {n}, кошка?") for n in range(count)]
    made += [
        copied(COPIES, "same", "да", "да"),
        copied(COPIES, "empty", "да", " "),
        copied(COPIES, "cut", "да", "нет…"),
    ]
    return made


def report(folder: Path, made: list[Any], **more: Any) -> Path:
    path = folder / "report.html"
    write_report(make_run(folder / "run", made, **more), path)
    return path


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report(tmp_path_factory.mktemp("report"), rows(), absent=("never-asked",))


@pytest.fixture
def shown(page: Page, ordinary: Path) -> Page:
    return page.open(ordinary)


def ids(page: Page) -> list[str]:
    return page.texts("#samples tbody a")


def opened(page: Page, name: str) -> None:
    """Wait until that sample is open."""
    page.wait("document.querySelector('#sample[open] #sample-name')?.textContent === arguments[0]", name)


def test_scores_coverage_and_failures_are_on_the_page(shown: Page) -> None:
    lines = shown.js("return [...document.querySelectorAll('#tasks tbody tr')].map(row => [...row.cells].map("
                     "cell => cell.innerText.replace(/\\s+/g, ' ').trim()))")  # fmt: skip
    assert re.match(r"darumeru/letters 1 samples are not answered yet", lines[1][0])
    assert re.fullmatch(r"0\.657 0\.\d+…0\.\d+", lines[1][1])
    assert lines[1][2:] == ["70 / 71", "0 %", "0 %", "0 %", "0 %", "0", "acc 0.657"]
    assert lines[2][2:] == ["3 / 3", "33.3 %", "33.3 %", "33.3 %", "0 %", "0", "exact_copy_rate 0.333"]
    assert shown.texts(".heading .badge") == ["partial"]
    assert shown.texts("#manifest + dl dt")[:3] == ["schema", "status", "model.name"]
    assert len(shown.texts(".bars .bar")) == 2


def test_samples_come_in_pages(shown: Page) -> None:
    assert ids(shown) == [str(n) for n in range(50)]
    assert shown.find("#page").text == "Page 1 of 2" and not shown.find("#previous").is_enabled()
    shown.click("#next")
    assert ids(shown) == [*(str(n) for n in range(50, 70)), "same", "empty", "cut"]
    assert not shown.find("#next").is_enabled()
    shown.click("#previous")
    assert len(ids(shown)) == 50


def test_samples_are_filtered_by_task_result_and_flag(shown: Page) -> None:
    shown.choose("#task", COPIES)
    assert ids(shown) == ["same", "empty", "cut"]
    for selector, value, expected in (
        ("#result", "right", ["same"]),
        ("#result", "wrong", ["empty", "cut"]),
        ("#flag", "truncated", ["cut"]),
        ("#flag", "unparsed", ["empty"]),
        ("#result", "partly", []),
    ):
        shown.choose(selector, value)
        assert ids(shown) == expected
    assert shown.find("#nothing").is_displayed()
    shown.click("#reset")
    shown.choose("#result", "wrong")
    assert shown.find("#status").text == "26 of 73 samples"
    shown.click(f'.open-task[data-task="{LETTERS}"]')
    assert ids(shown)[:3] == ["0", "3", "6"]
    assert "never-asked" in shown.find("#absent").text


def test_texts_are_searched(shown: Page) -> None:
    shown.type("#search", "КОШКА номер 65")
    shown.wait("document.querySelectorAll('#samples tbody tr').length === 1")
    assert ids(shown) == ["65"]
    shown.type("#search", "нет… ")
    shown.wait("document.querySelector('#samples tbody a')?.textContent === 'cut'")
    shown.type("#search", "такого нет нигде")
    shown.wait("!document.getElementById('nothing').hidden")
    assert shown.find("#status").text == "0 of 73 samples"


def test_a_click_opens_a_sample_and_back_closes_it(shown: Page) -> None:
    shown.click("#samples tbody tr:nth-child(4) .preview")
    opened(shown, "darumeru/letters / 3")
    assert shown.texts("#sample pre")[0] == "Вопрос номер 3, кошка?"
    assert [text.split() for text in shown.texts(".choices tr")] == [["B0.750chosen"], ["A0.125Gold"]]
    assert shown.texts("#sample .flags .badge") == ["wrong"]
    assert shown.js("return location.hash") == "#darumeru%2Fletters/3"
    shown.driver.back()
    shown.wait("!document.getElementById('sample').open")


def test_a_sample_is_reached_and_left_by_keyboard(shown: Page) -> None:
    shown.choose("#result", "wrong")
    shown.js("document.querySelector('#samples tbody tr:nth-child(2) a').focus()")
    shown.press("\ue007")
    opened(shown, "darumeru/letters / 3")
    shown.press("\ue014")
    opened(shown, "darumeru/letters / 6")
    shown.press("\ue012")
    opened(shown, "darumeru/letters / 3")
    shown.press("\ue00c")
    shown.wait("!document.getElementById('sample').open")
    assert shown.js("return document.activeElement.textContent") == "3"
    assert shown.js("return location.hash") == ""


@pytest.mark.parametrize("hash", ["#darumeru%2Fcopies/empty", "#darumeru/copies/empty"])
def test_a_deep_link_opens_its_sample(page: Page, ordinary: Path, hash: str) -> None:
    page.open(ordinary, hash)
    opened(page, "darumeru/copies / empty")
    assert page.texts("#sample .flags .badge") == ["wrong", "unparsed", "empty"]
    assert "(empty)" in page.texts("#sample p")
    page.click("#sample-previous")
    opened(page, "darumeru/copies / same")
    page.click("#sample-close")
    page.wait("!document.getElementById('sample').open")
    page.js("location.hash = '#darumeru%2Fcopies/gone'")
    page.wait("document.getElementById('status').textContent.includes('gone')")


def test_the_page_speaks_russian_and_turns_dark(shown: Page) -> None:
    light = shown.js("return getComputedStyle(document.body).backgroundColor")
    shown.click("#language")
    shown.click("#theme")
    assert shown.find("#status").text == "Примеров: 73 из 73"
    assert [line.strip() for line in shown.find("#result").text.splitlines()][1] == "верно"
    assert shown.js("return getComputedStyle(document.body).backgroundColor") != light
    assert shown.texts("#samples tbody .badge")[0] == "неверно"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_the_list_and_a_sample(page: Page, ordinary: Path, tmp_path: Path, theme: str) -> None:
    page.open(ordinary, width=390, theme=theme)
    assert page.js("return innerWidth") == 390 and page.fits()
    page.js("document.querySelector('#samples tbody a').click()")
    opened(page, "darumeru/letters / 0")
    assert page.fits()
    assert page.shoot(tmp_path / f"phone-{theme}.png").stat().st_size > 10_000


def test_texts_can_contain_anything_and_run_nothing(page: Page, tmp_path: Path) -> None:
    task = "darumeru/" + HOSTILE[0] + HOSTILE[4]
    made = [copied(task, text, text, text, text) for text in HOSTILE]
    made.append(chosen("javascript:window.hacked=6", "__proto__", "A", "A", "".join(HOSTILE)))
    path = report(
        tmp_path, made, name=HOSTILE[1], profile=HOSTILE[0], command=list(HOSTILE), **{"<script>": HOSTILE[0]}
    )
    page.open(path)
    page.click("#language")
    assert page.find("h1").text == HOSTILE[1]
    assert len(ids(page)) == len(HOSTILE) + 1
    for place, text in enumerate(HOSTILE, 1):
        page.js(f"document.querySelector('#samples tbody tr:nth-child({place}) a').click()")
        page.wait("document.querySelector('#sample[open] pre')?.textContent === arguments[0]", text)
        link = page.js("return location.href")
        shown = "return [...document.querySelectorAll('#sample pre')].slice(0, 3).map(e => e.textContent)"
        assert page.js(shown) == [text] * 3
        page.js("document.getElementById('sample').close()")
        page.driver.get("about:blank")
        page.driver.get(link)
        page.wait("document.querySelector('#sample[open] pre')?.textContent === arguments[0]", text)
        page.click("#sample-close")
        page.wait("location.hash === ''")
    page.type("#search", "<img src=x")
    page.wait("document.querySelectorAll('#samples tbody tr').length === 2")
    assert page.js("return document.querySelectorAll('img, [onmouseover], [onerror], script[src]').length") == 0


def test_tokens_are_coloured_on_demand(page: Page, tmp_path: Path, tokenizer_folder: Path) -> None:
    from darumeru.models.model_files import find_model
    from darumeru.prompts.builder import PromptBuilder, load_tokenizer

    tokenizer = load_tokenizer(str(tokenizer_folder))
    prompt, answer = "Кошка спит 🦊 на окне.", "Дождь шёл: 15 раз 🦊!"
    ids_ = PromptBuilder(tokenizer).ids([prompt])[0]
    said = tokenizer(answer, add_special_tokens=False)["input_ids"]
    made = [
        copied(COPIES, "plain", "да", answer, prompt, tokens=tuple(said), prompt_tokens=len(ids_)),
        copied(COPIES, "other", "да", answer, prompt, tokens=(5, 6, 7), prompt_tokens=len(ids_) + 7),
    ]
    fingerprint = find_model(str(tokenizer_folder), weights=False).tokenizer_fingerprint
    run = make_run(tmp_path / "run", made, tokenizer={"fingerprint": fingerprint})
    assert write_report(run, tmp_path / "without.html").with_tokens == 0
    assert write_report(run, tmp_path / "report.html", tokenizer=str(tokenizer_folder)).with_tokens == 1
    page.open(tmp_path / "report.html", "#darumeru%2Fcopies/plain")
    opened(page, "darumeru/copies / plain")
    assert page.texts("#sample .token") == []
    page.click(".colour-prompt")
    page.click(".colour-answer")
    for place, text, tokens in ((0, prompt, ids_[1:]), (1, answer, said)):
        pieces = page.js("return [...document.querySelectorAll('#sample pre')[arguments[0]].children]"
                         ".map(e => [e.textContent, e.title])", place)  # fmt: skip
        assert "".join(piece for piece, _ in pieces) == text
        last = int(pieces[-1][1].split("–")[-1])
        assert last == len(tokens)
    page.click(".colour-prompt")
    assert page.texts("#sample pre")[0] == prompt
    page.js("location.hash = '#darumeru%2Fcopies/other'")
    opened(page, "darumeru/copies / other")
    assert page.driver.find_elements("css selector", "#sample [aria-pressed]") == []


def test_forty_thousand_samples_open_as_one_page_of_them(page: Page, tmp_path: Path) -> None:
    made = [chosen(LETTERS, str(n), "A", "AB"[n % 2], f"Вопрос номер {n}. " + "Кошка спит на окне. " * 20)
            for n in range(40_000)]  # fmt: skip
    path = report(tmp_path, made, resamples=0)
    page.open(path)
    assert page.find("#status").text == "40000 of 40000 samples" and len(ids(page)) == 50
    assert page.js("return opened.size") == 0
    nodes = page.js("return document.querySelectorAll('*').length")
    chunks = page.js("return document.querySelectorAll('script[type=\"application/octet-stream\"]').length")
    assert nodes - chunks < 1500
    page.choose("#result", "wrong")
    assert page.find("#page").text == "Page 1 of 400" and ids(page)[:2] == ["1", "3"]
    page.open(path, "#darumeru%2Fletters/39999")
    opened(page, "darumeru/letters / 39999")
    assert page.texts("#sample pre")[0].startswith("Вопрос номер 39999.")
    assert page.js("return opened.size") == 1
    page.js("document.getElementById('sample').close()")
    page.type("#search", "номер 38123.")
    page.wait("document.getElementById('status').textContent === '1 of 40000 samples'")
    assert ids(page) == ["38123"] and page.js("return opened.size") <= 12


def test_a_learning_curve_is_drawn(page: Page, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", rows(4))
    points = [
        {
            "step": step,
            "scores": {"mean": {"value": value, "low": value - 0.1, "high": value + 0.1}, HOSTILE[0]: {"value": 0.2}},
        }
        for step, value in ((0, 0.2), (100, 0.5), (50, 0.4))
    ]
    (run / "curve.jsonl").write_text("".join(json.dumps(point) + "\n" for point in points), encoding="utf-8")
    write_report(run, tmp_path / "report.html")
    page.open(tmp_path / "report.html")
    dots = page.js(
        "return [...document.querySelectorAll('.curve .series-0 .dot')].map(e => e.getBoundingClientRect())"
        ".map(r => [r.x, r.y])"
    )
    assert [x for x, _ in dots] == sorted(x for x, _ in dots) and dots[0][1] > dots[1][1] > dots[2][1]
    assert page.texts(".curve .band") == [""]
    assert page.texts(".curve .legend text")[0] == "mean of the tasks"


def test_a_run_without_a_single_answer_is_a_page(page: Page, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", rows(1))
    for file in (run / "samples").iterdir():
        file.unlink()
    score_run(run, json.loads((run / "manifest.json").read_text(encoding="utf-8")))
    write_report(run, tmp_path / "report.html")
    page.open(tmp_path / "report.html", "#darumeru%2Fletters/0")
    page.click("#language")
    assert "В запуске нет отвеченных примеров." in page.texts("section p")
    assert len(page.texts("#tasks .error")) == 2
