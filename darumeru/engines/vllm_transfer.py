"""Weights from GPU to GPU: vLLM's own weight transfer (vllm.distributed.weight_transfer) from this process to replicas.

Without GPUs weights go through files in shared memory (models/weight_parts.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from darumeru.engines.protocol import EngineOptions
from darumeru.models.weight_parts import parts

if TYPE_CHECKING:
    import torch

    Part = Mapping[str, torch.Tensor]


def devices_of(options: EngineOptions, number: int) -> list[str]:
    """The accelerators of replica `number`, as CUDA_VISIBLE_DEVICES names them."""
    each = options.tensor_parallel * options.pipeline_parallel
    visible = options.devices or os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = visible.split(",") if visible else [str(n) for n in range(each * options.data_parallel)]
    return devices[number * each : (number + 1) * each]


def suitable_backend(options: EngineOptions) -> str | None:
    """Which of vLLM's backends carries weights from this process's GPU to all replicas: "ipc" where they share it,
    "nccl" where all have others; None where there is no GPU, or some do and some do not."""
    import torch

    if not torch.cuda.is_available():
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    own = visible.split(",")[torch.cuda.current_device()] if visible else str(torch.cuda.current_device())
    theirs = {device for number in range(options.data_parallel) for device in devices_of(options, number)}
    if theirs == {own}:
        return "ipc"
    return None if own in theirs else "nccl"


def carrier_of(options: EngineOptions) -> Carrier | None:
    """The carrier of the backend that engine_args name."""
    config = options.extra.get("weight_transfer_config")
    kind = CARRIERS.get(config.get("backend", "")) if isinstance(config, Mapping) else None
    return kind(options) if kind else None


class Carrier:
    """The sender's side of one backend. `carry` drives the replicas: tell(method, one argument for each replica) starts
    a step in all of them, wait() ends it."""

    def __init__(self, options: EngineOptions) -> None:
        self.replicas = options.data_parallel
        self.workers = options.tensor_parallel * options.pipeline_parallel
        self._open = False

    def carry(
        self,
        weights: Iterable[tuple[str, torch.Tensor]],
        tell: Callable[..., None],
        wait: Callable[[], None],
    ) -> None:
        """All weights, part by part; the replicas answer with them afterwards."""
        if not self._open:
            tell("init_weight_transfer_engine", self.openings())
            self.open()
            wait()
            self._open = True
        tell("start_weight_update")
        wait()
        for part in parts(weights):
            info = {
                "names": list(part),
                "shapes": [list(tensor.shape) for tensor in part.values()],
                "dtype_names": [str(tensor.dtype).removeprefix("torch.") for tensor in part.values()],
            }
            held, more = self.packed(part)
            tell("update_weights", [{**info, **more}] * self.replicas)
            self.send(held)
            wait()
            del held
        tell("finish_weight_update")
        wait()

    def openings(self) -> Sequence[Mapping[str, Any]]:
        """What each replica is told of the connection."""
        raise NotImplementedError

    def open(self) -> None:
        """Take part in the connection while the replicas do."""

    def packed(self, part: Part) -> tuple[Any, Mapping[str, Any]]:
        """What is kept until the replicas have taken the part, and what they are told beside names and shapes."""
        raise NotImplementedError

    def send(self, held: Any) -> None:
        """Send while the replicas receive."""


class IpcCarrier(Carrier):
    """Replicas on this process's GPU read a buffer in its memory through a handle (vLLM's "ipc", packed)."""

    def openings(self) -> Sequence[Mapping[str, Any]]:
        return [{"packed": True}] * self.replicas

    def packed(self, part: Part) -> tuple[Any, Mapping[str, Any]]:
        import torch
        from torch.multiprocessing.reductions import reduce_tensor

        flat = [tensor.detach().to("cuda").contiguous().view(-1).view(torch.uint8) for tensor in part.values()]
        buffer = torch.cat(flat)
        torch.cuda.current_stream().synchronize()
        _, handle = reduce_tensor(buffer)
        uuid = str(torch.cuda.get_device_properties(buffer.device).uuid)
        return buffer, {"ipc_handles": {uuid: handle}, "tensor_sizes": [one.numel() for one in flat]}


class NcclCarrier(Carrier):
    """Replicas on other GPUs receive broadcasts in a group of NCCL, in which this process is rank 0."""

    group: Any = None

    def openings(self) -> Sequence[Mapping[str, Any]]:
        from vllm.utils.network_utils import get_open_port

        self._port = get_open_port()
        return [{**self._place(), "rank_offset": 1 + number * self.workers} for number in range(self.replicas)]

    def open(self) -> None:
        import torch
        from vllm.distributed.weight_transfer.nccl_common import stateless_init_process_group

        self.group = stateless_init_process_group(
            **self._place(), rank=0, device=torch.device("cuda", torch.cuda.current_device())
        )

    def packed(self, part: Part) -> tuple[Any, Mapping[str, Any]]:
        return [tensor.detach().to("cuda").contiguous() for tensor in part.values()], {}

    def send(self, held: Any) -> None:
        import torch

        for tensor in held:
            self.group.broadcast(tensor, src=0, stream=torch.cuda.current_stream())
        torch.cuda.current_stream().synchronize()

    def _place(self) -> dict[str, Any]:
        return {
            "master_address": "127.0.0.1",
            "master_port": self._port,
            "world_size": 1 + self.replicas * self.workers,
        }


CARRIERS: dict[str, type[Carrier]] = {"ipc": IpcCarrier, "nccl": NcclCarrier}
