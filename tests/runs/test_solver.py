"""Samples that need several requests or several turns: what is asked, what is stored, and how such a run goes on.

The engine gives the answers that the test wants (it is not what is tested): a draft at first, and the right text to
whoever shows it the draft.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from darumeru.core.answer import Answer
from darumeru.core.errors import RunFailed
from darumeru.engines.request import Generate, Request
from darumeru.runs.config import RunConfig
from darumeru.runs.plan import Planner
from darumeru.runs.planned import PlannedSample
from darumeru.runs.run import Run, load_run
from darumeru.runs.session import Session
from darumeru.runs.stored_plan import StoredPlan
from darumeru.runs.subject import find_subject
from tests.cli.command import darumeru
from tests.golden.answering import Answering
from tests.runs.data_folders import copying, write_split
from tests.shared_data import json_lines

SENTENCES = [f"Дождь шёл весь день, {number} раз." for number in range(6)]
DRAFT = " Черновик."
TASK = """
name: mine/copy
group: Mine
description: Copies.
method: generate
format: standard
source: {repository: RefalMachine/darumeru, config: copy, test: test, shots: null}
max_new_tokens: 32
options: {target: reference}
metrics: [exact_copy_rate]
score: [exact_copy_rate]
"""


@dataclass(frozen=True)
class TwoTurns:
    """Shows the model its first answer and takes the second."""

    planner: Planner
    name: str = "two turns"
    later = frozenset[type]()

    def solve(self, requests: Sequence[Request]) -> Generator[Sequence[Request], Sequence[Answer], Answer]:
        (first,) = yield requests
        text = f"{requests[0].text}{first.text}\nЕщё раз:"
        (prompt,) = self.planner.builder.ids([text])
        (second,) = yield [self.planner.keyed(replace(requests[0], prompt=tuple(prompt), text=text))]
        return second


@dataclass(frozen=True)
class LongerOfTwo:
    """Takes the longer of the answers to two requests that are asked together."""

    name: str = "longer of two"
    later = frozenset[type]()

    def solve(self, requests: Sequence[Request]) -> Generator[Sequence[Request], Sequence[Answer], Answer]:
        answers = yield requests
        return max(answers, key=lambda answer: len(answer.text or ""))


@dataclass(frozen=True)
class ShorterOfTwo(LongerOfTwo):
    name: str = "shorter of two"

    def solve(self, requests: Sequence[Request]) -> Generator[Sequence[Request], Sequence[Answer], Answer]:
        answers = yield requests
        return min(answers, key=lambda answer: len(answer.text or ""))


def say(request: Request) -> Answer:
    """The draft; the sentence itself to whoever shows the draft or gives 33 tokens."""
    assert isinstance(request.kind, Generate)
    informed = DRAFT in request.text or request.kind.max_new_tokens == 33
    text = next(one for one in SENTENCES if one in request.text) if informed else DRAFT
    return Answer(text=text, tokens=(5, 6), finish_reason="stop")


Way = Callable[[PlannedSample, Planner], PlannedSample]


def plain(one: PlannedSample, planner: Planner) -> PlannedSample:
    return one


def in_two_turns(one: PlannedSample, planner: Planner) -> PlannedSample:
    return replace(one, solver=TwoTurns(planner))


def by_two_at_once(one: PlannedSample, planner: Planner) -> PlannedSample:
    other = planner.keyed(replace(one.request, kind=Generate(33)))
    return replace(one, requests=(one.request, other), solver=LongerOfTwo())


@dataclass
class Place:
    """A model, six sentences to copy, and a run folder."""

    config: RunConfig

    @property
    def folder(self) -> Path:
        return Path(str(self.config.output))

    def run(self, way: Way, engine: Answering) -> Run:
        """The run in which each sample is asked in that way."""
        subject = find_subject(self.config, date(2026, 1, 1))
        session = Session.prepare(self.config, subject)
        planner = Planner(self.config, subject.builder, session.spec.identity, subject.context)
        (task,) = session.plan.tasks
        asked = replace(task, samples=tuple(way(one, planner) for one in task.samples))
        self.folder.mkdir(exist_ok=True)
        plan = replace(session.plan, tasks=(asked,))
        return replace(session, plan=plan, stored=StoredPlan.of(plan)).carry_out(self.folder, engine.load)[0]

    def lines(self) -> list[tuple[str, int | None]]:
        """Of each line of the store: sample and part."""
        return [(line["id"], line.get("part")) for line in self.stored()]

    def stored(self) -> list[dict[str, Any]]:
        return json_lines(self.folder / "samples" / "mine__copy.jsonl")

    def forget_last_line(self) -> dict[str, Any]:
        file = self.folder / "samples" / "mine__copy.jsonl"
        *kept, last = file.read_bytes().splitlines(keepends=True)
        file.write_bytes(b"".join(kept))
        return dict(json.loads(last))


@pytest.fixture
def place(tiny_model: Path, tmp_path: Path) -> Place:
    write_split(tmp_path / "data", "copy/test", copying(SENTENCES))
    (tmp_path / "copy.yaml").write_text(TASK, encoding="utf-8")
    return Place(
        RunConfig(
            model=str(tiny_model),
            output=tmp_path / "run",
            tasks="mine/copy",
            data=str(tmp_path / "data"),
            include=str(tmp_path / "copy.yaml"),
            engine="transformers",
            resamples=100,
        )
    )


def score(run: Run) -> tuple[int, float | None]:
    """Samples answered and the score."""
    task = run.results.tasks["mine/copy"]
    return task.n, task.score.value


IDS = [str(number) for number in range(len(SENTENCES))]


def test_a_plain_sample_is_one_request_and_one_line(place: Place) -> None:
    engine = Answering(say)
    run = place.run(plain, engine)
    assert engine.rounds == [6] and place.lines() == [(one, None) for one in IDS]
    assert [line["key"] for line in place.stored()] == [request.key for request in engine.asked]
    assert score(run) == (6, 0.0)


def test_turns_are_asked_in_rounds_and_each_is_a_line_before_the_samples_own(place: Place) -> None:
    engine = Answering(say)
    run = place.run(in_two_turns, engine)
    assert engine.rounds == [6, 6] and all(DRAFT in request.text for request in engine.asked[6:])
    turns = [(one, 0) for one in IDS] + [line for one in IDS for line in ((one, 1), (one, None))]
    assert place.lines() == turns
    assert score(run) == (6, 1.0)


def test_requests_of_a_sample_that_do_not_wait_for_each_other_go_together(place: Place) -> None:
    engine = Answering(say)
    run = place.run(by_two_at_once, engine)
    assert engine.rounds == [12]
    assert place.lines() == [line for one in IDS for line in ((one, 0), (one, 1), (one, None))]
    assert score(run) == (6, 1.0)


def test_scores_and_readers_see_the_samples_own_answer_alone(place: Place) -> None:
    rows = list(place.run(in_two_turns, Answering(say)).rows("mine/copy"))
    assert [row.id for row in rows] == IDS and [row.answer.text for row in rows] == SENTENCES
    assert [row.metrics for row in rows] == [{"exact_copy_rate": 1.0}] * 6
    # The sample's own line shows the first prompt, under a key that is no request's.
    own = {line["id"]: line for line in place.stored() if "part" not in line}
    first = {line["id"]: line for line in place.stored() if line.get("part") == 0}
    assert all(own[one]["prompt"] == first[one]["prompt"] and own[one]["key"] != first[one]["key"] for one in IDS)


@pytest.mark.parametrize("way", [in_two_turns, by_two_at_once])
@pytest.mark.parametrize("died_after", range(1, 12))
def test_a_run_whose_engine_died_asks_only_what_is_missing(way: Way, died_after: int, place: Place) -> None:
    whole = replace(place.config, output=place.folder.with_name("whole"))
    expected, dying, rest = Place(whole), Answering(say, die_after=died_after), Answering(say)
    undisturbed = expected.run(way, Answering(say))
    with pytest.raises(RunFailed, match="out of memory"):
        place.run(way, dying)
    finished = place.run(way, rest)
    assert len(rest.asked) == 12 - died_after
    assert not {one.key for one in dying.asked} & {one.key for one in rest.asked}

    def content(line: dict[str, Any]) -> tuple[str, int, str, str]:
        return line["id"], line.get("part", -1), line["key"], line["answer"]["text"]

    assert sorted(map(content, place.stored())) == sorted(map(content, expected.stored()))
    assert finished.results.tasks["mine/copy"].to_dict() == undisturbed.results.tasks["mine/copy"].to_dict()


@pytest.mark.parametrize("way", [in_two_turns, by_two_at_once])
def test_an_own_answer_that_was_not_stored_is_made_of_the_stored_parts(way: Way, place: Place) -> None:
    before = score(place.run(way, Answering(say)))
    lost = place.forget_last_line()
    engine = Answering(say)
    assert "part" not in lost and score(place.run(way, engine)) == before
    assert engine.asked == [] and place.stored()[-1]["answer"] == lost["answer"]


def test_a_solver_of_another_name_makes_own_answers_anew_of_the_same_parts(place: Place) -> None:
    def shorter(one: PlannedSample, planner: Planner) -> PlannedSample:
        return replace(by_two_at_once(one, planner), solver=ShorterOfTwo())

    place.run(by_two_at_once, Answering(say))
    engine = Answering(say)
    assert score(place.run(shorter, engine)) == (6, 0.0) and engine.asked == []


def test_a_request_that_is_yielded_twice_is_asked_once(place: Place) -> None:
    def twice(one: PlannedSample, planner: Planner) -> PlannedSample:
        return replace(one, requests=(one.request, one.request), solver=LongerOfTwo())

    engine = Answering(say)
    assert score(place.run(twice, engine)) == (6, 0.0) and engine.rounds == [6]
    # The one answer is the sample's own: it is stored once.
    assert place.lines() == [(one, None) for one in IDS]


def test_a_finished_run_repeated_asks_nothing_and_stores_nothing(place: Place) -> None:
    place.run(in_two_turns, Answering(say))
    before, engine = place.lines(), Answering(say)
    assert score(place.run(in_two_turns, engine)) == (6, 1.0)
    assert engine.rounds == [] and place.lines() == before


@pytest.mark.parametrize("way", [in_two_turns, by_two_at_once])
def test_a_sample_of_which_a_request_fails_is_missing_and_the_others_are_not(way: Way, place: Place) -> None:
    def spoilt(request: Request) -> Answer:
        return Answer(error="NaN") if SENTENCES[2] in request.text else say(request)

    run = place.run(way, Answering(spoilt))
    assert run.results.failed == {"mine/copy": "1 sample failed: NaN"} and score(run) == (5, 1.0)
    again = Answering(say)
    assert score(place.run(way, again)) == (6, 1.0) and len(again.asked) == 2


def test_darumeru_score_reads_such_a_run(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = place.run(in_two_turns, Answering(say))
    (place.folder / "results.json").unlink()
    assert darumeru(capsys, monkeypatch, "score", str(place.folder)).code == 0
    assert load_run(place.folder).results.tasks["mine/copy"] == run.results.tasks["mine/copy"]
