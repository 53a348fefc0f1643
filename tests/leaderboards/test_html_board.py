"""The HTML board in a real browser."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

from darumeru.leaderboard.html_board import render
from darumeru.leaderboard.note import Note
from darumeru.leaderboard.table import Cell, Column, Mark, Row, Table
from tests.leaderboards.browser import HOSTILE, Page

pytestmark = pytest.mark.browser
GROUPS = ("DaruMMLU", "DaruMERA", "DaruSum", "DaruCopy-EN", "DaruCopy-RU")


def row(name: str, micro: float | None, task: float | None, rank: int | None = 1, *marks: Mark, **about: str) -> Row:
    cells = {group: Cell(micro, n=9, expected=9) for group in GROUPS}
    cells["micro_avg"] = (
        Cell(None, reason="daru/use is incomplete") if micro is None else Cell(micro, micro - 0.05, micro + 0.05)
    )
    if task is not None:
        cells["daru/use"] = Cell(task, n=8, expected=10, marks=frozenset({Mark.PARTIAL}))
    return Row(name, name, cells, rank, frozenset(marks), about)


FOOTER = Note("Micro-Avg is the unweighted mean of 17 tasks.", "Micro-Avg — невзвешенное среднее по 17 задачам.")


def board(*rows: Row) -> Table:
    columns = [Column("micro_avg", "Micro-Avg", "aggregate", "mean of 17 tasks")]
    columns += [Column(name, name, "group") for name in GROUPS]
    columns.append(Column("daru/use", "daru/use", "task", "grade_norm"))
    return Table("Доска", tuple(columns), rows, "micro_avg", (FOOTER,))


ROWS = (
    row("Model-10", 0.7, 0.095, 1, profile="darumeru"),
    row("Model-9", 0.5, 0.9, 2, Mark.PUBLISHED, source="paper, Table 1"),
    row("Qwen", 0.4, -0.2, 3, Mark.LIMITED),
    row("Partial", 0.99, 0.1, None, Mark.PARTIAL),
    row("Nothing", None, None, None, Mark.PARTIAL),
)


@pytest.fixture
def shown(page: Page, tmp_path: Path) -> Page:
    return page.open(write(board(*ROWS), tmp_path))


def write(table: Table, folder: Path) -> Path:
    path = folder / "board.html"
    path.write_text(render(table), encoding="utf-8")
    return path


def names(page: Page) -> list[str]:
    found: list[str] = page.js(
        "return [...document.querySelectorAll('tr.model:not([hidden]) th.name')].map(e => e.dataset.name)"
    )
    return found


def header(key: str) -> str:
    return f'th[data-column="{key}"] button'


def test_a_column_sorts_numbers_as_numbers_and_what_is_empty_last(shown: Page) -> None:
    assert names(shown) == ["Model-10", "Model-9", "Qwen", "Partial", "Nothing"]
    shown.click(header("daru/use"))
    assert names(shown) == ["Model-9", "Model-10", "Qwen", "Partial", "Nothing"]
    shown.click(header("daru/use"))
    assert names(shown) == ["Qwen", "Model-10", "Model-9", "Partial", "Nothing"]
    sorts = shown.js("return [...document.querySelectorAll('thead th')].map(e => e.getAttribute('aria-sort'))")
    assert sorts == [None] * 8 + ["ascending"]


def test_partial_rows_stay_below_the_others(shown: Page) -> None:
    shown.click(header("micro_avg"))
    assert names(shown) == ["Qwen", "Model-9", "Model-10", "Partial", "Nothing"]
    shown.click(header("micro_avg"))
    assert names(shown) == ["Model-10", "Model-9", "Qwen", "Partial", "Nothing"]


def test_names_and_places_sort_by_keyboard(shown: Page) -> None:
    shown.js("document.querySelector(arguments[0]).focus()", header("name"))
    shown.press("\ue007")
    assert names(shown) == ["Model-9", "Model-10", "Nothing", "Partial", "Qwen"]
    shown.js("document.querySelector(arguments[0]).focus()", header("rank"))
    shown.press(" ")
    assert names(shown) == ["Model-10", "Model-9", "Qwen", "Partial", "Nothing"]


def test_the_filter_looks_at_names_marks_and_details(shown: Page) -> None:
    for asked, expected in (
        ("MODEL", ["Model-10", "Model-9"]),
        ("table 1", ["Model-9"]),
        ("limited", ["Qwen"]),
        ("нет такой", []),
        ("", [each.name for each in ROWS]),
    ):
        shown.type("#filter", asked + " ")
        assert names(shown) == expected
        assert shown.find("#status").text == f"{len(expected)} of 5 models"
        assert shown.find("#nothing").is_displayed() == (not expected)
    shown.choose("#origin", "published")
    assert names(shown) == ["Model-9"]


def test_columns_can_be_groups_or_tasks_alone(shown: Page) -> None:
    shown.choose("#columns", "task")
    assert shown.texts("thead th.number bdi") == ["Micro-Avg", "daru/use"]
    shown.choose("#columns", "group")
    assert shown.texts("thead th.number bdi") == ["Micro-Avg", *GROUPS]
    assert len(shown.texts("tr.model:first-child td.number")) == 6


def test_details_say_what_a_row_was_made_with_and_why_a_cell_is_empty(shown: Page) -> None:
    assert shown.texts("tr.about dd") == []
    shown.js("document.querySelectorAll('button.more')[4].focus()")
    shown.press("\ue007")
    assert shown.texts("tr.about dd") == ["daru/use is incomplete"]
    shown.press("\ue007")
    shown.click("tr.model .more")
    assert shown.texts("tr.about dd") == ["8 / 10", "darumeru"]
    shown.click(header("name"))
    below = "return document.querySelector('th[data-name=\"Model-10\"]').parentNode.nextElementSibling.hidden"
    assert names(shown)[1] == "Model-10" and shown.js(below) is False


def test_the_plots_follow_the_table(shown: Page) -> None:
    bars = "#bars .bar:not([display]) .label"
    assert shown.texts(bars) == ["Model-10", "Model-9", "Qwen", "Partial"]
    shown.click(header("daru/use"))
    places = shown.js(
        "return [...document.querySelectorAll('#bars .bar:not([display])')].sort((a, b) => a.getBoundingClientRect().y"
        " - b.getBoundingClientRect().y).map(e => ['.label', '.number'].map(c => e.querySelector(c).textContent))"
    )
    assert places == [["Model-9", "0.900"], ["Model-10", "0.095"], ["Qwen", "−0.200"], ["Partial", "0.100"]]
    left, zero = shown.js(
        "return [document.querySelector('#bars [data-key=\"2\"] .fill'), document.querySelector('#bars .zero')]"
        ".map(e => e.getBoundingClientRect()).map(r => r.right)"
    )
    assert left == pytest.approx(zero, abs=1.5)
    shown.type("#filter", "model")
    assert shown.texts(bars) == ["Model-10", "Model-9"]
    assert shown.texts("#radar-key li") == ["Model-10", "Model-9"], "own runs before published rows"
    assert len(shown.texts("#radar .shape:not([display])")) == 2


def test_russian_and_dark_are_remembered(page: Page, tmp_path: Path) -> None:
    path = write(board(*ROWS), tmp_path)
    page.open(path, theme="light")
    ground = "return getComputedStyle(document.body).backgroundColor"
    light = page.js(ground)
    page.click("#theme")
    page.click("#language")
    dark = page.js(ground)
    assert dark != light
    page.driver.refresh()
    assert page.js(ground) == dark
    assert page.js("return document.documentElement.lang") == "ru"
    assert page.find("#status").text == "Моделей: 5 из 5"
    assert page.find("#filter").get_attribute("placeholder") == "Фильтр моделей"
    assert page.texts(".notes li") == [FOOTER.ru]
    assert "профиль" in page.js("return [...document.querySelectorAll('tr.about dt')].map(e => e.textContent)")
    page.click("#theme")
    page.click("#language")
    assert page.js(ground) == light and page.find("#status").text == "5 of 5 models"
    page.forget()
    assert page.open(path, theme="dark").js(ground) == dark


def test_marks_are_seen_and_explained(shown: Page, tmp_path: Path) -> None:
    assert shown.texts("tr.model th .badge") == ["published", "limited", "partial", "partial"]
    assert [text.split()[0] for text in shown.texts(".legend li")] == ["partial", "limited", "published"]
    assert shown.texts(".notes li") == ["Micro-Avg is the unweighted mean of 17 tasks."]
    cell = Cell(0.5, marks=frozenset({Mark.BEST}))
    tied = Cell(0.4, marks=frozenset({Mark.TIED}))
    table = board(Row("a", "a", {"micro_avg": cell}, 1), Row("b", "b", {"micro_avg": tied}, 2))
    shown.open(write(table, tmp_path))
    weights = shown.js(
        "return [...document.querySelectorAll('td.aggregate .value')].map(e => getComputedStyle(e).fontWeight)"
    )
    assert weights == ["700", "400"]
    assert shown.texts("td.aggregate .sign") == ["≈"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_the_page_sideways(page: Page, tmp_path: Path, theme: str) -> None:
    long = row("organisation/" + "very-long-model-name-" * 6, 0.3, 0.2, 4, Mark.DIFFERS, Mark.PARTIAL)
    page.open(write(board(*ROWS, long), tmp_path), width=390, theme=theme)
    for button in page.driver.find_elements("css selector", ".more"):
        page.js("arguments[0].click()", button)
    assert page.js("return innerWidth") == 390 and page.fits()
    assert page.shoot(tmp_path / f"phone-{theme}.png").stat().st_size > 10_000


def test_names_can_contain_anything_and_run_nothing(page: Page, tmp_path: Path) -> None:
    rows = [row(name, 0.5, 0.5, place, Mark.PARTIAL, **{"note": name}) for place, name in enumerate(HOSTILE, 1)]
    columns = tuple(Column(name, name, "task", name) for name in HOSTILE)
    cells = {name: Cell(None, reason=name, marks=frozenset({Mark.FAILED})) for name in HOSTILE}
    rows.append(Row("\ud800lone", "\ud800lone", cells, None))
    table = Table(HOSTILE[0], (*board().columns, *columns), tuple(rows), "micro_avg", tuple(map(Note.same, HOSTILE)))
    page.open(write(table, tmp_path))
    for selector in (*map(header, ("name", "daru/use")), *[".more"] * 2, "#theme", "#language"):
        page.click(selector)
    for button in page.driver.find_elements("css selector", ".more, thead button"):
        page.js("arguments[0].click()", button)
    page.type("#filter", "<")
    assert HOSTILE[0] in names(page) and HOSTILE[1] in page.texts("tr.about dd")
    assert page.find("h1").text == HOSTILE[0]
    assert page.js("return document.querySelectorAll('img, [onmouseover], [onfocus], [onerror]').length") == 0


def test_a_script_that_got_in_would_be_stopped(shown: Page) -> None:
    shown.js(
        "const s = document.createElement('script'); s.textContent = 'window.hacked = 9'; document.body.append(s);"
        "const b = document.createElement('div'); b.innerHTML = '<b onclick=\"window.hacked = 9\">'; "
        "document.body.append(b); b.firstChild.click()"
    )
    assert shown.js("return window.hacked") is None
    assert any("Content Security Policy" in line for line in shown.complaints())


def test_without_a_script_it_is_still_a_table() -> None:
    class Reader(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.rows: list[list[str]] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag == "tr":
                self.rows.append([])

        def handle_data(self, data: str) -> None:
            if self.rows and data.strip():
                self.rows[-1].append(data.strip())

    reader = Reader()
    reader.feed(render(board(ROWS[0])).split("</tbody>")[0])
    assert reader.rows[1][:4] == ["1", "Model-10", "0.700", "0.650…0.750"]


def test_a_board_without_rows_or_columns_is_a_page(page: Page, tmp_path: Path) -> None:
    page.open(write(board(), tmp_path))
    assert page.find("#status").text == "0 of 0 models"
    page.open(write(Table("empty", (), (Row("a", "a", {}),), ""), tmp_path))
    page.click(header("name"))
    assert names(page) == ["a"]
