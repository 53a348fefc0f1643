"""A Ray cluster as a place for engines: what a replica needs there, and what its nodes lack."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.core.packages import installed, require
from darumeru.core.secrets import without_secrets
from darumeru.engines.protocol import EngineOptions
from darumeru.engines.ray_nodes import PACKAGES, lacking, of_folders, other_content
from darumeru.models.fingerprints import fingerprint

WHERE = "--cluster"
# Seconds that a node may take to say what it has; the first task there starts a process.
PATIENCE = 180.0
KNOCKING = 10.0


@dataclass(frozen=True)
class Node:
    """id: Ray's. units: its GPUs, or its cores in a cluster without GPUs."""

    id: str
    name: str
    units: int


@dataclass(frozen=True)
class Placing:
    """How a replica is placed. kind: "GPU" or "CPU". bundles: of its placement group. nodes: those that can hold a
    bundle. replicas: how many fit into the empty cluster."""

    kind: str
    bundles: tuple[Mapping[str, float], ...]
    nodes: tuple[Node, ...]
    replicas: int

    @property
    def spread(self) -> bool:
        """Whether no node holds a whole replica, so that vLLM places its shards in the bundles itself."""
        return len(self.bundles) > 1

    @property
    def each(self) -> int:
        """Units of one replica."""
        return int(sum(bundle[self.kind] for bundle in self.bundles))


@dataclass(frozen=True)
class Cluster:
    """ray: the module, connected. dashboard: its address, "" where the cluster has none."""

    ray: Any
    dashboard: str

    @staticmethod
    def at(address: str) -> Cluster:
        """The cluster at an address, or the one that this machine belongs to ("auto"); UserError where there is none.
        A process is of one cluster as long as it lives."""
        require("ray", WHERE)
        import ray

        try:
            _knock(address)
            with _signals_kept():
                context = ray.init(address, log_to_driver=False, logging_level="ERROR", ignore_reinit_error=True)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            said = " ".join(str(error).split())[:200]
            mend = "run the command on a node of the cluster; `ray start --address=HOST:6379` makes this machine one"
            if "AuthenticationError" in f"{error} {error.__cause__}":
                mend = (
                    "the cluster asks for a token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as where it was started"
                )
            raise UserError(f"no Ray cluster can be reached: {said}", f"{WHERE} {address}", mend) from error
        url = context.dashboard_url
        return Cluster(ray, f"http://{url}" if url else "")


def _knock(address: str) -> None:
    """OSError at once where nobody listens, for which Ray itself waits long."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "://" not in address:
        socket.create_connection((host, int(port)), KNOCKING).close()


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself; the command unwinds at it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def placing(options: EngineOptions, nodes: Sequence[Mapping[str, Any]]) -> Placing:
    """How replicas of these options are placed on the nodes that `ray.nodes()` lists. UserError where one can never
    be."""
    alive = [one for one in nodes if one["Alive"]]
    kind = "GPU" if any(one["Resources"].get("GPU") for one in alive) else "CPU"
    units = [
        Node(one["NodeID"], f"{one['NodeManagerHostname']} ({one['NodeManagerAddress']})",
             int(one["Resources"].get(kind, 0)))
        for one in alive
    ]  # fmt: skip
    each = options.tensor_parallel * options.pipeline_parallel
    whole = sum(one.units // each for one in units)
    total = sum(one.units for one in units)
    noun = "GPUs" if kind == "GPU" else "cores"
    if total < each:
        what = f"a replica needs {each} {noun}, the cluster has {total} on {len(alive)} nodes"
        raise UserError(what, WHERE, "add nodes, or lower --tensor-parallel or --pipeline-parallel")
    bundles: tuple[Mapping[str, float], ...] = ({kind: float(each)},) if whole else ({kind: 1.0},) * each
    holding = tuple(one for one in units if one.units >= (each if whole else 1))
    return Placing(kind, bundles, holding, whole or total // each)


def check_keys(options: EngineOptions) -> None:
    """UserError for arguments that hold a key: what is sent to nodes is seen by all of their users."""
    _, left_out = without_secrets(dict(options.extra))
    if left_out:
        mend = "take it out; set HF_TOKEN and the like where the nodes are started"
        raise UserError(f"`{left_out[0]}` is a key, and keys are not sent to nodes", "--engine-args", mend)


def check_nodes(ray: Any, placed: Placing, options: EngineOptions) -> None:
    """UserError that names every node that lacks a package or a file of the model, or has another."""
    folders = of_folders((options.model, options.tokenizer, options.lora))
    found = on_each(ray, placed.nodes, lacking, [(folders, installed(PACKAGES))] * len(placed.nodes))
    faults = {node.name: said[0] for node, said in zip(placed.nodes, found, strict=True) if said[0]}
    unsure = {node: said[1] for node, said in zip(placed.nodes, found, strict=True) if said[1]}
    if unsure and not faults:
        digests = {one: fingerprint(Path(*one)) for one in {one for files in unsure.values() for one in files}}
        wanted = [({one: digests[one] for one in files},) for files in unsure.values()]
        others = on_each(ray, tuple(unsure), other_content, wanted)
        faults = {node.name: said for node, said in zip(unsure, others, strict=True) if said}
    if faults:
        said = "; ".join(f"on {name} {fault}" for name, fault in faults.items())
        mend = "nodes need the same packages, and the model in a shared folder or in their own Hub cache"
        raise UserError(said, WHERE, mend)


def on_each(ray: Any, nodes: Sequence[Node], work: Any, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """What `work(*arguments)` returns on each node."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0)(work)
    refs = [
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(*given)
        for node, given in zip(nodes, arguments, strict=True)
    ]
    results = []
    for node, ref in zip(nodes, refs, strict=True):
        try:
            results.append(ray.get(ref, timeout=PATIENCE))
        except ray.exceptions.RayError as error:
            # What a task raised stands last, behind its traceback; what became of its process, first.
            lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
            said = lines[-1 if isinstance(error, ray.exceptions.RayTaskError) else 0][:200]
            raise UserError(f"{node.name} cannot say what it has: {said}", WHERE) from error
    return results
