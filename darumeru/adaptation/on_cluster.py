"""A recipe's steps on the nodes of a Ray cluster: each where there is room, training over several processes."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from darumeru.adaptation.protocols import Candidate, Step, StepContext
from darumeru.core.errors import UserError
from darumeru.core.packages import installed
from darumeru.engines.protocol import EngineOptions
from darumeru.engines.ray_cluster import WHERE, Cluster, on_each, placing
from darumeru.engines.ray_nodes import PACKAGES, lacking, shipped_environment

SAID = "said.log"
"""What a step says, beside its folder."""

LOOK = 1.0
SIOCGIFADDR = 0x8915


class NodeLost(Exception):
    """A step's process or node is gone; the message says how."""


class ClusterSteps:
    """Runs steps on the nodes of the cluster at `address`; `run` may be called by several threads at once.

    workers: processes of a step that wants several (`on_all_ranks`), a GPU each (a core where the cluster has none).
    output: the pipeline's folder, which every node must see under this path.
    """

    def __init__(self, address: str, workers: int, output: Path) -> None:
        self.workers = workers
        self._cluster = Cluster.at(address)
        self._ray = self._cluster.ray
        self._groups: set[Any] = set()
        self._lock = threading.Lock()
        placed = placing(EngineOptions(model=""), self._ray.nodes())
        if placed.replicas < workers:
            noun = "GPUs" if placed.kind == "GPU" else "cores"
            raise UserError(
                f"the cluster has {placed.replicas} {noun}", f"--workers {workers}", "lower it, or add nodes"
            )
        self.kind = placed.kind
        probe = output.resolve() / f".seen-{uuid.uuid4().hex}"
        probe.touch()
        try:
            found = on_each(self._ray, placed.nodes, _lacking, [(str(probe), installed(PACKAGES))] * len(placed.nodes))
        finally:
            probe.unlink()
        faults = [f"on {node.name} {fault}" for node, fault in zip(placed.nodes, found, strict=True) if fault]
        if faults:
            mend = "nodes need the same packages, and the output folder under the same path"
            raise UserError("; ".join(faults), WHERE, mend)

    def run(
        self, step: Step, context: StepContext, parent: Candidate, say: Callable[[str], None]
    ) -> Iterator[Candidate]:
        """The candidates that the step yields, as they come. Raises what the step raises; NodeLost."""
        from ray.util.placement_group import placement_group, remove_placement_group

        said = context.output.resolve().parent / SAID
        said.unlink(missing_ok=True)
        context = replace(context, output=context.output.resolve(), say=None)
        count = self.workers if getattr(step, "on_all_ranks", False) else 1
        group = placement_group([{self.kind: 1.0}] * count, strategy="PACK")
        with self._lock:
            self._groups.add(group)
        try:
            place = self._ray.get(self._task(_meeting_place, group, 0).remote()) if count > 1 else ("", 0)
            given = [(step, context, parent, str(said), _environment(rank, count, place)) for rank in range(count)]
            others = [self._task(_follow, group, rank).remote(*given[rank]) for rank in range(1, count)]
            first = self._task(_lead, group, 0, num_returns="streaming").remote(*given[0])
            yield from self._followed(first, others, said, say)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self._ray.exceptions.RayError as error:
            raise NodeLost(str(error).splitlines()[0]) from error
        finally:
            with self._lock:
                self._groups.discard(group)
            remove_placement_group(group)

    def _followed(self, first: Any, others: list[Any], said: Path, say: Callable[[str], None]) -> Iterator[Candidate]:
        """Candidates of the first process until all have ended; any that fails ends it."""
        waiting: list[Any] = [first, *others]
        read = 0
        while waiting:
            ready, _ = self._ray.wait(waiting, timeout=LOOK)
            if said.exists():
                lines = said.read_text(encoding="utf-8").splitlines()
                for line in lines[read:]:
                    say(line)
                read = len(lines)
            for one in ready:
                if one is not first:
                    self._ray.get(one)
                    waiting.remove(one)
                    continue
                try:
                    candidate: Candidate = self._ray.get(next(first))
                except StopIteration:
                    waiting.remove(first)
                else:
                    yield candidate

    def _task(self, work: Callable[..., Any], group: Any, bundle: int, **more: Any) -> Any:
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        units = {"num_gpus": 1, "num_cpus": 0} if self.kind == "GPU" else {"num_cpus": 1}
        # A process of its own for each: what it leaves in memory and in the environment goes with it.
        task = self._ray.remote(max_retries=0, max_calls=1, **units)(work)
        return task.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group, bundle), **more)

    def close(self) -> None:
        """End the steps that are still running."""
        from ray.util.placement_group import remove_placement_group

        with self._lock:
            for group in self._groups:
                remove_placement_group(group)


def _environment(rank: int, count: int, place: tuple[str, int]) -> dict[str, str]:
    """What `accelerate launch` would set: each process sees its own GPU only, so that it is the first of its node."""
    if count == 1:
        return shipped_environment()
    launched = {"RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    return {**shipped_environment(), **launched, "MASTER_ADDR": place[0], "MASTER_PORT": str(place[1])}


def _meeting_place() -> tuple[str, int]:
    """Address of this node and a port that is free on it."""
    import ray

    with closing(socket.socket()) as free:
        free.bind(("", 0))
        return ray.util.get_node_ip_address(), int(free.getsockname()[1])


def _interface() -> str | None:
    """The network interface by which Ray knows this node: a host's name may stand for an address that others cannot
    reach, and that is what Gloo would tell them."""
    import ray

    address = ray.util.get_node_ip_address()
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        for _, name in socket.if_nameindex():
            try:
                found = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:  # it has no IPv4 address
                continue
            if socket.inet_ntoa(found[20:24]) == address:
                return name
    return None


def _lacking(probe: str, packages: Mapping[str, str]) -> str:
    fault, _ = lacking({}, packages)
    return fault or ("" if Path(probe).exists() else f"{Path(probe).parent} is not the same folder")


def _lead(
    step: Step, context: StepContext, parent: Candidate, said: str, environment: Mapping[str, str]
) -> Iterator[Candidate]:
    """The first process of a step, on a node."""
    from darumeru.adaptation.ranks import is_first, join, leave

    os.environ.update(environment)
    if "WORLD_SIZE" in environment and (interface := _interface()):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", interface)

    def say(text: str) -> None:
        if is_first():
            with Path(said).open("a", encoding="utf-8") as file:
                file.write(" ".join(text.split()) + "\n")

    join()
    yield from step.run(replace(context, say=say), parent)
    leave()


def _follow(*arguments: Any) -> None:
    """Each other process."""
    for _ in _lead(*arguments):
        pass
