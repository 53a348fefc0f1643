"""Tasks answered by choosing, against the authors' functions (shlepa_options, messages and answers of parity)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from darumeru.core.errors import UserError
from darumeru.metrics import metric
from darumeru.tasks.formats.distractors import FIELDS, options, question, right_option
from darumeru.tasks.record import Record
from darumeru.tasks.records import load_split, parts
from darumeru.tasks.registry import load_registry
from tests.field.messages import authors_prompts, exact, samples
from tests.field.messages import said as plainly
from tests.metrics.rows import picked, said
from tests.shared_data import json_lines, shared


def test_answers_of_shlepa_are_gathered_as_the_authors_do() -> None:
    """The rows beside each question are given, so that the data set is made of them."""
    for one in json_lines(shared("field", "parity", "shlepa_options.jsonl")):
        rows = [Record(row, "row") for row in (one["record"], *one["neighbours"])]
        assert options(rows, 0) == one["options_before_shuffle"]
        assert options([*rows[1:], rows[0]], 5) == one["options_before_shuffle"]
        right = right_option(rows[0], mended=False)
        # A letter that is none of theirs is None, and the first answer is taken for none.
        assert (None if right is None else "ABCD"[right]) == one["correct_option"]
        assert (not right) is one["dropped_by_authors_code"]


def test_shlepa_asks_all_questions_when_mended_and_the_published_ones_otherwise() -> None:
    for profile, asked in (("darumeru", 12), ("llmtf-head", 9)):
        spec = load_registry(profile).specs["field/shlepa_movie"]
        records = load_split(spec.source, "train", "bundled").records
        made = samples(spec, [record.values for record in records])
        assert len(made) == asked
        for sample in made:
            text = sample.conversation(0)[0].content
            record = records[int(sample.id)]
            right = record.values[FIELDS[right_option(record, True) or 0]]
            assert f"\n{sample.target}. {right}\n" in text and text.count("\nL. ") == 1


def test_shlepa_prompts_are_the_authors(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = exact(monkeypatch, "field/shlepa_movie")
    (one,) = authors_prompts("shlepa/moviesmc")
    record = Record(one["record"], "row")
    messages = [
        {"role": "user", "content": question(spec, record, one["record"]["choices"])},
        {"role": "assistant", "content": spec.options["answer"]},
    ]
    assert messages == one["messages"]


def test_kinopoisk_prompts_are_the_authors(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = exact(monkeypatch, "field/kinopoisk")
    for one in authors_prompts("sentiment_kinopoisk"):
        (sample,) = samples(spec, [one["record"]], [one["record"]])
        assert plainly(sample.conversation(1)[:2] if one["as_shot"] else sample.conversation(0)) == one["messages"]


def test_habr_prompts_are_the_authors_in_one_of_the_two_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorded order has the best answer second: rows of that order are looked for."""
    spec = exact(monkeypatch, "field/habr_qa_sbs")
    whole, shot = sorted(authors_prompts("vikhrmodels/habr_qa_sbs"), key=lambda one: bool(one["as_shot"]))
    made = samples(spec, [whole["record"]] * 40, [{}])
    second = [sample for sample in made if sample.target == "B"]
    assert 5 < len(second) < 25
    assert plainly(second[0].conversation(0)) == whole["messages"]
    (asked, *_) = samples(spec, [shot["record"]] * 40, [{}] * 8)
    messages = plainly(asked.conversation(8))
    assert shot["messages"] in [messages[place : place + 2] for place in range(0, 16, 2)]


def pair(record: dict[str, Any]) -> dict[str, Any]:
    """A recorded pair as the data set has it: the authors record "r" for a pair that is shown reversed."""
    return {**record, "order": "s"}


def test_ruparam_prompts_are_the_authors(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = exact(monkeypatch, "field/ruparam")
    for one in authors_prompts("ruparam"):
        reversed_pair = one["record"]["order"] == "r"
        made = samples(spec, [pair(one["record"])] * 22, [{}])
        sample = next(each for each in made if each.target == ("2" if reversed_pair else "1"))
        assert plainly(sample.conversation(1)[:2] if one["as_shot"] else sample.conversation(0)) == one["messages"]


def test_ruparam_pairs_that_are_exchanged_are_put_right() -> None:
    spec = load_registry().specs["field/ruparam"]
    rows = [{"id": n, "gram": "Мама мыла раму.", "ungram": "Мама мыла рамой.", "order": "s"} for n in range(22)]
    exchanged = [{**row, "gram": row["ungram"], "ungram": row["gram"], "order": "i"} for row in rows]
    straight = [sample.conversation(0) for sample in samples(spec, rows)]
    assert straight == [sample.conversation(0) for sample in samples(spec, exchanged)]
    made = samples(spec, rows)
    assert len(made) == 24 and len({sample.cluster for sample in made}) == 12
    assert made[0].conversation(0)[0].content.index("раму") < made[0].conversation(0)[0].content.index("рамой")


@pytest.mark.parametrize("ask", ["classify", "choice"])
def test_rublimp_prompts_are_the_authors(ask: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = exact(monkeypatch, f"field/rublimp_{ask}")
    for one in authors_prompts(f"russiannlp/rublimp-({ask})"):
        record = one["record"]
        odd = record["correct"] if ask == "classify" else record["swap"]
        made = samples(spec, [record] * 4, [{}] * 2)
        if one["as_shot"]:
            # Of two examples the first, which is even, stands directly before the query.
            place = slice(0, 2) if odd else slice(2, 4)
            assert plainly(made[0].conversation(2)[place]) == one["messages"]
        else:
            right = {"classify": "0" if odd else "1", "choice": "1" if odd else "2"}[ask]
            sample = next(each for each in made if each.target == right)
            assert plainly(sample.conversation(0)) == one["messages"]


def test_rublimp_answers_are_read_as_the_authors_do() -> None:
    for one in json_lines(shared("field", "parity", "answers.jsonl")):
        if not one["task"].startswith("russiannlp/rublimp"):
            continue
        row = said(one["answer"], one["gold"])
        right = 0.0 if one["error"] else float(one["acc"])
        assert metric("first_character_acc").values(row)["first_character_acc"] == right


def test_a_stray_first_character_is_a_class_of_its_own() -> None:
    """By hand: F1 of 1 is 2/3, of 0 is 1, of * is 0."""
    rows = [said(text, target, str(n)) for n, (text, target) in enumerate([("1", "1"), (" 0.", "0"), ("**1", "1")])]
    assert metric("first_character_f1_macro").statistic(rows).value == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_choices_are_read_as_the_authors_do() -> None:
    answers = [one for one in json_lines(shared("field", "parity", "answers.jsonl")) if "hit" in one]
    assert len(answers) > 5
    for one in answers:
        record = one["record"]
        target = {
            "sentiment_kinopoisk": lambda record=record: "123"[record["label"]],
            "vikhrmodels/habr_qa_sbs": lambda record=record: record["outputs"],
            "ruparam": lambda record=record: "1" if record["order"] == "s" else "2",
        }.get(one["task"], lambda record=record: record["gold"])()
        assert metric("acc").values(picked(one["probabilities"], target))["acc"] == float(one["hit"])


def test_a_source_of_several_configurations_is_one_split() -> None:
    spec = load_registry().specs["field/rublimp_choice"]
    assert len(spec.source.configs) == 45 and len(parts(spec.source)) == 45
    split = load_split(spec.source, "train", "bundled")
    assert {record.values["config"] for record in split.records} < set(spec.source.configs)
    first = [sample.meta["config"] for sample in samples(spec, [record.values for record in split.records])[:8]]
    assert len(set(first)) == 8
    with pytest.raises(UserError, match="no file train"):
        load_split(spec.source, "train", str(shared("field")))
    with pytest.raises(UserError, match="none of its configurations"):
        load_split(replace(spec.source, configs=("none",)), "train", "bundled")
