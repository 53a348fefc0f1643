"""How a run scales over the replicas of a cluster: measured costs of its driver, then simulated runs of up to 64.

    darumeru run --model demo/darumeru-demo --data bundled --engine transformers --batch-size 1 --output runs/timed
    python -m benchmarks.cluster_scaling runs/timed     # some minutes; starts a Ray of its own on this machine

Measured here: what an exchange with a replica costs the driver (real Ray, real Replica, an engine that answers at once)
and what a sample costs the one queue and writer, in seconds of the processor. Simulated: replicas that answer as
fast as is said, with the spread of service times of that run; the queue is the real one.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from darumeru.core.answer import Answer
from darumeru.core.row import StoredAnswer
from darumeru.engines.order import Numbered
from darumeru.engines.protocol import EngineOptions
from darumeru.engines.ray_queue import GroupQueue
from darumeru.engines.ray_replica import LINGER, LONGEST, PORTION, Replica
from darumeru.engines.request import MultipleChoice, Request
from darumeru.runs.store import SampleStore

SAMPLES = 200_000
REPLICAS = (8, 64)
RATES = (10, 50, 100, 150, 200)
# Samples that a replica computes side by side at its full rate (vLLM prefills about so many in a step).
SLOTS = 32
LATENCY = 0.0005
PROMPT = tuple(range(1000, 2000))
LABELS = ("A", "B", "C", "D")


@dataclass(frozen=True)
class Costs:
    """Seconds of the driver: of an exchange, of each sample that travels, of each sample that is queued and written."""

    exchange: float
    travel: float
    write: float


class AtOnce:
    """An engine that knows every answer."""

    max_model_len = 4096
    capabilities = frozenset({"multiple_choice"})

    def __init__(self, options: EngineOptions) -> None:
        pass

    def answer_groups(self, groups: Iterator[Sequence[Numbered]]) -> Iterator[tuple[int, Answer]]:
        for group in groups:
            for number, _ in group:
                yield number, Answer(probabilities=dict.fromkeys(LABELS, 0.25))

    def close(self) -> None:
        pass


def request(number: int) -> Request:
    kind = MultipleChoice(LABELS, ((1,), (2,), (3,), (4,)))
    return Request((number, *PROMPT), kind, text="x" * 4000, key=f"{number:064x}")


def measure() -> Costs:
    """The three costs on this machine."""
    small, large = _exchange(1), _exchange(64)
    travel = max(0.0, (large - small) / 63)
    return Costs(small - travel, travel, _write())


def _exchange(size: int, calls: int = 300) -> float:
    import ray

    actor = ray.remote(Replica).options(num_cpus=1, max_concurrency=2).remote(AtOnce, EngineOptions(model=__file__), {})
    ray.get(actor.load.remote())
    numbers = iter(range(size * (calls + 20)))

    def call() -> None:
        groups = [(number, [(number, request(number))]) for _, number in zip(range(size), numbers, strict=False)]
        ref = actor.exchange.remote(groups, False)
        while not ray.wait([ref], timeout=1.0)[0]:
            pass
        ray.get(ref)

    for _ in range(20):
        call()
    began = time.process_time()
    for _ in range(calls):
        call()
    spent = time.process_time() - began
    ray.kill(actor)
    return spent / calls


def _write(count: int = 20_000) -> float:
    requests = [request(number) for number in range(count)]
    answer = Answer(probabilities=dict.fromkeys(LABELS, 0.25))
    with tempfile.TemporaryDirectory() as folder, SampleStore(Path(folder)) as store:
        began = time.process_time()
        queue = GroupQueue([[numbered] for numbered in enumerate(requests)])
        while not queue.done:
            for number, group in queue.draw(0, 16, 64):
                for index, one in group:
                    row = StoredAnswer("task", str(index), one.key, one.text, len(one.prompt), 5, answer, None)
                    store.append(row)
                queue.take(0, [number])
        return (time.process_time() - began) / count


@dataclass
class Simulated:
    """A replica: `slots` samples at once, the buffer of Replica.exchange, times of its own."""

    queue: deque[int] = field(default_factory=deque)
    open: int = 0
    done: list[int] = field(default_factory=list)
    drawn: int = 0
    more: bool = True
    called: bool = False
    calls: int = 0

    @property
    def hungry(self) -> bool:
        return len(self.queue) < max(PORTION, 2 * self.drawn) // 2


class Cluster:
    """A run of `services` (seconds a sample, in the order of asking) over replicas, in simulated seconds."""

    def __init__(self, replicas: int, services: Sequence[float], costs: Costs) -> None:
        self.replicas = [Simulated() for _ in range(replicas)]
        self.services = services
        self.costs = costs
        self.work = GroupQueue([[(number, _REQUEST)] for number in range(len(services))])
        self.events: list[tuple[float, int, str, tuple[int, ...]]] = []
        self.driver_free = 0.0
        self.driver_busy = 0.0
        self._ticks = 0

    def run(self) -> float:
        """Seconds until the last answer is written."""
        for number in range(len(self.replicas)):
            self._at(0.0, "return", number)
        while not self.work.done:
            now, _, what, about = heapq.heappop(self.events)
            getattr(self, f"_{what}")(now, *about)
        return self.driver_free

    def _at(self, when: float, what: str, *about: int) -> None:
        self._ticks += 1
        heapq.heappush(self.events, (when, self._ticks, what, about))

    def _return(self, now: float, number: int) -> None:
        """The driver reads an exchange and begins the next one."""
        one = self.replicas[number]
        done, one.done = one.done, []
        target = max(PORTION, 2 * one.drawn)
        one.drawn, one.called = 0, False
        self.work.take(number, done)
        groups = self.work.draw(number, max(1, target - len(one.queue)), len(self.replicas))
        spent = self.costs.exchange + self.costs.travel * len(groups) + self.costs.write * len(done)
        begins = max(now + LATENCY, self.driver_free)
        self.driver_free = begins + spent
        self.driver_busy += spent
        one.queue.extend(group for group, _ in groups)
        one.more = self.work.more
        self._at(self.driver_free + LATENCY, "call", number)

    def _call(self, now: float, number: int) -> None:
        one = self.replicas[number]
        one.called = True
        one.calls += 1
        self._fill(now, number)
        if one.called and one.done:
            self._end(now + LINGER, number)
        elif one.called:
            self._at(now + LONGEST, "look", number, one.calls)

    def _look(self, now: float, number: int, call: int) -> None:
        if self.replicas[number].called and self.replicas[number].calls == call:
            self._end(now, number)

    def _end(self, when: float, number: int) -> None:
        self.replicas[number].called = False
        self._at(when, "return", number)

    def _fill(self, now: float, number: int) -> None:
        one = self.replicas[number]
        while one.queue and one.open < SLOTS:
            sample = one.queue.popleft()
            one.open += 1
            one.drawn += 1
            self._at(now + self.services[sample], "finish", number, sample)
        if one.called and one.more and one.hungry:
            self._end(now, number)

    def _finish(self, now: float, number: int, sample: int) -> None:
        one = self.replicas[number]
        one.open -= 1
        one.done.append(sample)
        self._fill(now, number)
        if one.called:
            self._end(now + LINGER, number)


_REQUEST = request(0)


@dataclass(frozen=True)
class Scaled:
    """rate: samples a second of one replica. seconds: of the run. efficiency: against replicas that never wait."""

    rate: float
    replicas: int
    seconds: float
    efficiency: float
    driver: float


def simulate(shares: Sequence[float], rate: float, replicas: int, costs: Costs, samples: int = SAMPLES) -> Scaled:
    """One run of the simulation. driver: share of the time in which the driver worked."""
    times = services(shares, rate, samples)
    cluster = Cluster(replicas, times, costs)
    seconds = cluster.run()
    return Scaled(rate, replicas, seconds, sum(times) / SLOTS / replicas / seconds, cluster.driver_busy / seconds)


def measured(run: Path, kind: str = "") -> list[float]:
    """Seconds a sample of a run with one sequence at once, generations first, as darumeru.engines.order has them. kind:
    only samples whose answer has this."""
    rows = [json.loads(line) for path in sorted((run / "samples").glob("*.jsonl")) for line in path.open()]
    rows = [row for row in rows if not kind or kind in row["answer"]]
    return [row["seconds"] for row in sorted(rows, key=lambda row: ("text" not in row["answer"], -row["seconds"]))]


def services(shares: Sequence[float], rate: float, samples: int, seed: int = 0) -> list[float]:
    """`samples` draws from shares, in their order, as seconds on a replica that answers `rate` samples a second."""
    dice = random.Random(seed)
    drawn = [shares[place] for place in sorted(dice.randrange(len(shares)) for _ in range(samples))]
    mean = sum(drawn) / len(drawn)
    return [share / mean * SLOTS / rate for share in drawn]


def main() -> None:
    import ray

    parser = argparse.ArgumentParser(description="How a run scales over the replicas of a cluster.")
    parser.add_argument("run", type=Path, help="run folder of `darumeru run --engine transformers --batch-size 1`")
    run = parser.parse_args().run
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # otherwise Ray leaves a token in the home directory
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    costs = measure()
    ray.shutdown()
    show(run, costs)


def show(run: Path, costs: Costs) -> None:
    """The costs, and a line for each simulated run."""
    most = 1 / (costs.travel + costs.write)
    print(f"an exchange {costs.exchange * 1e3:.2f} ms; of a sample travel {costs.travel * 1e6:.0f} us and")
    print(f"write {costs.write * 1e6:.0f} us: at most {most:.0f} samples/s")
    print("samples     | each/s | replicas | samples/s | efficiency | driver busy", flush=True)
    for name, shares in (("all kinds", measured(run)), ("choices", measured(run, "probabilities"))):
        for rate in RATES if name == "choices" else RATES[:1]:
            for replicas in REPLICAS:
                one = simulate(shares, rate, replicas, costs)
                speed = SAMPLES / one.seconds
                print(f"{name:11} | {rate:6} | {replicas:8} | {speed:9.0f} | {one.efficiency:10.1%} | {one.driver:.1%}",
                      flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
