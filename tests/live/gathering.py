"""Run by test_live_engine under torchrun: weights of sharded models, gathered, against those of the whole model."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy
from transformers import AutoModelForCausalLM

from darumeru.models.live_weights import checkpoint_weights, is_sharded, signature


def made(path: str, adapters: bool) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(path)
    if not adapters:
        return model
    config = LoraConfig(r=4, target_modules="all-linear", modules_to_save=["embed_tokens"], init_lora_weights=False)
    return get_peft_model(model, config)


def sharded(model: Any, kind: str) -> Any:
    layers = [module for name, module in model.named_modules() if name.rsplit(".", 2)[-2:-1] == ["layers"]]
    assert len(layers) > 1
    if kind == "fsdp2":
        for layer in layers:
            fully_shard(layer, mesh=init_device_mesh("cpu", (2,)))
        fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
        return model
    policy = partial(transformer_auto_wrap_policy, transformer_layer_cls={type(layers[0])})
    return FullyShardedDataParallel(
        model, auto_wrap_policy=policy, device_id=torch.device("cpu"), use_orig_params=kind == "fsdp1"
    )


def check(path: str, kind: str, adapters: bool) -> None:
    model = made(path, adapters)
    whole = {name: tensor.clone() for name, tensor in checkpoint_weights(model)}
    model = sharded(model, kind)
    first, shapes = distributed.get_rank() == 0, signature(model)
    assert is_sharded(model)
    for _ in range(2):  # the second time from what the first one left behind
        got = {name: tensor.clone() for name, tensor in checkpoint_weights(model, keep=first)}
        assert got.keys() == (whole.keys() if first else set())
        assert all((got[name] - whole[name]).abs().max() < 1e-6 for name in got)
    assert signature(model) == shapes
    ids = torch.arange(32).reshape(2, 16)
    model(input_ids=ids, labels=ids).loss.backward()  # training goes on


if __name__ == "__main__":
    distributed.init_process_group("gloo")
    for case in sys.argv[2:]:
        kind, _, adapters = case.partition("+")
        check(sys.argv[1], kind, bool(adapters))
        sys.stdout.write(f"{case} on {distributed.get_rank()}\n")
        sys.stdout.flush()
    distributed.destroy_process_group()
