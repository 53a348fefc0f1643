"""The store keeps what it was given, whatever happens to the process."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from darumeru.core.answer import Answer
from darumeru.core.errors import UserError
from darumeru.core.row import StoredAnswer
from darumeru.runs.store import SampleStore, task_file


def row(name: str, **answer: object) -> StoredAnswer:
    given = Answer(**(answer or {"probabilities": {"A": 0.25, "B": 0.5}}))  # type: ignore[arg-type]
    return StoredAnswer("g/t", name, "f" * 32, "Вопрос\u2028?", 3, 2, given)


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [
        row("1"),
        row("2", text="да\n", tokens=(4, 5), finish_reason="stop", seconds=0.5),
        row("3", logprobs=(-0.5, -1.25)),
    ]
    with SampleStore(tmp_path) as store:
        for one in rows:
            store.append(one)
    assert list(SampleStore(tmp_path).rows("g/t")) == rows


def test_a_torn_last_line_is_dropped_and_the_next_row_starts_clean(tmp_path: Path) -> None:
    with SampleStore(tmp_path) as store:
        store.append(row("1"))
        store.append(row("2"))
    path = tmp_path / "samples" / "g__t.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert [one.id for one in SampleStore(tmp_path).rows("g/t")] == ["1"]
    with SampleStore(tmp_path) as store:
        store.append(row("3"))
    assert [one.id for one in SampleStore(tmp_path).rows("g/t")] == ["1", "3"]


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    with SampleStore(tmp_path) as store:
        store.append(row("1"))
    path = tmp_path / "samples" / "g__t.jsonl"
    path.write_bytes(b'{"task": "g/t"}\n' + path.read_bytes())
    with pytest.raises(UserError, match=r"g__t\.jsonl:1: is not a sample"):
        list(SampleStore(tmp_path).rows("g/t"))


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with SampleStore(tmp_path), pytest.raises(UserError, match="another darumeru process"), SampleStore(tmp_path):
        pass


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", "a\0b", ".hidden"])
def test_a_task_name_cannot_leave_the_folder(name: str) -> None:
    with contextlib.suppress(UserError):
        assert "/" not in task_file(name) and not task_file(name).startswith(".")
