"""`darumeru arena` before a server whose verdicts are known: battles, both orders, resume, active pairing, the page."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import Said
from tests.judging.server import Judge, serving
from tests.shared_data import json_lines

Command = Callable[..., Said]
STRENGTHS = {"слабая": 1, "средняя": 3, "сильная": 6, "лучшая": 9}
QUESTIONS = [f"Вопрос номер {number}: что делать?" for number in range(12)]


def stronger(question: str) -> str:
    """The answer of the stronger model, by chance that depends on both texts alone; 0 now and then."""
    first, second = (int(found) for found in re.findall(r"сила (\d+)", question))
    low, high = sorted((first, second))
    text = question.split("<<<")[1] + f"{low} {high}"
    drawn = int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 16**8
    if drawn < 0.05:
        return "0"
    winner = high if drawn < 0.05 + 0.95 * high**2 / (high**2 + low**2) else low
    return "1" if winner == first else "2"


@pytest.fixture
def judge() -> Iterator[Judge]:
    with serving(Judge(stronger)) as server:
        yield server


def answers(folder: Path, strengths: Mapping[str, int], questions: Sequence[str]) -> list[Path]:
    """Files of answers, one a model; weaker ones write more."""
    paths = []
    for name, strength in strengths.items():
        lines = [
            {"instruction": q, "output": f"<think>хм</think>\n\nсила {strength} " + "- п\n" * (10 - strength),
             "generator": name}
            for q in questions
        ]  # fmt: skip
        paths.append(folder / f"{strength}.json")
        paths[-1].write_text(json.dumps(lines, ensure_ascii=False), encoding="utf-8")
    return paths


def held(command: Command, judge: Judge, output: Path, files: Sequence[Path], *more: Any) -> dict[str, Any]:
    words = ("--judge", judge.url, "--output", output, "--resamples", 100, "--json", *more)
    said = command("arena", *files, *words)
    assert said.code == 0, said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


def elo(board: Mapping[str, Any]) -> dict[str, float]:
    return {row["name"]: row["cells"]["elo"]["value"] for row in board["rows"]}


def test_everyone_meets_everyone_in_both_orders_and_the_stronger_stand_higher(
    command: Command, judge: Judge, tmp_path: Path
) -> None:
    files = answers(tmp_path, STRENGTHS, QUESTIONS)
    board = held(command, judge, tmp_path / "arena", files, "--anchor", "средняя", "--style", "none")
    assert len(judge.asked) == 2 * 6 * len(QUESTIONS) and not any("<think>" in one for one in judge.asked)
    assert [row["name"] for row in board["rows"]] == ["лучшая", "сильная", "средняя", "слабая"]
    assert elo(board)["средняя"] == pytest.approx(1000)
    cells = {row["name"]: row["cells"] for row in board["rows"]}
    assert all(cells[name]["battles"]["value"] == 3 * len(QUESTIONS) for name in STRENGTHS)
    # By hand: both orders of a pair say the same, so that a battle is what the judge says of the first order.
    first = [one for one in judge.asked if re.findall(r"сила (\d+)", one) in (["9", "1"], ["1", "9"])]
    assert len(first) == 2 * len(QUESTIONS)
    won = sum(
        stronger(one) == ("1" if re.findall(r"сила (\d+)", one)[0] == "9" else "2") for one in judge.asked
        if "сила 9" in one
    )  # fmt: skip
    assert cells["лучшая"]["won"]["value"] == pytest.approx(won / (2 * 3 * len(QUESTIONS)))
    assert "the same verdict in both on 1.000; prefers the first answer by +0.000" in " ".join(board["footer"])


def test_the_same_command_asks_nothing_and_a_new_model_only_its_own_battles(
    command: Command, judge: Judge, tmp_path: Path
) -> None:
    files = answers(tmp_path, STRENGTHS, QUESTIONS)
    first = held(command, judge, tmp_path / "arena", files[:3])
    asked = len(judge.asked)
    assert held(command, judge, tmp_path / "arena", files[:3]) == first and len(judge.asked) == asked
    held(command, judge, tmp_path / "arena", files[:3], "--ties", "rao-kupper", "--style", "published", "--seed", 4)
    assert len(judge.asked) == asked, "ratings are computed again from what is stored"
    held(command, judge, tmp_path / "arena", files)
    assert len(judge.asked) == asked + 2 * 3 * len(QUESTIONS)
    judge.model["root"] = "weights-2"
    held(command, judge, tmp_path / "arena", files)
    assert len(judge.asked) == asked + 2 * 3 * len(QUESTIONS) + 2 * 6 * len(QUESTIONS)


def test_a_judge_of_one_place_is_found_out(command: Command, tmp_path: Path) -> None:
    files = answers(tmp_path, STRENGTHS, QUESTIONS)
    with serving(Judge(lambda question: "1")) as judge:
        board = held(command, judge, tmp_path / "arena", files)
    assert "the same verdict in both on 0.000; prefers the first answer by +1.000" in " ".join(board["footer"])
    assert all(row["cells"]["tied"]["value"] == 1 for row in board["rows"])
    assert list(elo(board).values()) == pytest.approx([1000] * 4)


def test_a_judge_that_cannot_be_read_ties_and_is_counted(command: Command, tmp_path: Path) -> None:
    files = answers(tmp_path, dict(list(STRENGTHS.items())[:2]), QUESTIONS)
    with serving(Judge(lambda question: "не знаю", scores=False)) as judge:
        board = held(command, judge, tmp_path / "arena", files)
    assert "100.0 % of the verdicts cannot be read" in " ".join(board["footer"])


def test_active_pairing_saves_battles_and_keeps_the_order(command: Command, judge: Judge, tmp_path: Path) -> None:
    questions = [f"Вопрос номер {number}?" for number in range(60)]
    files = answers(tmp_path, STRENGTHS, questions)
    words = ("--style", "none", "--anchor", "средняя")
    whole = held(command, judge, tmp_path / "whole", files, *words)
    total, judge.asked = len(judge.asked), []
    active = held(command, judge, tmp_path / "active", files, *words, "--active", "--precision", 100)
    assert len(judge.asked) == len(set(judge.asked)) and len(judge.asked) < 0.6 * total
    saved = (total - len(judge.asked)) // 2
    said = f"Active pairing asked {len(judge.asked) // 2} of {total // 2} battles: {saved} saved"
    assert said in active["footer"]
    assert [row["name"] for row in active["rows"]] == [row["name"] for row in whole["rows"]]
    assert elo(active) == pytest.approx(elo(whole), abs=200)
    before = len(judge.asked)
    again = held(command, judge, tmp_path / "active", files, *words, "--active", "--precision", 100)
    assert again == active and len(judge.asked) == before, "the choice of battles is a function of the verdicts"


def test_an_arena_that_is_stopped_goes_on(command: Command, judge: Judge, tmp_path: Path) -> None:
    """A torn last line and half of the verdicts: what is stored is not asked again, the board is the same."""
    files = answers(tmp_path, STRENGTHS, QUESTIONS)
    words = ("--active", "--precision", 10)
    whole = held(command, judge, tmp_path / "arena", files, *words)
    (samples,) = (tmp_path / "arena" / "samples").iterdir()
    lines = samples.read_bytes().splitlines(keepends=True)
    samples.write_bytes(b"".join(lines[: len(lines) // 2]) + lines[-1][:40])
    judge.asked = []
    assert held(command, judge, tmp_path / "arena", files, *words) == whole
    assert len(judge.asked) == len(lines) - len(lines) // 2
    keys = [line["key"] for line in json_lines(samples)]
    assert len(keys) == len(set(keys)) == len(lines)


def test_the_page_and_the_tables_stand_beside_the_other_boards(command: Command, judge: Judge, tmp_path: Path) -> None:
    strengths = {"<script>alert(1)</script>": 3, "=1+1": 7}
    files = answers(tmp_path, strengths, QUESTIONS)
    for suffix in ("md", "csv", "tex", "html", "json"):
        path = tmp_path / f"board.{suffix}"
        held(command, judge, tmp_path / "arena", files, "--board", path)
        text = path.read_text(encoding="utf-8")
        assert "Elo" in text or "elo" in text
        assert suffix != "csv" or "'=1+1" in text
    page = (tmp_path / "arena" / "board.html").read_text(encoding="utf-8")
    assert page == (tmp_path / "board.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page and "&lt;script&gt;alert(1)" in page
    assert "Bradley-Terry" in page and "Брэдли — Терри" in page
    (tmp_path / "mine.md").write_text("mine")
    said = command("arena", *files, "--judge", judge.url, "--board", tmp_path / "mine.md")
    assert said.code == 2 and "was not written by darumeru" in said.err


def test_mistakes_are_named_before_a_judge_is_asked(command: Command, judge: Judge, tmp_path: Path) -> None:
    one, two, *_ = answers(tmp_path, STRENGTHS, QUESTIONS)
    (tmp_path / "other").mkdir()
    (alone,) = answers(tmp_path / "other", {"одна": 2}, ["Совсем другой вопрос?"])
    (tmp_path / "bad.json").write_text('[{"instruction": "в", "output": 5, "generator": "г"}]', encoding="utf-8")
    for words, message in (
        ((), "RUNS: is needed"),
        ((one,), "an arena needs at least two models, here is one"),
        ((one, one), "two of them are called `слабая`"),
        ((one, tmp_path / "none"), "no such run folder or file of answers"),
        ((one, tmp_path / "bad.json"), "is no list of answers with `instruction`, `output` and `generator`"),
        ((one, two, "--anchor", "средня"), "no model is called `средня`; did you mean средняя"),
        ((one, two, alone), "одна answered no question that others answered"),
        ((one, two, "--rubric", "quality"), "rubric `quality` is of single answers"),
        ((one, two, "--style", "plain"), "--style: must be own or published or none"),
        ((one, two, "--board", "x.doc"), "the suffix names no format"),
    ):
        said = command("arena", *words, "--judge", judge.url, "--output", tmp_path / "arena")
        assert said.code == 2 and message in said.err, (words, said.err)
    assert not judge.asked and not (tmp_path / "arena").exists()
