"""Boards as text: what pastes into a README, a paper, pandas and a model card."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import jsonschema
import pandas
import pytest
import yaml
from rich.console import Console

from darumeru.leaderboard import render_csv, render_json, render_latex, render_markdown, render_model_card
from darumeru.leaderboard.board import build_board
from darumeru.leaderboard.note import Note
from darumeru.leaderboard.published import load_published
from darumeru.leaderboard.render_terminal import render as render_terminal
from darumeru.leaderboard.table import Cell, Column, Mark, Row, Table
from darumeru.runs.run import load_run
from tests.leaderboards.made_runs import chosen, make_run, rewrite
from tests.shared_data import ROOT

HOSTILE = "Модель_1 | 50% & <script>alert(1)</script> {x}~^\\ [a](b)"


def table() -> Table:
    columns = (Column("mean", "Mean of 1 task", "aggregate", "mean"), Column("t_1", "t_1", "task"))
    best, tied = frozenset({Mark.BEST}), frozenset({Mark.TIED})
    first = {"mean": Cell(2 / 3, 0.6, 0.7, marks=best), "t_1": Cell(2 / 3, 0.6, 0.7, 9, 9, best)}
    second = {"mean": Cell(-0.125, -0.2, 0.1, marks=tied), "t_1": Cell(None, reason="not run")}
    rows = (Row("a", HOSTILE, first, 1), Row("b", "b", second, 2, frozenset({Mark.LIMITED})))
    return Table("Доска", columns, rows, "mean", (Note.same("Mean: 100 % of t_1."),))


@pytest.mark.parametrize("form", ["markdown", "html", "csv", "latex", "json"])
def test_the_papers_tables_render_in_every_format(form: str) -> None:
    module = import_module("darumeru.leaderboard." + ("html_board" if form == "html" else f"render_{form}"))
    published = [load_published(ROOT / "leaderboards" / "paper" / f"table{number}.json") for number in (1, 2, 3, 4)]
    whole = module.render(build_board([], published))
    assert whole.count("Vikhr-5.2") == module.render(build_board([], published[:1])).count("Vikhr-5.2") >= 1
    assert ("0.639" in whole and "llmtf-2024" in whole) or form == "csv"


def test_markdown_escapes_and_marks() -> None:
    lines = render_markdown.render(table()).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert all(line.replace("\\|", "").count("|") == 5 for line in rows)
    assert "<" not in rows[2] and r"\|" in rows[2] and r"\[a\](b)" in rows[2] and "Модель" in rows[2]
    assert "**0.667** (0.600–0.700)" in rows[2]
    assert rows[3] == r"| 2 | b \~ | -0.125≈ (-0.200 to 0.100) | – |"
    assert lines[-1] == r"- Mean: 100 % of t\_1."


def test_latex_escapes() -> None:
    text = render_latex.render(table())
    assert r"Модель\_1 \textbar{} 50\% \& \textless{}script\textgreater{}" in text
    assert r"\{x\}\textasciitilde{}\textasciicircum{}\textbackslash{} [a](b)" in text
    assert r"\textbf{0.667}" in text and r"$-$0.125$\approx$" in text
    assert text.count(r"\begin{") == text.count(r"\end{") == 3
    assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}{rlrr}"))


def test_latex_fits_the_page() -> None:
    few = table()
    many = replace(few, columns=tuple(Column(f"t{number}", f"t_{number}", "task") for number in range(17)))
    assert r"\rotatebox" not in render_latex.render(few)
    text = render_latex.render(many)
    assert text.count(r"\rotatebox{90}{") == 17 and r"\rotatebox{90}{t\_16} \\" in text
    assert r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%" in text and r"\end{tabular}}" in text


def test_csv_is_exact_in_pandas() -> None:
    frame = pandas.read_csv(io.StringIO(render_csv.render(table())), float_precision="round_trip")
    assert list(frame["model"]) == [HOSTILE, "b"]
    assert frame["mean"][0] == 2 / 3 and frame["mean_low"][0] == 0.6 and pandas.isna(frame["t_1"][1])
    assert list(frame["mean_marks"]) == ["best", "tied"]


def test_json_keeps_its_schema(tmp_path: Path) -> None:
    schema = json.loads((ROOT / "docs" / "schemas" / "leaderboard.schema.json").read_text("utf-8"))
    rows = [chosen("darumeru/one", str(i), "A", "AB"[i % 3 == 0]) for i in range(30)]
    runs = [load_run(make_run(tmp_path / name, rows, name)) for name in ("a", "b")]
    published = load_published(ROOT / "leaderboards" / "paper" / "table3.json")
    for board in (table(), build_board(runs, [published]), build_board([], [published])):
        document = json.loads(render_json.render(board))
        jsonschema.validate(document, schema)
        assert len(document["rows"]) == len(board.rows)
    broken = document | {"rows": [{**document["rows"][0], "rank": 0}]}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_terminal_shows_every_number_at_any_width(width: int) -> None:
    published = [load_published(ROOT / "leaderboards" / "paper" / "table1.json")]
    board = build_board([], published)
    out = io.StringIO()
    Console(file=out, width=width).print(render_terminal(board, width))
    text = out.getvalue()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    for row in board.rows:
        for column in board.columns:
            assert f"{row.cells[column.key].value:.3f}" in text
    assert "…" not in text and all(column.title in text for column in board.columns)


def test_the_model_card_is_valid_for_the_hub(tmp_path: Path) -> None:
    from huggingface_hub import ModelCard, ModelCardData
    from huggingface_hub.repocard_data import model_index_to_eval_results

    rows = [chosen("darumeru/one", str(i), "A", "AB"[i % 4 == 0]) for i in range(40)]
    text = render_model_card.render(load_run(make_run(tmp_path / "a", rows, "модель: 1")))
    name, results = model_index_to_eval_results(yaml.safe_load(text)["model-index"])
    assert name == "модель: 1" and [(one.dataset_type, one.metric_type) for one in results] == [("darumeru/one", "acc")]
    assert results[0].metric_value == 0.75
    assert results[0].metric_args["profile"] == "darumeru"
    card = ModelCard(f"---\nlanguage: ru\n{text}---\n# A model\n")
    assert isinstance(card.data, ModelCardData) and card.data.eval_results == results


def test_the_model_card_names_the_metrics_and_the_data_that_were_used(tmp_path: Path) -> None:
    """Right values: results.json and manifest.json of the same run."""
    from huggingface_hub.repocard_data import model_index_to_eval_results

    rows = [chosen(f"mine/{name}", str(i), "AB"[i % 2], "AB"[i % 3 == 0]) for name in "ab" for i in range(12)]
    data = {
        "mine/a": {"origin": "RefalMachine/darumeru", "revision": "c" * 40, "repository": "RefalMachine/darumeru",
                   "config": "rucola", "split": "validation"},
        "mine/b": {"origin": "bundled", "revision": "bundled", "repository": "RefalMachine/darumeru", "split": "test"},
    }  # fmt: skip
    cards = {}
    for score in (["acc"], ["acc", "f1_macro"]):
        path = make_run(
            tmp_path / "_".join(score),
            rows,
            "m",
            plan={"metrics": ["f1_macro", "acc"], "score": score},
            data={"source": "hub", "tasks": data},
        )
        results = json.loads((path / "results.json").read_text("utf-8"))
        tasks = {name: task | {"score_metrics": score} for name, task in results["tasks"].items()}
        rewrite(path / "results.json", {"tasks": tasks}, checksum=True)
        run = load_run(path)
        _, cards[len(score)] = model_index_to_eval_results(yaml.safe_load(render_model_card.render(run))["model-index"])
    one, two = cards[1][0], cards[2][0]
    assert (one.metric_type, one.metric_name) == ("acc", "acc")
    assert one.metric_value == run.results.tasks["mine/a"].metrics["acc"].value
    assert two.metric_name == "mean of acc and f1_macro" and two.metric_value == run.results.tasks["mine/a"].score.value
    assert (one.dataset_type, one.dataset_config, one.dataset_split) == (
        "RefalMachine/darumeru",
        "rucola",
        "validation",
    )
    assert one.dataset_revision == "c" * 40
    assert one.source_url == f"https://huggingface.co/datasets/RefalMachine/darumeru/tree/{'c' * 40}"
    bundled = cards[1][1]
    assert bundled.dataset_type == "mine/b" and "bundled sample" in bundled.dataset_name
    assert (bundled.dataset_revision, bundled.source_url, bundled.dataset_split) == (None, None, "test")


def test_details_are_columns_of_text_formats() -> None:
    board = replace(table(), details=("from",))
    board = replace(board, rows=(replace(board.rows[0], about={"from": "a → b"}), board.rows[1]))
    assert "| a → b |" in render_markdown.render(board)
    assert r"a $\rightarrow$ b" in render_latex.render(board)
    assert list(pandas.read_csv(io.StringIO(render_csv.render(board)))["from"].fillna("")) == ["a → b", ""]
