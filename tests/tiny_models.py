"""Kilobyte-sized Llamas with real tokenizers, built inside the tests in a second."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

TEXTS = (
    "Кошка спит на окне, а собака лежит у двери и ждёт хозяина.",
    "Вчера вечером шёл сильный дождь, поэтому дети остались дома и читали книги.",
    "Столица России - Москва; Нева течёт через Санкт-Петербург и впадает в Балтийское море.",
    "Ответьте на вопрос одной буквой. Ответ: A, B, C или D? Правильный ответ: B.",
    "Согласны ли вы с утверждением? Да, нет, не знаю. Учёные считают, что это верно.",
    "Министр сообщил, что новый закон вступит в силу в 2024 году, 15 января.",
    "The cat sleeps on the window while the dog waits at the door for its owner.",
    "It rained hard last night, so the children stayed at home and read books.",
    "Answer the question with one letter: A, B, C or D. The right answer is C.",
    "The quick brown fox jumps over the lazy dog 1234567890 times, is that not so?",
)
BOS, EOS, PAD, START = "<|bos|>", "<|eos|>", "<|pad|>", "<|start|>"
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}"
    "{% if not loop.last or add_generation_prompt %}{{ eos_token }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

Kind = Literal["bytelevel", "sentencepiece"]


@functools.cache
def make_tokenizer(kind: Kind = "bytelevel", vocab: int = 600, chat_template: bool = True) -> Any:
    """A PreTrainedTokenizerFast of exactly `vocab` ids or fewer, specials first.

    bytelevel: byte-level BPE as in Llama 3 (digits one by one). sentencepiece: BPE with a space before the first
    word and byte fallback, as in Llama 2.
    """
    from tokenizers import AddedToken, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = _byte_level(vocab) if kind == "bytelevel" else _sentencepiece(vocab)
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in (PAD, BOS, EOS, START)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD)
    if chat_template:
        wrapped.chat_template = TEMPLATE
    return wrapped


def _byte_level(vocab: int) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[PAD, BOS, EOS, START],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def _sentencepiece(vocab: int) -> Any:
    import json

    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    front = [PAD, BOS, EOS, START, "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(prepend_scheme="always"),
            pre_tokenizers.Split(Regex(r"[^\p{L}▁]"), behavior="isolated"),
        ]
    )
    learner.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=vocab - len(front), show_progress=False))
    learnt = json.loads(learner.to_str())["model"]
    pieces = sorted(learnt["vocab"], key=learnt["vocab"].__getitem__)
    model = models.BPE(
        {piece: number for number, piece in enumerate([*front, *pieces])},
        [tuple(merge) for merge in learnt["merges"]],
        unk_token="<unk>",
        fuse_unk=True,
        byte_fallback=True,
    )
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def make_model(
    folder: str | Path,
    *,
    seed: int = 0,
    tied: bool = False,
    chat_template: bool = True,
    hidden: int = 64,
    layers: int = 2,
    vocab: int = 600,
    max_position_embeddings: int = 2048,
    kind: Kind = "bytelevel",
    dtype: str = "float32",
) -> Path:
    """Write a random Llama (config, generation config, safetensors, tokenizer) and return its folder.

    vocab: rows of the embeddings; the tokenizer has as many ids, or fewer when the texts give no more merges.
    Weights are scaled so that logits spread over several units: answers differ between prompts and seeds. Heads are 32
    wide, which vLLM takes on CPU. dtype: of the weights and of the config.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import GenerationConfig, LlamaConfig

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(kind, vocab, chat_template)
    heads = max(1, hidden // 32)
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 2),
        max_position_embeddings=max_position_embeddings,
        tie_word_embeddings=tied,
        pad_token_id=tokenizer.pad_token_id,
        architectures=["LlamaForCausalLM"],
        dtype=dtype,
        **ids,
    )
    config.save_pretrained(folder)
    GenerationConfig(**ids, pad_token_id=tokenizer.pad_token_id).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    weights = {name: tensor.to(getattr(torch, dtype)) for name, tensor in _weights(config, seed)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _weights(config: Any, seed: int) -> Iterator[tuple[str, Any]]:
    import torch
    from transformers import LlamaForCausalLM

    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in LlamaForCausalLM(config).named_parameters()}
    for name, shape in shapes.items():
        if len(shape) == 1:
            yield name, 1 + 0.1 * torch.randn(shape, generator=generator)
        else:
            scale = 0.4 if "embed_tokens" in name else (3.0 if "lm_head" in name else 1.5) / math.sqrt(shape[1])
            yield name, scale * torch.randn(shape, generator=generator)
