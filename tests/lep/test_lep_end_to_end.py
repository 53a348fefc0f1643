"""The whole way on tiny models: vocabulary scheme, initialization, some training, propagation, a model that loads."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from darumeru.adaptation.protocols import Candidate, StepContext
from darumeru.runs import evaluate
from darumeru.runs.config import RunConfig
from lep_plugins.propagation import PropagationStep, propagate
from tests.lep.lep_models import (
    Folders,
    generator,
    make_base,
    make_folders,
    make_target,
    rewrite,
    vocabulary_names,
    weights,
)
from tests.lep.texts import HELD_OUT, RUSSIAN
from tests.runs.data_folders import small_suite

SHAPES = {"byte-level untied": ("llama3", False), "byte-level tied": ("qwen", True), "SentencePiece": ("llama2", False)}
SCHEMES = ("bpe", "unigram", "extend", "optimize")
METHODS = ("swap", "overlap", "conversion")
TALK = [{"role": "user", "content": "Мельник починил мост."}]


def scheme_step(scheme: str, corpus: Path, tokens: int) -> Any:
    from lep_plugins.vocabulary.steps import VocabBpe, VocabExtend, VocabOptimize, VocabUnigram

    files = (str(corpus),)
    return {
        "bpe": lambda: VocabBpe(files, size=tokens),
        "unigram": lambda: VocabUnigram(files, size=tokens),
        "extend": lambda: VocabExtend(files, size=tokens + 120),
        "optimize": lambda: VocabOptimize(files, size=tokens),
    }[scheme]()


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Makes each donor once: (shape, scheme) -> folders."""
    place = tmp_path_factory.mktemp("lep")
    corpus = place / "corpus.txt"
    corpus.write_text(RUSSIAN, encoding="utf-8")

    @cache
    def models(shape: str) -> tuple[Path, Path]:
        kind, tied = SHAPES[shape]
        base = make_base(place / shape / "base", kind, tied, 32, torch.bfloat16)
        return base, make_target(base, place / shape / "target")

    @cache
    def folders(shape: str, scheme: str) -> Folders:
        base, target = models(shape)
        tokens = Tokenizer.from_file(str(base / "tokenizer.json")).get_vocab_size()
        context = StepContext(place / shape / scheme, say=lambda line: None)
        (donor,) = scheme_step(scheme, corpus, tokens).run(context, Candidate(base))

        def train(tensors: dict[str, torch.Tensor]) -> None:
            for seed, name in enumerate(vocabulary_names(tensors)):
                noise = torch.randn(tensors[name].shape, generator=generator(seed))
                tensors[name] = (tensors[name].float() + 0.1 * noise).bfloat16()

        rewrite(donor.path, train)
        return Folders(base, target, donor.path, place)

    return folders


def load(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"))
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def greedy(model: Any, ids: list[int], count: int) -> list[int]:
    with torch.no_grad():
        found = model.generate(
            torch.tensor([ids]), max_new_tokens=count, do_sample=False, eos_token_id=None, pad_token_id=0
        )
    return [int(token_id) for token_id in found[0, len(ids) :]]


def assert_scored(model: Path, place: Path, engine: str) -> None:
    """`darumeru run` gives the model complete scores on two small tasks."""
    tasks = ("darumeru/rummlu", "darumeru/cp_sent_ru")
    data = small_suite(place / "data", records=2)
    options = RunConfig(
        model=str(model),
        output=str(place / "run"),
        tasks=tasks,
        data=str(data),
        engine=engine,
        max_length=1024,
        resamples=20,
    )
    finished, outcome = evaluate.run(options)
    assert not outcome.tasks and all(task.complete for task in finished.results.tasks.values())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_scheme_and_method_gives_a_model_that_works(
    workplace: Any, tmp_path: Path, shape: str, scheme: str, method: str
) -> None:
    from transformers import AutoTokenizer

    folders = workplace(shape, scheme)
    context = StepContext(tmp_path, {"base": folders.base, "target": folders.target}, say=lambda line: None)
    (candidate,) = PropagationStep(method).run(context, Candidate(folders.donor))
    model, tokenizer = load(candidate.path)
    donor = AutoTokenizer.from_pretrained(folders.donor)
    assert tokenizer(HELD_OUT)["input_ids"] == donor(HELD_OUT)["input_ids"]
    assert len(tokenizer) <= model.get_input_embeddings().num_embeddings == model.config.vocab_size
    result, target, old = weights(candidate.path), weights(folders.target), weights(folders.donor)
    for name in vocabulary_names(result):
        shared = min(len(result[name]), len(old[name]))
        cosine = torch.nn.functional.cosine_similarity(result[name][:shared].float(), old[name][:shared].float())
        assert cosine.median() > 0.99  # the target is near the base, so the result is near the donor
        assert torch.isfinite(result[name]).all()
    assert all(torch.equal(result[name], target[name]) for name in result.keys() - set(vocabulary_names(result)))
    text = tokenizer.apply_chat_template(TALK, tokenize=False)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens([ids[0], ids[-1]]) == ["<|im_start|>", "<|im_end|>"]
    with torch.no_grad():
        assert torch.isfinite(model(torch.tensor([ids])).logits).all()
    ends = model.generation_config.eos_token_id
    assert isinstance(ends, list) and ends[0] == tokenizer.convert_tokens_to_ids("<|im_end|>") == tokenizer.eos_token_id
    assert_scored(candidate.path, tmp_path, "transformers")


def test_vllm_gives_the_same_greedy_tokens_as_transformers(tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    from darumeru.engines import load_engine
    from darumeru.engines.protocol import EngineOptions
    from darumeru.engines.request import Generate, Request

    folders = make_folders(tmp_path, "llama3", hidden=64)
    propagate(folders.base, folders.target, folders.donor, folders.output)
    model, tokenizer = load(folders.output)
    prompts = [tokenizer(line)["input_ids"] for line in HELD_OUT.splitlines()]
    options = EngineOptions(
        model=str(folders.output), max_model_len=128, dtype="float32", log_file=str(tmp_path / "engine.log")
    )
    engine = load_engine("vllm", options)
    try:
        answers = dict(engine.answer([Request(tuple(ids), Generate(12)) for ids in prompts]))
    finally:
        engine.close()
    assert len(answers) == len(prompts)
    assert_scored(folders.output, tmp_path, "vllm")
    ends = set(model.generation_config.eos_token_id)
    for place, ids in enumerate(prompts):
        expected = greedy(model.float(), ids, 12)
        length = next((count for count, token_id in enumerate(expected) if token_id in ends), len(expected))
        assert length > 0 and list(answers[place].tokens) == expected[:length]


def test_the_models_of_the_cost_benchmark_have_the_shape_they_promise(tmp_path: Path) -> None:
    from benchmarks.synthetic_checkpoint import Shape, write_models

    shape = Shape(hidden=32, rows_base=8_256, rows_donor=8_000, neighbour_bytes=1 << 16)
    base, target, donor = write_models(tmp_path, shape)
    report = propagate(base, target, donor, tmp_path / "out")
    assert report.rows == 8_000 and report.tokens["special"] == shape.specials == 256
    assert report.tokens["mean"] > 2_000 and report.tokens["padding"] == report.tokens["new"] == 0
    part = report.matrices[0]
    assert part.rank == 32 and part.used_tokens == report.tokens["copied"]
    assert 0 < part.change < 0.2 and part.residual is not None and 0.05 < part.residual < 0.95
