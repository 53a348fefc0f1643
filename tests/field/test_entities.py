"""Named entities against the authors' functions (parity/ner_*.jsonl, messages.jsonl), and what was mended."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pytest

from darumeru.metrics import metric
from darumeru.metrics.entities import counts, f1_of_counts
from darumeru.tasks.formats.entities import right_answer
from darumeru.tasks.formats.entity_records import LAYOUTS, Marked, Span
from darumeru.tasks.record import Record
from darumeru.tasks.registry import load_registry
from darumeru.tasks.spec import TaskSpec
from tests.field.messages import authors_prompts, exact
from tests.metrics.rows import said
from tests.shared_data import json_lines, shared

SETS = {
    "MalakhovIlya/NEREL": "nerel",
    "nerel-ds/NEREL-BIO": "nerel_bio",
    "Mykes/patient_queries_ner": "patient_queries",
    "RCC-MSU/collection3": "collection3",
    "redmadrobot-rnd/pii_benchmark": "pii",
}
FORMS = {"dict": "lines", "json": "json", "in-place": "marks"}
COLLECTION3 = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")


@cache
def published() -> dict[str, TaskSpec]:
    return load_registry("llmtf-head").specs


def split(task: str) -> tuple[str, str]:
    """ "MalakhovIlya/NEREL-(json)" -> ("nerel", "json")."""
    data, _, form = task.removesuffix(")").partition("-(")
    return SETS[data], form


def target(task: str, sample: dict[str, Any], gold: Any) -> dict[str, Any]:
    data, form = split(task)
    spec = published()[f"field/{data}_{form.replace('-', '_')}"]
    entities = [[name, one] for name, texts in gold.items() for one in texts] if isinstance(gold, dict) else gold
    return {
        "form": FORMS[form],
        "classes": list(spec.options["classes"]),
        "mended": False,
        "nested": data.startswith("nerel"),
        "text": sample["query"],
        "tokens": sample.get("tokens", []),
        "entities": entities,
    }


def marked(data: str, sample: dict[str, Any]) -> Marked:
    if data.startswith("nerel"):
        spans = [Span(one["tag"], one["text"], one["begin"], one["end"]) for one in sample["entities"]]
        return Marked(sample["query"], tuple(spans))
    tags = [COLLECTION3[tag] if isinstance(tag, int) else tag for tag in sample["tags"]]
    spans = []
    for place, tag in enumerate(tags):
        if tag[0] == "B":
            end = place + 1
            while end < len(tags) and tags[end] == f"I{tag[1:]}":
                end += 1
            spans.append(Span(tag[2:], " ".join(sample["tokens"][place:end]), place, end))
    return Marked(sample["query"], tuple(spans), tuple(sample["tokens"]))


def test_every_count_agrees_with_the_authors() -> None:
    """Classes that are not asked for are left out: they do not count in any total."""
    records = json_lines(shared("field", "parity", "ner_counts.jsonl"))
    wrong = []
    for number, one in enumerate(records):
        row = said(one["answer"], target(one["task"], one["sample"], one["gold"]))
        classes = row.target["classes"]
        right = [{name: n for name, n in (one[kind] or {}).items() if name in classes} for kind in ("tp", "fn", "fp")]
        if one["error"]:
            right = [{}, Counter(name for name, _ in row.target["entities"]), {}]
        if [dict(each) for each in counts(row)] != [dict(each) for each in right]:
            wrong.append((number, one["case"]))
    assert len(records) == 756 and not wrong


def test_every_total_agrees_with_the_authors() -> None:
    totals = json_lines(shared("field", "parity", "ner_totals.jsonl"))
    for one in totals:
        sums = np.array([
            sum(sample[kind].get(name, 0) for sample in one["samples"])
            for kind in ("tp", "fn", "fp")
            for name in one["classes"]
        ])  # fmt: skip
        assert float(f1_of_counts(sums)) == pytest.approx(one["f1_macro"], abs=1e-12)
    assert len(totals) == 48


def test_records_are_read_as_the_authors_do() -> None:
    for one in json_lines(shared("field", "parity", "ner_prepare.jsonl")):
        data = SETS[one["data_set"]]
        found = list(LAYOUTS[data](Record(one["raw"], "raw:1"), False))
        prepared = one["prepared"] if isinstance(one["prepared"], list) else [one["prepared"]]
        assert found == ([marked(data, sample) for sample in prepared] if one["kept"] else [])


@pytest.mark.parametrize("data", SETS)
@pytest.mark.parametrize("form", FORMS)
def test_prompts_and_right_answers_are_the_authors(data: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = SETS[data]
    spec = exact(monkeypatch, f"field/{name}_{form.replace('-', '_')}")
    prompts = authors_prompts(f"{data}-({form})")
    assert prompts
    for one in prompts:
        text = marked(name, one["record"])
        messages = [{"role": "user", "content": spec.options["instruction"].replace("{text}", text.text)}]
        if one["as_shot"]:
            messages.append({"role": "assistant", "content": right_answer(spec, text)})
        assert messages == one["messages"]


def read(form: str, answer: str, **more: Any) -> list[Counter[str]]:
    mended = {
        "form": form,
        "classes": ["PER", "LOC"],
        "mended": True,
        "nested": False,
        "tokens": [],
        "text": "",
        **more,
    }
    return list(counts(said(answer, {"entities": [["PER", "Анна"], ["LOC", "Рим"]], **mended})))


@pytest.mark.parametrize(
    "answer",
    [
        "PER: [Анна]\nLOC: [Рим]",
        "- **PER**: [Анна]\n- **LOC** : [Рим]",
        "* PER: [\"Анна\"]\n* LOC: ['Рим']",
        "Сущности:\nPER: [Анна]\nLOC: [Рим]\nГотово.",
    ],
)
def test_lines_are_read_as_people_read_them(answer: str) -> None:
    assert read("lines", answer) == [{"PER": 1, "LOC": 1}, {}, {}]


@pytest.mark.parametrize(
    "answer",
    [
        '[["PER", "Анна"], ["LOC", "Рим"]]',
        'Вот ответ:\n```json\n[["PER", "Анна"], ["LOC", "Рим"]]\n```\nГотово.',
        '[["PER", "Анна"], ["LOC", "Рим"], {"класс": "PER"}, 5, null, ["ORG", "ООН"]]',
    ],
)
def test_json_is_read_as_people_read_it(answer: str) -> None:
    assert read("json", answer) == [{"PER": 1, "LOC": 1}, {}, {}]


@pytest.mark.parametrize("answer", ["null", "5", "[1, 2]", '{"PER": "Анна"}', "[[", "[" * 100_000])
def test_json_of_another_kind_has_no_entities(answer: str) -> None:
    assert read("json", answer) == [{}, {"PER": 1, "LOC": 1}, {}]


def test_a_marked_answer_must_be_the_whole_text() -> None:
    text = "Анна едет в Рим — завтра."
    assert read("marks", "<PER>Анна</PER> едет в <LOC>Рим</LOC> — завтра.", text=text)[0] == {"PER": 1, "LOC": 1}
    assert read("marks", "<PER>Анна</PER> едет в", text=text)[0] == {}


def test_an_answer_of_marks_alone_is_read_in_time() -> None:
    """Five times the longest answer that is asked for; the time is quadratic at most."""
    answer = "<PER>" * 2_000
    row = said(
        answer, {"form": "marks", "classes": ["PER"], "mended": True, "nested": True, "text": "", "entities": []}
    )
    assert [dict(each) for each in counts(row)] == [{}, {}, {}]


@pytest.mark.parametrize("data", SETS.values())
def test_the_right_answers_of_the_bundled_records_score_one_on_their_classes(data: str) -> None:
    """Each form's own right answer is read back as the entities it was made of."""
    from darumeru.tasks.formats import sample_maker
    from darumeru.tasks.records import load_split

    for form in FORMS:
        spec = load_registry().specs[f"field/{data}_{form.replace('-', '_')}"]
        records = load_split(spec.source, "test", "bundled").records
        texts = [one for record in records for one in LAYOUTS[spec.options["layout"]](record, True)]
        made = sample_maker(spec.format)(spec, records, (), 0)
        assert len(texts) == len(made) >= 12
        for sample, text in zip(made, texts, strict=True):
            found, missed, invented = counts(said(right_answer(spec, text), sample.target))
            assert found.total() == len(sample.target["entities"]) and not missed and not invented


def test_an_answer_that_says_nothing_is_unparsed() -> None:
    one = {"form": "json", "classes": ["PER"], "mended": True, "nested": False, "text": "", "tokens": []}
    assert metric("entity_f1_macro").unparsed(said("Не знаю", {**one, "entities": [["PER", "Анна"]]}))
    assert not metric("entity_f1_macro").unparsed(said("[]", {**one, "entities": []}))
