"""Bits per byte as a task: windows, exactness across tokenizers, whole runs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from darumeru.core.answer import Answer
from darumeru.core.errors import TaskRefused
from darumeru.engines.request import LogLikelihood
from darumeru.prompts.builder import PromptBuilder, PromptOptions, load_tokenizer
from darumeru.runs.windows import Windows, window_requests
from tests.tiny_models import make_model, make_tokenizer

TEXTS = ("Кошка спит на окне, а собака лежит у двери.", "The cat sleeps on the window. 1234567890\n\n  Да!")


def builder_of(tokenizer: Any) -> PromptBuilder:
    return PromptBuilder(tokenizer, PromptOptions())


@pytest.mark.parametrize("kind", ["bytelevel", "sentencepiece"])
@pytest.mark.parametrize("most", [16, 17, 40, 4096])
def test_every_token_is_scored_once_after_half_a_window(kind: Any, most: int) -> None:
    builder = builder_of(make_tokenizer(kind))
    text = " ".join(TEXTS * 4)
    ids, bos = builder.tokens(text), builder.tokenizer.bos_token_id
    requests = window_requests(builder, text, most)
    scored: list[int] = []
    for number, request in enumerate(requests):
        assert isinstance(request.kind, LogLikelihood)
        context = request.prompt[1:]
        assert request.prompt[0] == bos and list(context) == ids[len(scored) - len(context) : len(scored)]
        assert len(context) == (most // 2 if number else 0)
        assert len(request.kind.continuation) > 0 and len(request.prompt) + len(request.kind.continuation) <= most
        scored += request.kind.continuation
    assert scored == ids and (len(requests) == 1) == (len(ids) < most)
    solving = Windows().solve(requests)
    assert next(solving) == requests
    with pytest.raises(StopIteration) as done:
        solving.send([Answer(logprobs=(-1.0,) * len(one.kind.continuation)) for one in requests])  # type: ignore[union-attr]
    assert len(done.value.value.logprobs) == len(ids)


def test_a_tokenizer_that_loses_text_is_refused_with_the_bytes_that_it_loses() -> None:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(
        models.BPE({"<unk>": 0, "▁": 1, **{letter: 2 + n for n, letter in enumerate("абв2")}}, [], unk_token="<unk>")
    )
    made.pre_tokenizer, made.decoder = (
        pre_tokenizers.Metaspace(prepend_scheme="never"),
        decoders.Metaspace(prepend_scheme="never"),
    )
    lossy = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", bos_token="<unk>")
    assert len(window_requests(builder_of(lossy), "аб вв", 16)) == 1
    with pytest.raises(TaskRefused, match=r"does not give the text back \(6 of 11 bytes"):
        window_requests(builder_of(lossy), "аб щщщ", 16)  # 4 + 1 + 6 bytes
    made.normalizer = normalizers.NFKC()
    with pytest.raises(TaskRefused, match=r"\(2 of 6 bytes"):
        window_requests(builder_of(PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<unk>")), "аб²", 16)


def test_without_bos_a_text_begins_after_the_end_token() -> None:
    tokenizer = make_tokenizer("bytelevel")
    tokenizer = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer, eos_token="<|eos|>")
    (request,) = window_requests(builder_of(tokenizer), "Да", 64)
    assert request.prompt == (tokenizer.eos_token_id,)
    tokenizer = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer)
    with pytest.raises(TaskRefused, match="neither BOS nor EOS"):
        window_requests(builder_of(tokenizer), "Да", 64)


# Whole runs


def run(command: Callable[..., Any], model: Path, output: Path, *more: str) -> dict[str, Any]:
    words = ["run", "--model", str(model), "--engine", "transformers", "--dtype", "float32", "--output", str(output)]
    done = command(*words, "--tasks", "perplexity/text_ru,perplexity/text_en", "--resamples", "50", *more)
    assert done.code == 0, done
    results: dict[str, Any] = json.loads((output / "results.json").read_text(encoding="utf-8"))
    return results


def documents(language: str) -> list[str]:
    from darumeru.tasks.records import bundled_folder

    path = bundled_folder() / "darumeru" / "texts" / f"{language}.jsonl"
    return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("kind", ["bytelevel", "sentencepiece"])
def test_uniform_logits_cost_log2_of_the_vocabulary_a_token(
    kind: Any, command: Callable[..., Any], tmp_path: Path
) -> None:
    """A head of zeros: exactly log2(V) x tokens / bytes, with one window or with many, in either kind of tokenizer."""
    model = make_model(tmp_path / "model", kind=kind, vocab=600)
    tensors = load_file(model / "model.safetensors")
    tensors["lm_head.weight"].zero_()
    save_file(tensors, model / "model.safetensors", {"format": "pt"})
    tokenizer = load_tokenizer(str(model))
    for length in ("2048", "300"):
        results = run(command, model, tmp_path / f"run-{length}", "--max-length", length)
        for language in ("ru", "en"):
            texts = documents(language)
            tokens = sum(len(tokenizer.encode(text, add_special_tokens=False)) for text in texts)
            size = sum(len(text.encode("utf-8")) for text in texts)
            task = results["tasks"][f"perplexity/text_{language}"]
            assert task["score"]["value"] == pytest.approx(math.log2(600) * tokens / size, rel=1e-6)
            characters = sum(map(len, texts))
            nats = task["metrics"]["nats_per_character"]["value"]
            assert nats == pytest.approx(math.log(600) * tokens / characters, rel=1e-6)
            assert task["n"] == len(texts)


def test_a_users_text_is_scored_as_transformers_computes_it(command: Callable[..., Any], tmp_path: Path) -> None:
    """--data with plain files; the right value from one forward pass over BOS and the whole text."""
    from transformers import AutoModelForCausalLM

    model = make_model(tmp_path / "model", chat_template=False)
    place = tmp_path / "data" / "darumeru" / "texts"
    place.mkdir(parents=True)
    for language, text in zip(("ru", "en"), TEXTS, strict=True):
        (place / f"{language}.txt").write_text(text, encoding="utf-8")
    results = run(command, model, tmp_path / "run", "--data", str(tmp_path / "data"))
    tokenizer = load_tokenizer(str(model))
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    for language, text in zip(("ru", "en"), TEXTS, strict=True):
        ids = [tokenizer.bos_token_id, *tokenizer.encode(text, add_special_tokens=False)]
        with torch.no_grad():
            logs = network(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
        nats = -float(logs.gather(1, torch.tensor(ids[1:]).unsqueeze(1)).double().sum())
        value = results["tasks"][f"perplexity/text_{language}"]["score"]["value"]
        assert value == pytest.approx(nats / math.log(2) / len(text.encode("utf-8")), rel=1e-5)
