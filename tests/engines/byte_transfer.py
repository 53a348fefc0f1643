"""A backend of vLLM's weight transfer that works without a GPU: bytes of tensors inside the messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from vllm.distributed.weight_transfer import WeightTransferEngine, WeightTransferEngineFactory
from vllm.distributed.weight_transfer.base import WeightTransferInitInfo, WeightTransferUpdateInfo

from darumeru.engines import EngineOptions
from darumeru.engines.vllm_engine import VllmEngine
from darumeru.engines.vllm_transfer import Carrier


class ByteCarrier(Carrier):
    """The sender's side."""

    def openings(self) -> list[dict[str, Any]]:
        return [{"replica": number} for number in range(self.replicas)]

    def packed(self, part: Mapping[str, torch.Tensor]) -> tuple[Any, Mapping[str, Any]]:
        flat = [tensor.detach().contiguous().view(-1).view(torch.uint8) for tensor in part.values()]
        return flat, {"data": [one.numpy().tobytes() for one in flat]}


@dataclass
class Opening(WeightTransferInitInfo):
    replica: int


@dataclass
class Sent(WeightTransferUpdateInfo):
    names: list[str]
    shapes: list[list[int]]
    dtype_names: list[str]
    data: list[bytes]


class ByteEngine(WeightTransferEngine[Opening, Sent]):
    """The worker's side, as vLLM's own engines are written."""

    init_info_cls = Opening
    update_info_cls = Sent

    def init_transfer_engine(self, init_info: Opening) -> None:
        assert init_info.replica == 0

    def start_weight_update(self) -> None:
        from vllm.model_executor.model_loader.reload import initialize_layerwise_reload

        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self.receive_weights(self.parse_update_info(update_info))

    def receive_weights(self, update_info: Sent) -> None:
        described = zip(update_info.names, update_info.shapes, update_info.dtype_names, update_info.data, strict=True)
        self.model.load_weights(
            (name, torch.frombuffer(bytearray(data), dtype=getattr(torch, dtype)).view(shape))
            for name, shape, dtype, data in described
        )

    def finish_weight_update(self) -> None:
        from vllm.model_executor.model_loader.reload import finalize_layerwise_reload

        finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        pass


def load(options: EngineOptions) -> VllmEngine:
    """A replica's engine, which knows the backend."""
    WeightTransferEngineFactory.register_engine("bytes", ByteEngine)
    return VllmEngine(options)
