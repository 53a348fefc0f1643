"""The queue of a run over many replicas, a replica's exchange, and where Ray may place it; no Ray is started."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from darumeru.core.answer import Answer
from darumeru.core.errors import UserError
from darumeru.engines import EngineDied, EngineOptions, Generate, Request
from darumeru.engines.order import Numbered
from darumeru.engines.ray_cluster import check_keys, placing
from darumeru.engines.ray_nodes import lacking, of_folders, other_content, shipped_environment
from darumeru.engines.ray_queue import MOST_LOSSES, GroupQueue
from darumeru.engines.ray_replica import Replica
from darumeru.engines.vllm_engine import VllmEngine

REQUEST = Request((1,), Generate(1))


def groups(*sizes: int) -> list[list[Numbered]]:
    numbers = iter(range(sum(sizes)))
    return [[(next(numbers), REQUEST) for _ in range(size)] for size in sizes]


def test_what_a_lost_replica_held_is_drawn_next_and_nothing_else_again() -> None:
    queue = GroupQueue(groups(*[1] * 40))
    mine = [number for number, _ in queue.draw(0, 4, 2)]
    others = [number for number, _ in queue.draw(1, 4, 2)]
    assert (mine, others) == ([0, 1, 2, 3], [4, 5, 6, 7])
    queue.take(0, [1])
    queue.take(1, others)
    assert queue.give_back(0, "gone") == 3
    assert [number for number, _ in queue.draw(1, 5, 2)] == [0, 2, 3, 8, 9]
    assert queue.give_back(0, "gone") == 0 and not queue.done


def test_near_the_end_replicas_share_what_is_left() -> None:
    queue = GroupQueue(groups(*[1] * 12))
    drawn = [len(queue.draw(replica % 2, 100, 2)) for replica in range(12)]
    assert sum(drawn) == 12 and drawn[:4] == [3, 2, 1, 1] and not queue.more and not queue.done


def test_requests_that_replicas_keep_dying_with_end_the_run() -> None:
    queue = GroupQueue(groups(1, 1))
    for replica in range(MOST_LOSSES - 1):
        queue.draw(replica, 1, 3)
        queue.give_back(replica, "killed")
    queue.draw(9, 1, 3)
    with pytest.raises(EngineDied, match="3 replicas were lost with the same requests, the last one so: no memory"):
        queue.give_back(9, "no memory")


class Slow:
    """Answers a group one step after the next one was drawn, as an engine with a batch does."""

    max_model_len = 8
    capabilities = frozenset({"generate"})

    def __init__(self, options: EngineOptions) -> None:
        self.asked: list[int] = []
        Path(str(options.log_file)).write_text("loaded\n")

    def answer_groups(self, drawn: Iterator[Sequence[Numbered]]) -> Iterator[tuple[int, Answer]]:
        held: list[int] = []
        for group in drawn:
            held += [number for number, _ in group]
            self.asked += [number for number, _ in group]
            if not group or len(held) > 3:
                number = held.pop(0)
                if number == 13:
                    raise EngineDied("unlucky")
                yield number, Answer(text=str(number))

    def close(self) -> None:
        pass


@pytest.fixture
def replica(monkeypatch: pytest.MonkeyPatch) -> Replica:
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "10.0.0.1")
    monkeypatch.setattr("os.environ", dict(os.environ))
    made = Replica(Slow, EngineOptions(model="m"), {"VLLM_X": "1"})
    ready = made.load()
    assert ready.place.endswith("(10.0.0.1)") and os.environ["VLLM_X"] == "1"
    return made


def drained(replica: Replica, first: Any, rest: int) -> dict[int, list[int]]:
    done: dict[int, list[int]] = {}
    given = first
    while len(done) < rest:
        found = replica.exchange(given, False)
        given = []
        for number, answers in found.done:
            assert number not in done
            done[number] = [index for index, _ in answers]
    return done


def test_a_replica_hands_groups_back_whole_and_its_log_with_them(replica: Replica) -> None:
    given = list(enumerate(groups(1, 3, 2, 1)))
    first = replica.exchange([], True)
    assert (first.done, first.wants, first.log) == ([], 16, "loaded\n")
    assert drained(replica, given, 4) == {0: [0], 1: [1, 2, 3], 2: [4, 5], 3: [6]}


def test_what_is_dropped_is_never_handed_back(replica: Replica) -> None:
    replica.exchange(list(enumerate(groups(*[1] * 8))), False)
    replica.drop()
    late = [
        (number + 100, [(index + 100, request) for index, request in group])
        for number, group in enumerate(groups(1, 1))
    ]
    assert drained(replica, late, 2) == {100: [100], 101: [101]}


def test_an_engine_that_dies_says_so_after_what_it_had_answered(replica: Replica) -> None:
    done: list[int] = []
    given = list(enumerate(groups(*[1] * 20)))
    with pytest.raises(EngineDied, match="unlucky"):
        while True:
            done += [number for number, _ in replica.exchange(given, False).done]
            given = []
    assert done == list(range(13))


def node(name: str, **resources: float) -> dict[str, Any]:
    return {"NodeID": name, "NodeManagerHostname": name, "NodeManagerAddress": "1", "Alive": True,
            "Resources": resources}  # fmt: skip


def test_a_replica_takes_one_node_where_it_fits_and_several_where_not() -> None:
    nodes = [node("head", CPU=8), node("a", GPU=4, CPU=64), node("b", GPU=4, CPU=64)]
    small = placing(EngineOptions(model="m", tensor_parallel=2), nodes)
    assert (small.bundles, small.spread, small.replicas) == (({"GPU": 2.0},), False, 4)
    assert [one.id for one in small.nodes] == ["a", "b"]
    large = placing(EngineOptions(model="m", tensor_parallel=4, pipeline_parallel=2), nodes)
    assert (large.bundles, large.spread, large.replicas) == (({"GPU": 1.0},) * 8, True, 1)
    with pytest.raises(UserError, match="a replica needs 16 GPUs, the cluster has 8 on 3 nodes"):
        placing(EngineOptions(model="m", tensor_parallel=16), nodes)
    assert VllmEngine.placed(EngineOptions(model="m"), False).extra == {}
    shards = EngineOptions(model="m", tensor_parallel=2)
    assert VllmEngine.placed(shards, False).extra == {"distributed_executor_backend": "mp"}
    assert VllmEngine.placed(shards, True).extra == {"distributed_executor_backend": "ray"}
    cores = placing(EngineOptions(model="m"), [node("head", CPU=0), node("a", CPU=2), {**node("b"), "Alive": False}])
    assert (cores.kind, cores.replicas, [one.id for one in cores.nodes]) == ("CPU", 2, ["a"])


def test_what_a_node_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "models--me--tiny" / "snapshots" / "abc"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"1234")
    folders = of_folders((str(model), None, str(model)))
    assert lacking(folders, {}) == ("", [])
    assert lacking(folders, {"no-such-package": "9"})[0] == "no-such-package is not installed, here it is 9"
    # The same snapshot in another cache: found by its name there, compared by content.
    cache = tmp_path / "cache"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    (tmp_path / "models--me--tiny").rename(tmp_path / "gone")
    fault, unsure = lacking(folders, {})
    assert fault == f"{cache}/models--me--tiny/snapshots/abc is not there" and not unsure
    copy = cache / "models--me--tiny" / "snapshots" / "abc"
    copy.mkdir(parents=True)
    (copy / "config.json").write_text("{}")
    assert lacking(folders, {})[0] == f"{copy}/model.safetensors is not there"
    (copy / "model.safetensors").write_bytes(b"1235")
    fault, unsure = lacking(folders, {})
    assert not fault and (str(model), "model.safetensors") in unsure
    from darumeru.models.fingerprints import fingerprint

    right = fingerprint(tmp_path / "gone" / "snapshots" / "abc" / "model.safetensors")
    wanted = {(str(model), "model.safetensors"): right}
    assert other_content(wanted) == f"{copy}/model.safetensors is another file"
    (copy / "model.safetensors").write_bytes(b"1234")
    assert other_content(wanted) == ""


def test_no_key_reaches_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "secret-1")
    monkeypatch.setenv("HF_TOKEN", "secret-2")
    monkeypatch.setenv("VLLM_HOST_IP", "10.0.0.9")
    monkeypatch.setenv("VLLM_BATCH_INVARIANT", "1")
    shipped = shipped_environment()
    assert shipped["VLLM_BATCH_INVARIANT"] == "1" and not {"VLLM_API_KEY", "HF_TOKEN", "VLLM_HOST_IP"} & shipped.keys()
    with pytest.raises(UserError, match="`hf_token` is a key, and keys are not sent to nodes"):
        check_keys(EngineOptions(model="m", extra={"hf_token": "secret-3"}))
