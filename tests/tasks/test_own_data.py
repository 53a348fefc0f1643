"""Own data without code: tasks of the format `template` over files of any shape, and everything that can be wrong.

Right values are written by hand beside the records that they come from.
"""

# ruff: noqa: E501 (a mistake a line)
from __future__ import annotations

import json
import math
import resource
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from darumeru.core.answer import Answer
from darumeru.core.errors import UserError
from darumeru.core.row import SampleRow
from darumeru.metrics import metric
from darumeru.tasks.sample import Sample
from darumeru.tasks.validation import asked, read_tasks
from tests.cli.command import Said
from tests.shared_data import ROOT

TASK = """
name: mine/capitals
group: Mine
description: Capitals.
method: multiple_choice
format: template
source: {file: data.jsonl}
metrics: [acc]
score: [acc]
options:
  prompt: |
    {{ question }}
    {% for choice in choices %}
    {{ letters[loop.index0] }}. {{ choice }}
    {% endfor %}
  answer: "Ответ:"
  choices: cities
  target: right
"""
RECORDS = [
    {"question": "Столица Франции?", "cities": ["Париж", "Рим", "Осло"], "right": "A", "level": 1},
    {"question": "Столица Италии?", "cities": ["Париж", "Рим"], "right": "B", "level": 2},
    {"question": "Столица Норвегии?", "cities": ["Париж", "Рим", "Осло"], "right": "C", "level": 3},
]


def json_lines(records: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A task file, the usual one with replacements, and the usual data beside it."""

    def written(*changes: tuple[str, str], data: str = json_lines(RECORDS), name: str = "data.jsonl") -> Path:
        text = TASK
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / name).write_text(data, encoding="utf-8")
        (tmp_path / "task.yaml").write_text(text, encoding="utf-8")
        return tmp_path / "task.yaml"

    return written


def samples(path: Path, num_fewshot: int = 0) -> list[Sample]:
    (spec,) = read_tasks(str(path), "darumeru")
    return asked(spec, "hub", num_fewshot)


def said(sample: Sample, shots: int = 0) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in sample.conversation(shots)]


def test_a_prompt_is_made_of_a_records_fields_and_choices(write: Callable[..., Path]) -> None:
    first, second, _ = samples(write())
    assert said(first) == [("user", "Столица Франции?\nA. Париж\nB. Рим\nC. Осло"), ("assistant", "Ответ:")]
    assert (first.choices, first.target) == (("A", "B", "C"), "A")
    assert (second.choices, second.target) == (("A", "B"), "B")


@pytest.mark.parametrize(
    ("kind", "right"),
    [
        ("letter", "ABC"),
        ("number", [1, 2, 3]),
        ("number", "123"),
        ("index", [0, 1, 2]),
        ("text", ["Париж", "Рим", "Осло"]),
    ],
)
def test_the_right_choice_may_be_named_in_four_ways(write: Callable[..., Path], kind: str, right: Any) -> None:
    records = [{**record, "right": one} for record, one in zip(RECORDS, right, strict=True)]
    data = json_lines(records)
    by_letter = samples(write(("target: right", f"target: right\n  target_is: {kind}"), data=data))
    by_text = samples(write(("target: right", f"target: right\n  target_is: {kind}\n  choose: text"), data=data))
    assert [one.target for one in by_letter] == ["A", "B", "C"]
    assert [(one.target, one.choices) for one in by_text] == [
        ("Париж", ("Париж", "Рим", "Осло")),
        ("Рим", ("Париж", "Рим")),
        ("Осло", ("Париж", "Рим", "Осло")),
    ]


def test_examples_come_from_the_same_file_and_are_not_asked(write: Callable[..., Path]) -> None:
    (only,) = samples(write(("data.jsonl}", "data.jsonl, shots_file: ./data.jsonl}")), 2)
    assert only.id == "2" and only.most == 2 and only.target == "C"
    assert said(only, 1)[:2] == [("user", "Столица Франции?\nA. Париж\nB. Рим\nC. Осло"), ("assistant", "Ответ: A")]


def test_examples_come_from_another_file_or_by_a_condition(write: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "shots.csv").write_text('question;cities;right\nГде мы?;"[""Тут"", ""Там""]";B\n', encoding="utf-8")
    expression = ("choices: cities", "choices: cities if cities is not string else cities | fromjson")
    found = samples(write(("data.jsonl}", "data.jsonl, shots_file: shots.csv}"), expression), 5)
    assert len(found) == 3 and found[0].most == 1
    assert said(found[0], 1)[:2] == [("user", "Где мы?\nA. Тут\nB. Там"), ("assistant", "Ответ: B")]
    parted = "data.jsonl, shots_file: data.jsonl, where: level > 1, shots_where: level < 3}"
    last = samples(write(("data.jsonl}", parted)), 5)
    assert [one.target for one in last] == ["C"] and last[
        0
    ].most == 2  # levels 1 and 2 are examples, 2 and 3 were asked


def test_every_kind_of_file_gives_the_same_samples(write: Callable[..., Path], tmp_path: Path) -> None:
    import pandas

    flat = [{"question": r["question"], "cities": "|".join(r["cities"]), "right": r["right"]} for r in RECORDS]
    frame = pandas.DataFrame(flat)
    frame.to_csv(tmp_path / "data.csv", index=False)
    frame.to_csv(tmp_path / "data.tsv", index=False, sep="\t")
    frame.to_csv(tmp_path / "semicolons.csv", index=False, sep=";", encoding="utf-8-sig")
    frame.to_parquet(tmp_path / "data.parquet")
    (tmp_path / "data.json").write_text(json.dumps(flat), encoding="utf-8")
    (tmp_path / "parts").mkdir()
    frame.to_csv(tmp_path / "parts" / "test.csv", index=False)
    usual = [(said(one), one.target, one.choices) for one in samples(write())]
    files = ("data.csv", "data.tsv", "semicolons.csv", "data.parquet", "data.json")
    for source in (*(f"{{file: {name}}}" for name in files), "{folder: parts, shots: null}"):
        path = write(("{file: data.jsonl}", source), ("choices: cities", 'choices: cities.split("|")'))
        assert [(said(one), one.target, one.choices) for one in samples(path)] == usual, source


def test_a_data_set_of_the_hub_may_have_any_fields(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--data DIR stands for the Hub: the same path below a folder."""
    place = tmp_path / "data" / "owner" / "cities"
    place.mkdir(parents=True)
    (place / "validation.jsonl").write_text(json_lines(RECORDS), encoding="utf-8")
    path = write(("{file: data.jsonl}", "{repository: owner/cities, test: validation, shots: null}"))
    (spec,) = read_tasks(str(path), "darumeru")
    assert [one.target for one in asked(spec, str(tmp_path / "data"), 0)] == ["A", "B", "C"]


GENERATE = [
    ("method: multiple_choice", "method: generate"),
    ("metrics: [acc]\nscore: [acc]", "metrics: [em, f1]\nscore: [em]"),
    ("    {% for choice in choices %}\n    {{ letters[loop.index0] }}. {{ choice }}\n    {% endfor %}\n", ""),
    ("  choices: cities\n", ""),
]


def test_generated_answers_may_have_several_right_ones(write: Callable[..., Path]) -> None:
    found = samples(write(*GENERATE, ("target: right", "target: cities")))
    assert found[1].target == ["Париж", "Рим"] and found[1].choices is None


def test_a_closed_set_of_answers_stands_in_the_task(write: Callable[..., Path]) -> None:
    path = write(
        ("format: template", "choices: [мало, много]\nformat: template"),
        ("  choices: cities\n  target: right", "  target: \"{1: 'мало', 2: 'мало', 3: 'много'}[level]\""),
    )
    found = samples(path)
    assert [one.target for one in found] == ["мало", "мало", "много"] and found[0].choices is None
    assert "мало. мало" in said(found[0])[0][1]  # here the letters are the answers themselves


def test_ids_clusters_and_meta_are_expressions(write: Callable[..., Path]) -> None:
    more = "target: right\n  id: \"'q' ~ level\"\n  cluster: level // 2\n  meta: {difficulty: level * 2}"
    found = samples(write(("target: right", more)))
    assert [one.id for one in found] == ["q1", "q2", "q3"] and [one.cluster for one in found] == ["0", "1", "1"]
    assert found[2].meta == {"difficulty": 6}


# What is wrong: (changes of the task, data, what is said)
MISTAKES: dict[str, tuple[Sequence[tuple[str, str]], str | None, str]] = {
    "a field that is not there": (
        [("{{ question }}", "{{ qestion }}")],
        None,
        "data.jsonl:1: `prompt` of mine/capitals needs the field `qestion`, which is not there; did you mean question?",
    ),
    "a template that is none": ([("{{ question }}", "{{ question }")], None, r"task.yaml:\d+: `prompt` .* not a Jinja template"),
    "an expression that is none": ([("target: right", "target: right +")], None, "task.yaml:.*`target` .* not a Jinja expression"),
    "an unknown filter": ([("{{ question }}", "{{ question | rot13 }}")], None, "No filter named 'rot13'"),
    "chance": ([("{{ question }}", "{{ cities | random }}")], None, "No filter named 'random'"),
    "a way out of the sandbox": ([("{{ question }}", "{{ ''.__class__.__mro__ }}")], None, "`__class__`|unsafe"),
    "an endless template": (
        [("{{ question }}", "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}")],
        None,
        "takes longer than 5 s for 2 records",
    ),
    "a huge product": ([("{{ question }}", "{{ 'я' * 999999999 }}")], None, "a product would hold more than"),
    "a huge power": ([("{{ question }}", "{{ 9 ** 99999999 }}")], None, "a power would be"),
    "an empty prompt": ([("{{ question }}", ""), ("{{ letters[loop.index0] }}. {{ choice }}", "")], None, "makes an empty text"),
    "a target that is no letter": ([], json_lines([{**RECORDS[0], "right": "Г"}]), "data.jsonl:1: `target` .* is 'Г', not one of A, B, C"),
    "a number beyond": (
        [("target: right", "target: level\n  target_is: index")],
        None,
        "data.jsonl:2: `target` .* is 2, not 0 to 1",
    ),
    "choices that are no list": ([("choices: cities", "choices: question")], None, "`choices` .* must be a list, is 'Столица"),
    "one choice": ([], json_lines([{**RECORDS[0], "cities": ["Рим"]}]), "`choices` .* two texts or more that differ"),
    "more choices than letters": (
        [("format: template", "choices: [А, Б]\nformat: template")],
        None,
        "has 3 choices, and the task 2 letters",
    ),
    "an empty target": (GENERATE, json_lines([{**RECORDS[0], "right": " "}]), "`target` .* is empty"),
    "a metric of other answers": ([("[acc]", "[em]")], None, "mine/capitals: metric `em` .*usual ones here: acc"),
    "choices for generated texts": ([*GENERATE[:1], *GENERATE[2:]], None, "metric `acc` gives right answers nothing"),
    "a metric that is none": ([("[acc]", "[acu]")], None, "task.yaml:8: unknown metric `acu`; did you mean acc"),
    "a condition that none fulfils": ([("data.jsonl}", "data.jsonl, where: level > 9}")], None, "`where` .* is true for none of 3"),
    "a condition that is none": ([("data.jsonl}", "data.jsonl, where: level >}")], None, "task.yaml:7: `where` .* not a Jinja"),
    "no such file": ([("data.jsonl}", "date.jsonl}")], None, "date.jsonl: no such file"),
    "an unknown kind of file": ([("data.jsonl}", "task.yaml}")], None, "task.yaml: is no file of records by its suffix"),
    "file and repository": ([("data.jsonl}", "data.jsonl, repository: a/b}")], None, "task.yaml:7: .*cannot both be given"),
    "no source at all": ([("{file: data.jsonl}", "{test: test}")], None, "needs `repository`, `file` or `folder`"),
    "an option that is not there": ([("choices: cities", "choises: cities")], None, "no option `choises`; did you mean choices"),
    "log-probabilities": ([("method: multiple_choice", "method: loglikelihood")], None, "cannot stand with method loglikelihood"),
    "no records": ([], "", "data.jsonl: holds no records"),
    "two of one id": ([("target: right", "target: right\n  id: cities | length")], None, "data.jsonl:3: `id` .* is '3', as in"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MISTAKES)
def test_every_mistake_is_one_clear_line(write: Callable[..., Path], kind: str) -> None:
    changes, data, wanted = MISTAKES[kind]
    path = write(*changes) if data is None else write(*changes, data=data)
    with pytest.raises(UserError, match=wanted) as caught:
        samples(path)
    assert "\n" not in caught.value.line()


BAD_TABLES = {
    "too many cells": ("a,b\n1,2\n3,4,5\n", ":3: has 3 cells, the header 2 (a, b)"),
    "a quote that is never closed": ('a,b\n1,"2\n3,4\n', "is not CSV"),
    "a column twice": ("a,a\n1,2\n", ":1: two columns are called `a`"),
    "a column without a name": ("a,\n1,2\n", ":1: column 2 of the header has no name"),
    "only a header": ("a,b\n", "holds no records"),
    "windows-1251": ("a,b\nда,нет\n", ":2: is not UTF-8"),
}


@pytest.mark.parametrize("kind", BAD_TABLES)
def test_a_table_that_is_wrong_is_named_with_its_line(tmp_path: Path, kind: str) -> None:
    from darumeru.tasks.record_files import read_records

    text, said = BAD_TABLES[kind]
    (tmp_path / "t.csv").write_bytes(text.encode("cp1251" if kind == "windows-1251" else "utf-8"))
    with pytest.raises(UserError) as caught:
        read_records(tmp_path / "t.csv", "t.csv")
    assert said in caught.value.line()


def test_cells_with_line_feeds_keep_the_count_of_lines(tmp_path: Path) -> None:
    from darumeru.tasks.record_files import read_records

    (tmp_path / "t.csv").write_text('a,b\n"1\n2",x\n\n3,y\n', encoding="utf-8")
    records, _ = read_records(tmp_path / "t.csv", "t.csv")
    assert [(dict(one.values), one.where) for one in records] == [
        ({"a": "1\n2", "b": "x"}, "t.csv:2"),
        ({"a": "3", "b": "y"}, "t.csv:5"),
    ]


def test_probability_per_character_may_choose_otherwise() -> None:
    """log 0.2 / 2 = -0.80 for "да", log 0.05 / 10 = -0.30 for a text of ten characters: the long one wins per
    character and loses as a whole."""
    row = SampleRow("t", "0", "0", "", "", 0, "безусловно", Answer(probabilities={"да": 0.2, "безусловно": 0.05}))
    assert math.log(0.05) / 10 > math.log(0.2) / 2
    assert metric("acc_norm").values(row) == {"acc_norm": 1.0} and metric("acc").values(row) == {"acc": 0.0}


# darumeru tasks new

TABLES = {
    "columns": ("question,A,B,answer\n1+1?,1,2,B\n2+2?,4,5,A\n", ["B", "A"], ["A", "B"]),
    "numbers": ("вопрос;вариант 1;вариант 2;правильный_ответ\n1+1?;1;2;2\n2+2?;4;5;1\n", ["B", "A"], ["A", "B"]),
    "classes": ("id,отзыв,метка\n" + "".join(f"x{n},текст {n},{'да' if n % 2 else 'нет'}\n" for n in range(6)),
                ["нет", "да"], ["да", "нет"]),
    "texts": ("q,a\nСтолица Франции?,Париж\nСтолица Италии?,Рим\n", ["Париж", "Рим"], []),
}  # fmt: skip


@pytest.mark.parametrize("kind", TABLES)
def test_a_first_task_file_is_valid_as_it_is(command: Callable[..., Said], tmp_path: Path, kind: str) -> None:
    text, targets, choices = TABLES[kind]
    (tmp_path / "мои данные.csv").write_text(text, encoding="utf-8")
    done = command("tasks", "new", tmp_path / "мои данные.csv")
    assert done.code == 0 and "tasks validate" in done.out, done.err
    path = tmp_path / "мои данные.yaml"
    assert command("tasks", "new", tmp_path / "мои данные.csv").code == 2  # it is there already
    found = json.loads(command("tasks", "validate", path, "--try", "--json").out)
    assert found["valid"] == ["mine/мои_данные"]
    prompts = found["prompts"]["mine/мои_данные"]
    assert [one["target"] for one in prompts[:2]] == targets
    (spec,) = read_tasks(str(path), "darumeru")
    assert (prompts[0]["choices"] or list(spec.choices)) == choices
    shown = command("tasks", "show", "мои_данные", "--include", path)
    assert shown.code == 0 and "мои данные.csv" in shown.out
    assert "mine/мои_данные *" in command("tasks", "list", "--include", path).out  # not among the 17


def test_three_prompts_are_shown_with_examples(command: Callable[..., Said], write: Callable[..., Path]) -> None:
    done = command("tasks", "validate", write(("data.jsonl}", "data.jsonl, shots_file: data.jsonl}")), "--try",
                   "--num-fewshot", "1")  # fmt: skip
    assert done.code == 0 and done.out.count("--- mine/capitals") == 2
    assert "[assistant]\nОтвет: A\n[user]\nСтолица Италии?" in done.out
    assert 'the right answer is "B", among A, B' in done.out and "[assistant, left open]" in done.out


@pytest.mark.parametrize(("name", "text", "said"), [
    ("one.csv", "a\n1\n", "records have one field"),
    ("none.csv", "", "holds no records"),
    ("lists.json", '[{"a": [1], "b": 2}]', "no field for a question"),
    ("some.jsonl", '{"a": 1, "b": 2}\n{"a": 1}\n', "some.jsonl:2: field `b` is missing"),
    ("image.png", "x", "is no file of records"),
])  # fmt: skip
def test_data_that_no_task_can_be_made_of(
    command: Callable[..., Said], tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    done = command("tasks", "new", tmp_path / name)
    assert done.code == 2 and said in done.err and len(done.err.splitlines()) == 1
    assert not list(tmp_path.glob("*.yaml"))


def test_a_template_that_eats_memory_is_stopped_in_its_own_process(write: Callable[..., Path]) -> None:
    """A list that doubles 60 times; the memory of this process stays what it was."""
    eater = "{% set ns = namespace(x=[1, 2, 3, 4]) %}{% for a in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}"
    path = write(("{{ question }}", eater))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"task mine/capitals: .* for 2 records"):
        samples(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


def test_the_command_itself_says_one_line(command: Callable[..., Said], write: Callable[..., Path]) -> None:
    path = write(("{{ question }}", "{{ qestion }}"))
    words = ("--include", path, "--tasks", "mine/capitals", "--output", path.parent / "run")
    done = command("run", "--model", ROOT / "demo" / "darumeru-demo", *words)
    assert done.code == 2 and "did you mean question?" in done.err.splitlines()[-1]
    assert not (path.parent / "run").exists()


def test_each_choice_may_be_an_expression_of_its_own(write: Callable[..., Path]) -> None:
    path = write(
        ("choices: cities", 'choices: ["cities[0]", "\'Нигде\'", question | length]'),
        ("target: right", "target: \"'B'\""),
    )
    assert said(samples(path)[0])[0][1].splitlines()[1:] == ["A. Париж", "B. Нигде", "C. 16"]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("{{ level / 0 }}", "`prompt` of mine/capitals fails: division by zero"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "fails: maximum recursion depth"),
        ("{{ question.join(level) }}", "fails: "),
        ("{% include 'other' %}", "fails: "),
        ("{{ cities.append('x') }}", "fails: |unsafe"),
    ],
)
def test_whatever_a_template_raises_is_one_line(write: Callable[..., Path], option: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        samples(write(("{{ question }}", option)))
    assert "data.jsonl:1" in caught.value.line() and "\n" not in caught.value.line()
