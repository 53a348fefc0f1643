"""A training loop with a model class of one's own (as torchtune and nanoGPT have), scored while it runs.

The engine wants a transformers model: `Llama` here is written anew, and `as_transformers` lays its weights, without a
copy, under the names of transformers' LlamaForCausalLM.

python examples/own_model_loop.py --model demo/darumeru-demo --output runs/own
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from darumeru import LiveEvaluation

TEXTS = ["Кошка спит на окне.", "Собака лежит у двери.", "Вчера вечером шёл дождь.", "Дети читали книги."]
NAMES = {
    "tok_embeddings": "model.embed_tokens",
    "norm": "model.norm",
    "output": "lm_head",
    "layers": "model.layers",
    "sa_norm": "input_layernorm",
    "mlp_norm": "post_attention_layernorm",
    "attn": "self_attn",
    "output_proj": "o_proj",
    "w1": "gate_proj",
    "w2": "down_proj",
    "w3": "up_proj",
}


class Attention(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.width = config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, config.num_attention_heads * self.width, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, config.num_key_value_heads * self.width, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, config.num_key_value_heads * self.width, bias=False)
        self.output_proj = nn.Linear(config.num_attention_heads * self.width, config.hidden_size, bias=False)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = (
            one(x).view(batch, length, -1, self.width).transpose(1, 2)
            for one in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotated(q, angles), rotated(k, angles)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        out: Tensor = self.output_proj(mixed.transpose(1, 2).reshape(batch, length, -1))
        return out


class Mlp(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.w2 = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.w3 = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.w2(functional.silu(self.w1(x)) * self.w3(x))
        return out


class Layer(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.sa_norm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attn = Attention(config)
        self.mlp_norm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        x = x + self.attn(self.sa_norm(x), angles)
        out: Tensor = x + self.mlp(self.mlp_norm(x))
        return out


class Llama(nn.Module):
    """With torchtune's names. config: transformers' LlamaConfig."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.output = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.output.weight = self.tok_embeddings.weight

    def forward(self, ids: Tensor) -> Tensor:
        half = torch.arange(0, self.config.head_dim, 2) / self.config.head_dim
        angles = torch.outer(torch.arange(ids.shape[1]), self.config.rope_parameters["rope_theta"] ** -half)
        x = self.tok_embeddings(ids)
        for layer in self.layers:
            x = layer(x, angles)
        out: Tensor = self.output(self.norm(x))
        return out


def rotated(x: Tensor, angles: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    cos, sin = angles.cos().to(x), angles.sin().to(x)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def renamed(name: str) -> str:
    """transformers' name of a tensor of `Llama`."""
    return ".".join(NAMES.get(part, part) for part in name.split("."))


def as_transformers(model: Llama) -> Any:
    """A transformers model on the same tensors: what is trained there is seen here."""
    with torch.device("meta"):
        shell = AutoModelForCausalLM.from_config(model.config)
    shell.load_state_dict({renamed(name): tensor for name, tensor in model.state_dict().items()}, assign=True)
    shell.model.rotary_emb = type(shell.model.rotary_emb)(model.config)  # its buffers are in no state_dict
    return shell.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo/darumeru-demo")
    parser.add_argument("--output", default="runs/own")
    parser.add_argument("--tasks", default="darumeru/parus,darumeru/cp_sent_ru")
    parser.add_argument("--steps", type=int, default=4)
    arguments = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    stored = AutoModelForCausalLM.from_pretrained(arguments.model, dtype="float32").state_dict()
    model = Llama(AutoConfig.from_pretrained(arguments.model))
    model.load_state_dict({name: stored[renamed(name)] for name in model.state_dict()})
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    seen = as_transformers(model)
    evaluation = LiveEvaluation(arguments.tasks, data="bundled", limit=8, output=arguments.output)
    for step in range(1, arguments.steps + 1):
        ids = tokenizer(TEXTS[step % len(TEXTS)], return_tensors="pt")["input_ids"]
        functional.cross_entropy(model(ids[:, :-1])[0], ids[0, 1:]).backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 2 == 0:
            scores = evaluation.score(seen, tokenizer, step)
            print(f"step {step}: mean {scores['mean']:.3f}")
    evaluation.close()
    torch.testing.assert_close(seen(ids).logits, model(ids), atol=1e-3, rtol=1e-3)


if __name__ == "__main__":
    main()
