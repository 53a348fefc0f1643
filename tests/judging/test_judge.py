"""`darumeru judge` before a server: what is asked, what is asked again, what the run's scores become."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from darumeru.core.errors import UserError
from darumeru.engines.protocol import Engine
from darumeru.judging.agreement import agreement
from darumeru.judging.config import JudgeConfig
from darumeru.judging.judge import judge_run
from darumeru.leaderboard.measures import otherwise
from darumeru.runs.run import load_run
from darumeru.tasks.rubrics import find_rubric
from tests.cli.command import Said
from tests.judging.conftest import RECORDS, TASK
from tests.judging.server import Judge, serving

Command = Callable[..., Said]


def odd(question: str) -> str:
    """Says Да to every question of an odd number of letters."""
    return "Да" if len(question) % 2 else "Нет"


@pytest.fixture
def judge() -> Iterator[Judge]:
    with serving(Judge(odd)) as server:
        yield server


def score(run: Path) -> Any:
    return load_run(run).results.tasks[TASK]


def test_a_run_waits_for_its_judge_and_says_so(run: Path) -> None:
    task = score(run)
    assert task.error is None and task.score.value is None
    assert f"{RECORDS} answers are not judged yet (`darumeru judge RUN --judge MODEL`)" in task.score.reason
    assert "judged" not in task.metrics and task.metrics["rougeL_f1"].value is not None
    assert task.rates["unparsed"] == 0


def test_the_scores_are_what_the_judge_said(run: Path, judge: Judge, command: Command) -> None:
    said = command("judge", run, "--judge", judge.url, "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    right = sum(odd(question) == "Да" for question in judge.asked) / RECORDS
    assert len(judge.asked) == RECORDS and 0 < right < 1
    assert score(run).score.value == found["scores"][TASK]["score"]["value"] == pytest.approx(right)
    about = found["tasks"][f"judge:{TASK}"]
    assert about["rates"]["unparsed"] == 0
    assert about["metrics"]["label_probability"]["value"] == pytest.approx(0.7)  # as the server says
    row = next(load_run(run).rows(TASK))
    (about_it,) = (one for one in judge.asked if f"Вопрос: {row.meta['question']}\n" in one)
    assert f"проверить: {row.answer.text}\n" in about_it and f"1) {row.target[0]}\n" in about_it
    before = score(run).to_dict()
    assert command("score", run).code == 0 and command("judge", run, "--judge", judge.url).code == 0
    assert len(judge.asked) == RECORDS and score(run).to_dict() == before


def test_another_judge_or_rubric_is_asked_again_and_an_old_one_is_not(
    run: Path, judge: Judge, command: Command, tmp_path: Path
) -> None:
    words = ("judge", run, "--judge", judge.url)
    assert command(*words).code == 0
    first = score(run)
    judge.model["root"] = "weights-2"
    assert command(*words).code == 0 and len(judge.asked) == 2 * RECORDS
    assert score(run).judge != first.judge and "judged by" in (otherwise(first, score(run)) or "")
    judge.model["root"] = "weights-1"
    assert command(*words).code == 0 and len(judge.asked) == 2 * RECORDS
    assert score(run).to_dict() == first.to_dict()
    mine = tmp_path / "mine.yaml"
    texts = {"name": "mine", "description": "d", "kind": "answer", "instruction": "Хорош ли ответ: {answer}?"}
    mine.write_text(yaml.safe_dump({**texts, "labels": {"Да": 1, "Нет": 0}}, allow_unicode=True), encoding="utf-8")
    assert command(*words, "--rubric", mine).code == 0 and len(judge.asked) == 3 * RECORDS
    assert judge.asked[-1].startswith("Хорош ли ответ")
    mine.write_text(yaml.safe_dump({**texts, "labels": {"Да": 0.5, "Нет": 0}}, allow_unicode=True), encoding="utf-8")
    before = score(run).score.value
    assert command(*words, "--rubric", mine).code == 0 and len(judge.asked) == 3 * RECORDS, "nothing new is asked"
    assert score(run).score.value == pytest.approx(before / 2)


def test_verdicts_are_of_the_answers_that_they_were_asked_about(
    answered: Path, run: Path, judge: Judge, command: Command
) -> None:
    assert command("judge", run, "--judge", judge.url).code == 0
    path = run / "samples" / f"{TASK.replace('/', '__')}.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    changed = {**json.loads(lines[0])}
    changed["answer"] = {**changed["answer"], "text": "совсем другое"}
    path.write_text("\n".join([json.dumps(changed), *lines[1:]]) + "\n", encoding="utf-8")
    assert command("score", run).code == 0
    assert "1 answers are not judged yet" in score(run).score.reason
    assert command("judge", run, "--judge", judge.url).code == 0
    assert len(judge.asked) == RECORDS + 1 and "совсем другое" in judge.asked[-1]


def test_a_server_without_probabilities_is_read_by_its_words(run: Path, command: Command) -> None:
    said = iter(["**Да**", "нет.", "Да, потому что", "Может быть", "<think>Да?</think>\n\nНет", ""])
    with serving(Judge(lambda question: next(said), scores=False)) as server:
        words = ("judge", run, "--judge", server.url, "--engine-args", '{"concurrency": 1}')
        done = command(*words, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["tasks"][f"judge:{TASK}"]["rates"]["unparsed"] == pytest.approx(2 / 6)
    assert score(run).score.value == pytest.approx(2 / 6) and score(run).rates["unparsed"] == pytest.approx(2 / 6)


def test_a_call_that_fails_moves_no_other_verdict(run: Path, judge: Judge, command: Command) -> None:
    rows = list(load_run(run).rows(TASK))
    judge.failing = rows[2].meta["question"]
    done = command("judge", run, "--judge", judge.url)
    assert done.code == 1 and "1 sample failed" in done.out
    values = {row.id: row.metrics.get("judged") for row in load_run(run).rows(TASK)}
    assert values.pop(rows[2].id) is None and set(values.values()) <= {0.0, 1.0}
    asked = {re.search(r"Вопрос: (.*)", question)[1]: odd(question) for question in judge.asked}  # type: ignore[index]
    assert all(values[row.id] == float(asked[row.meta["question"]] == "Да") for row in rows if row.id in values)
    judge.failing = ""
    assert command("judge", run, "--judge", judge.url).code == 0 and score(run).score.value is not None


def test_a_second_judge_leaves_the_scores_and_gets_a_kappa(run: Path, judge: Judge, command: Command) -> None:
    refused = command("judge", run, "--judge", judge.url, "--second")
    assert refused.code == 2 and "no first judge" in refused.err and not (run / "judges").exists()
    assert command("judge", run, "--judge", judge.url).code == 0
    before = score(run).to_dict()
    with serving(Judge(lambda question: "Да")) as other:
        done = command("judge", run, "--judge", other.url, "--name", "other", "--second", "--json")
        assert done.code == 0 and len(other.asked) == RECORDS
    assert score(run).to_dict() == before
    found = json.loads(done.out)["agreement"][TASK]
    yes = sum(odd(question) == "Да" for question in judge.asked)
    assert (found["n"], found["same"]) == (RECORDS, pytest.approx(yes / RECORDS))
    assert found["kappa"] == pytest.approx(0)  # one who always says the same agrees by chance alone


def test_kappa_is_cohens() -> None:
    """Against scikit-learn."""
    from sklearn.metrics import cohen_kappa_score

    one = [0, 0, 1, 1, 0.5, 1, 0, 1, 1, 0.5, 0, 1]
    two = [0, 1, 1, 1, 0.5, 0, 0, 1, 1, 0, 0, 0.5]
    first, second = ({str(number): float(value) for number, value in enumerate(said)} for said in (one, two))
    found = agreement({**first, "a": None}, {**second, "a": 1.0, "b": 1.0})
    right = cohen_kappa_score([int(2 * x) for x in one], [int(2 * x) for x in two])
    assert found.kappa == pytest.approx(right) and (found.n, found.unread) == (12, 1)
    assert found.low is not None and found.high is not None and found.low < right < found.high


def test_a_real_engine_judges_by_exact_probability(run: Path, tiny_model: Path, vllm_engine: Engine) -> None:
    """vLLM's probabilities of whole words, "Да" and "Нет", agree with those of transformers on the same model."""

    class Lent:
        def __getattr__(self, name: str) -> Any:
            return getattr(vllm_engine, name)

        def close(self) -> None:
            pass

    found = []
    for engine in ("vllm", "transformers"):
        config = JudgeConfig(run=run, judge=str(tiny_model), name=engine, engine=engine)
        load: Any = (lambda name, options: Lent(),) if engine == "vllm" else ()
        judged = judge_run(config, None, *load)
        found.append([row.answer.probabilities for row in judged.judge.rows(f"judge:{TASK}")])
    assert len(found[0]) == RECORDS
    for one, other in zip(*found, strict=True):
        assert one and list(one) == ["Да", "Нет"] and one == pytest.approx(other, rel=2e-3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: r\n", "needs `description`"),
        ("kind: story", "`kind` of the rubric must be one of answer, pair"),
        ("labels: {Да: 1}", "`labels` must map at least two words to numbers"),
        ("labels: {Да: 7, Нет: 0}", "between 0 and 1"),
        ("instruction: Хорошо ли?", "`instruction` does not name {answer}"),
        ("kind: pair\ninstruction: '{first} {second}'", "of a pair must be worth 1"),
        ("profiles: {papr: {by: text}}", "unknown profile `papr`; did you mean paper"),
        ("rubric: x", "the rubric has no field `rubric`"),
    ],
)
def test_a_rubric_that_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    good = {"name": "r", "description": "d", "kind": "answer", "instruction": "{answer}?", "labels": {"а": 1, "б": 0}}
    path = tmp_path / "r.yaml"
    written = text if text.startswith("name") else yaml.safe_dump({**good, **yaml.safe_load(text)}, allow_unicode=True)
    path.write_text(written, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        find_rubric(str(path))
    assert message in caught.value.line() and str(path) in caught.value.line() and "\n" not in caught.value.line()


def test_what_cannot_be_judged_is_refused_in_one_line(run: Path, command: Command, tmp_path: Path) -> None:
    for words, message in (
        ((tmp_path / "none", "--judge", "x"), "no such run folder"),
        ((run, "--judge", "x", "--tasks", "rubqa"), "no judged task `rubqa` in this run"),
        ((run, "--judge", "x", "--rubric", "right_anser"), "unknown rubric `right_anser`; did you mean right_answer"),
        ((run, "--judge", "x", "--rubric", "better_answer"), "rubric `better_answer` is of pairs"),
        ((run, "--judge", "http://h/v1", "--revision", "a"), "--revision: is of models on the Hub"),
        ((run,), "--judge: is needed"),
    ):
        said = command("judge", *words)
        assert said.code == 2 and message in said.err and said.err.count("\n") <= 2, said.err


def test_a_task_of_ones_own_is_judged(judge: Judge, tiny_model: Path, tmp_path: Path, command: Command) -> None:
    """A line `judge: RUBRIC`; the judge sees the last thing that the user said, without the marks of a template."""
    (tmp_path / "q.jsonl").write_text('{"q": "Назови столицу Франции.", "a": "Париж"}\n', encoding="utf-8")
    task = {
        "name": "mine/capitals", "group": "Mine", "description": "d", "method": "generate", "format": "template",
        "source": {"file": "q.jsonl"}, "metrics": ["judged"], "score": ["judged"], "judge": "right_answer",
        "max_new_tokens": 4, "leaderboard": False, "options": {"prompt": "{{ q }}", "target": "a"},
    }  # fmt: skip
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(task), encoding="utf-8")
    words = ("--include", file, "--tasks", "mine/capitals", "--engine", "transformers", "--output", tmp_path / "run")
    assert command("run", "--model", tiny_model, *words).code == 0
    assert command("judge", tmp_path / "run", "--judge", judge.url).code == 0
    (asked,) = judge.asked
    assert asked.startswith("Вопрос: Назови столицу Франции.\n\nОтвет, который") and "1) Париж\n" in asked
    for changed, message in (
        ({"judge": "right_anser"}, "unknown rubric `right_anser`; did you mean right_answer"),
        ({"judge": "better_answer"}, "rubric `better_answer` is of pairs"),
        ({"method": "multiple_choice", "choices": ["1", "2"]}, "only answers in words are judged"),
    ):
        file.write_text(yaml.safe_dump({**task, **changed}), encoding="utf-8")
        refused = command("tasks", "validate", file)
        assert refused.code == 2 and message in refused.err and "mine.yaml:" in refused.err, refused.err


def test_a_comparison_says_what_waits_for_a_judge(answered: Path, run: Path, judge: Judge, command: Command) -> None:
    assert command("judge", run, "--judge", judge.url).code == 0
    said = command("compare", answered, run)
    assert said.code == 0, said.err
    text = " ".join(said.out.split())
    assert f"{TASK}: left out, A: {RECORDS} answers are not judged yet" in text and "parus" in text
    board = command("leaderboard", answered, run)
    assert board.code == 2 and f"lacks {TASK}" in board.err
