"""The true tokenizers of LLaMA-3 and Mistral, each with a tiny random model around it, from installed packages.

    python -m tests.real.tokenizers FOLDER         # FOLDER/llama3 and FOLDER/mistral

LLaMA-3: tiktoken ranks of the package llama-models (Meta's licence: nothing of it is part of the project), which
transformers turns into a byte-level BPE with `ignore_merges`; 128,000 tokens and 256 specials. Mistral: the
SentencePiece model of 32,000 pieces that mistral-common carries (Apache-2.0). Random weights: one layer, hidden 32.
"""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.real.smollm2 import packages

LLAMA3 = Path("llama_models") / "llama3" / "tokenizer.model"
MISTRAL = Path("data") / "tokenizer.model.v1"
NAMED = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>", "<|step_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>",
    "<|python_tag|>",
)  # fmt: skip
SPECIALS = (*NAMED, *(f"<|reserved_special_token_{number}|>" for number in range(2, 258 - len(NAMED))))
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' "
    "+ message['content'] + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
INST = "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"  # noqa: E501


def llama3_ranks() -> Path:
    """The file of ranks, which may not be there."""
    return packages() / LLAMA3


def mistral_pieces() -> Path | None:
    """The SentencePiece model, None where mistral-common is not installed."""
    found = find_spec("mistral_common")
    places = found.submodule_search_locations if found else None
    path = Path(places[0]) / MISTRAL if places else None
    return path if path is not None and path.is_file() else None


def write_llama3(folder: Path) -> Path:
    """Tokenizer files of LLaMA-3 with its BOS and its chat template."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import TikTokenConverter

    tokenizer = TikTokenConverter(vocab_file=str(llama3_ranks()), extra_special_tokens=list(SPECIALS)).converted()
    bos = ("<|begin_of_text|>", tokenizer.token_to_id("<|begin_of_text|>"))
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(f"{bos[0]} $A", f"{bos[0]} $A {bos[0]}:1 $B:1", [bos]),
    ])  # fmt: skip
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=bos[0], eos_token="<|eot_id|>")
    made.chat_template = TEMPLATE
    made.save_pretrained(folder)
    return folder


def write_mistral(folder: Path) -> Path:
    """Tokenizer files of Mistral 7B v0.1, read from its SentencePiece model by transformers."""
    import shutil

    from transformers import LlamaTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    pieces = mistral_pieces()
    assert pieces is not None
    shutil.copyfile(pieces, folder / "tokenizer.model")
    made = LlamaTokenizer.from_pretrained(str(folder), add_bos_token=True)
    made.chat_template = INST
    made.save_pretrained(folder)
    (folder / "tokenizer.model").unlink()
    return folder


def make_model(folder: Path, family: str, seed: int = 0, rows: int | None = None) -> Path:
    """The tokenizer of `family` ("llama3" or "mistral") and a random untied model of `rows` rows, by default as many as
    there are ids."""
    import torch
    from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

    {"llama3": write_llama3, "mistral": write_mistral}[family](folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config: dict[str, Any] = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1,
        "num_key_value_heads": 1, "head_dim": 32, "max_position_embeddings": 512, "tie_word_embeddings": False,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(LlamaConfig(vocab_size=rows or len(tokenizer), **config, **ids)).to(torch.bfloat16)
    model.generation_config = GenerationConfig(**ids)
    model.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    for family in ("llama3", "mistral"):
        print(json.dumps({family: str(make_model(Path(sys.argv[1]) / family, family))}))
