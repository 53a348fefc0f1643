"""Weights by vLLM's own weight transfer. Its GPU backends need GPUs; what drives them does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from darumeru.engines import EngineOptions
from darumeru.engines.order import grouped
from darumeru.engines.vllm_reload import ReloadFailed
from darumeru.engines.vllm_replicas import Replicas
from darumeru.engines.vllm_transfer import CARRIERS, IpcCarrier, NcclCarrier, carrier_of, suitable_backend
from darumeru.models.live_weights import checkpoint_weights
from tests.engines.byte_transfer import ByteCarrier, load
from tests.live.test_live_engine import assert_follows, model


class Answering:
    """Replicas as an engine, as far as this test asks."""

    def __init__(self, replicas: Replicas) -> None:
        self.replicas = replicas

    def answer(self, requests: Any) -> Any:
        return self.replicas.answer(grouped(list(enumerate(requests))))


def test_a_replica_answers_with_transferred_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In several parts, tied embeddings, twice; what vLLM refuses is told. The model itself says what is right."""
    monkeypatch.setitem(CARRIERS, "bytes", ByteCarrier)
    monkeypatch.setattr("darumeru.models.weight_parts.parts.__defaults__", (100_000,))
    first, second = (model(tmp_path / str(seed), tied=True, seed=seed) for seed in (0, 1))
    extra = {"weight_transfer_config": {"backend": "bytes"}}
    options = EngineOptions(str(tmp_path / "0"), dtype="float32", extra=extra, log_file=str(tmp_path / "log"))
    replicas = Replicas(options, load)
    try:
        engine = Answering(replicas)
        assert_follows(engine, first)
        for network in (second, first):
            replicas.reload(checkpoint_weights(network))
            assert_follows(engine, network)
        with pytest.raises(ReloadFailed, match="refused"):
            replicas.reload([("model.embed_tokens.weight", first.get_input_embeddings().weight[:5])])
    finally:
        replicas.close()


@pytest.mark.parametrize(
    ("devices", "visible", "backend"),
    [(None, None, "ipc"), ("0", None, "ipc"), ("3", None, "nccl"), (None, "2,3", "ipc"), ("3", "2,3", "nccl")],
)
def test_gpus_decide_the_way(
    devices: str | None, visible: str | None, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trainer is on the first of the GPUs that it sees."""
    options = EngineOptions("m", own_process=True, devices=devices)
    assert suitable_backend(options) is None, "no GPU here"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert suitable_backend(options) == backend
    told = EngineOptions("m", data_parallel=2, extra={"weight_transfer_config": {"backend": backend}})
    carrier = carrier_of(told)
    assert type(carrier) is {"ipc": IpcCarrier, "nccl": NcclCarrier}[backend]
    openings = carrier.openings()
    assert len(openings) == 2
    if backend == "nccl":
        assert [one["rank_offset"] for one in openings] == [1, 2] and openings[0]["world_size"] == 3
    assert suitable_backend(EngineOptions("m", data_parallel=2)) is None, "one replica here, one elsewhere"


def test_what_the_carriers_tell_is_what_vllm_reads() -> None:
    """Names of fields, from the installed vLLM."""
    from dataclasses import fields

    from vllm.distributed.weight_transfer.ipc_engine import IPCWeightTransferInitInfo, IPCWeightTransferUpdateInfo
    from vllm.distributed.weight_transfer.nccl_common import NCCLWeightTransferInitInfo
    from vllm.distributed.weight_transfer.nccl_engine import NCCLWeightTransferUpdateInfo

    options = EngineOptions("m")
    IPCWeightTransferInitInfo(**IpcCarrier(options).openings()[0])
    NCCLWeightTransferInitInfo(**NcclCarrier(options).openings()[0])
    common = {"names", "shapes", "dtype_names"}
    assert common == {field.name for field in fields(NCCLWeightTransferUpdateInfo)}
    assert common | {"ipc_handles", "tensor_sizes"} <= {field.name for field in fields(IPCWeightTransferUpdateInfo)}
