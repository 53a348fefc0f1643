"""Tiny tokenizers of every kind that matters, and tiny models around them, built from texts in seconds.

Each kind copies the shape of a family: normalizer, pre-tokenizer, decoder, post-processor, place and flags of added
tokens, tokenizer class. Only the vocabulary is small.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tests.lep.texts import A_LITTLE_RUSSIAN, ENGLISH

LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_WORDS = LLAMA3_WORDS.replace(r"\p{N}{1,3}", r"\p{N}")
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}"


def _byte_level(words: str, texts: Iterable[str], size: int, normalizer: Any = None) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    split = pre_tokenizers.Split(Regex(words), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _starting_with(tokenizer: Tokenizer, bos: str) -> Any:
    return processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, tokenizer.token_to_id(bos))]
    )


def llama3(texts: Iterable[str] = (ENGLISH, A_LITTLE_RUSSIAN), size: int = 560) -> Tokenizer:
    """Byte-level BPE, no normalizer, specials above the vocabulary, whole words taken without merges."""
    tokenizer = _byte_level(LLAMA3_WORDS, texts, size)
    tokenizer.model.ignore_merges = True
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", *(f"<|reserved_{n}|>" for n in range(5))]
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    template = _starting_with(tokenizer, "<|begin_of_text|>")
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), template])
    return tokenizer


def qwen(texts: Iterable[str] = (ENGLISH, A_LITTLE_RUSSIAN), size: int = 520) -> Tokenizer:
    """Byte-level BPE with NFC, no BOS, and an added token that is not special."""
    tokenizer = _byte_level(QWEN_WORDS, texts, size, normalizers.NFC())
    for name in ("<|endoftext|>", "<|im_start|>", "<|im_end|>"):
        tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False)])
    tokenizer.add_tokens([AddedToken("<tool_call>", special=False, normalized=False)])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def _pieces(texts: Iterable[str], size: int) -> tuple[list[str], list[list[str]]]:
    """Pieces and merges of a SentencePiece-style BPE: no merge across words."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(prepend_scheme="always"),
            pre_tokenizers.Split(Regex(r"[^\p{L}▁]"), behavior="isolated"),
        ]
    )
    learner.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, show_progress=False))
    model = json.loads(learner.to_str())["model"]
    pieces = [piece for piece in sorted(model["vocab"], key=model["vocab"].__getitem__) if piece not in "\n\t"]
    return pieces, [merge for merge in model["merges"] if not {"\n", "\t"} & set("".join(merge))]


def llama2(texts: Iterable[str] = (ENGLISH, A_LITTLE_RUSSIAN), size: int = 300) -> Tokenizer:
    """SentencePiece-style BPE: byte fallback, a space before the first word, specials at the front (Mistral too)."""
    pieces, merges = _pieces(texts, size)
    vocab = {piece: position for position, piece in enumerate(["<unk>", "<s>", "</s>", *BYTES, *pieces])}
    model = models.BPE(vocab, [tuple(merge) for merge in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(parts)
    tokenizer.add_special_tokens(
        [AddedToken(name, special=True, normalized=False) for name in ("<unk>", "<s>", "</s>")]
    )
    tokenizer.post_processor = _starting_with(tokenizer, "<s>")
    return tokenizer


def gemma(texts: Iterable[str] = (ENGLISH, A_LITTLE_RUSSIAN), size: int = 300) -> Tokenizer:
    """SentencePiece-style BPE with no space before the first word and whitespace runs as added tokens."""
    pieces, merges = _pieces(texts, size)
    front = ["<pad>", "<eos>", "<bos>", "<unk>", "<unused0>", "\n", "\n\n", "▁▁"]
    ordered = [*front, *BYTES, *(piece for piece in pieces if piece not in front)]
    vocab = {piece: position for position, piece in enumerate(ordered)}
    merges = [merge for merge in merges if "".join(merge) not in front]
    model = models.BPE(vocab, [tuple(merge) for merge in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in front[:4]])
    tokenizer.add_tokens([AddedToken(name, special=False, normalized=False) for name in ("<unused0>", "\n\n", "▁▁")])
    tokenizer.post_processor = _starting_with(tokenizer, "<bos>")
    return tokenizer


def unigram(texts: Iterable[str] = (ENGLISH, A_LITTLE_RUSSIAN), size: int = 300) -> Tokenizer:
    """SentencePiece-style Unigram with byte fallback."""
    learner = Tokenizer(models.Unigram())
    learner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    learner.train_from_iterator(texts, trainers.UnigramTrainer(vocab_size=size, show_progress=False))
    learnt = json.loads(learner.to_str())["model"]["vocab"]
    names = ["<unk>", "<s>", "</s>", *BYTES]
    model = models.Unigram([*((name, -100.0) for name in names), *map(tuple, learnt)], unk_id=0, byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(parts)
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names[:3]])
    tokenizer.post_processor = _starting_with(tokenizer, "<s>")
    return tokenizer


BUILDERS: dict[str, Callable[[], Tokenizer]] = {
    "llama3": llama3, "qwen": qwen, "llama2": llama2, "gemma": gemma, "unigram": unigram,
}  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    "llama3": {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|eot_id|>",
        "pad_token": "<|end_of_text|>",
    },
    "qwen": {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    "llama2": {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    "gemma": {
        "tokenizer_class": "GemmaTokenizer",
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
    },
    "unigram": {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
    },
}
MODEL_TYPES = {"llama3": "llama", "qwen": "qwen3", "llama2": "mistral", "gemma": "llama", "unigram": "llama"}


@cache
def serialized(kind: str) -> str:
    """tokenizer.json of a kind, built once a process."""
    return BUILDERS[kind]().to_str()


def tokenizer_of(kind: str) -> Tokenizer:
    """A fresh tokenizer of a kind."""
    return Tokenizer.from_str(serialized(kind))


def save_tokenizer(folder: Path, kind: str) -> Tokenizer:
    """Write tokenizer.json, tokenizer_config.json and a chat template into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_of(kind)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = SETTINGS[kind] | {"clean_up_tokenization_spaces": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return tokenizer


def save_model(folder: Path, kind: str, tied: bool = False, rows: int | None = None, hidden: int = 32) -> Path:
    """Write a model of two layers in bf16 with the tokenizer of `kind`.

    rows: of the embeddings, by default the ids filled up to a multiple of 64; ids in config.json and
    generation_config.json (where EOS is a list) are the tokenizer's."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    tokenizer = save_tokenizer(folder, kind)
    settings = SETTINGS[kind]
    ids = {
        f"{role}_token_id": tokenizer.token_to_id(settings[f"{role}_token"]) if f"{role}_token" in settings else None
        for role in ("bos", "eos", "pad")
    }
    config = AutoConfig.for_model(
        MODEL_TYPES[kind],
        vocab_size=rows or -(-(max(tokenizer.get_vocab().values()) + 1) // 64) * 64,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,  # the least that vLLM takes on a CPU
        max_position_embeddings=512,
        tie_word_embeddings=tied,
        sliding_window=None,
        dtype="bfloat16",
        **ids,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.generation_config = GenerationConfig(
        **(ids | {"eos_token_id": [ids["eos_token_id"]]}), do_sample=True, temperature=0.6
    )
    model.save_pretrained(folder)
    return folder
