"""The short form of `make torture`."""

from __future__ import annotations

from pathlib import Path

from tests.torture.command import darumeru
from tests.torture.kills import Killer
from tests.torture.servers import PATIENT, fake_server, scores, words


def test_kills_of_every_verb_lose_nothing(tmp_path: Path) -> None:
    with fake_server() as server:
        assert darumeru(*words(server.url("normal"), tmp_path / "right", PATIENT)).code == 0
        killer = Killer(server, tmp_path, scores(tmp_path / "right"), seed=7)
        for verb in ("run", "run", "score", "run", "leaderboard", "report") * 2:
            assert killer.kill(verb) == "", verb
        assert killer.end() == ""
    assert killer.hits >= 4
