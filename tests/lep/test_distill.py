"""Token Distillation: what is learnt, what stays, and that the loss is the one of the paper."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from darumeru.adaptation.protocols import Candidate, StepContext
from darumeru.core.errors import UserError
from darumeru.core.fields import checked_fields
from lep_plugins.conversion import ConversionMatrix, Origin
from lep_plugins.initialization import initialize_embeddings
from lep_plugins.initialization.distill import Batches, distill, mean_distance
from lep_plugins.initialization.distiller import Distiller, distance, pairs_of
from lep_plugins.initialization.mean import mean
from lep_plugins.initialization.options import InitOptions
from lep_plugins.initialization.snippets import Snippet, SnippetSearch
from lep_plugins.initialization.task import Task
from lep_plugins.vocabulary import steps
from tests.cli.command import darumeru
from tests.lep.test_initialization import EMBEDDING, HEAD, step_of, task_of
from tests.lep.texts import ENGLISH, HELD_OUT, RUSSIAN
from tests.lep.tokenizers import save_model, tokenizer_of

FAST = InitOptions(snippets=8, snippet_length=24, learning_rate=3e-3, dtype="float32")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "ru.jsonl"
    lines = [line for line in RUSSIAN.splitlines() if line.strip()] * 3
    path.write_text("".join(json.dumps({"text": line}, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> dict[str, tuple[Path, Path]]:
    """kind -> (model, new tokenizer): an extended and a substituted vocabulary."""
    root = tmp_path_factory.mktemp("models")
    made = {}
    for kind, scheme in (("llama3", "extend"), ("llama2", "unigram")):
        model = save_model(root / kind, kind, rows=640)
        mixed = root / f"{kind}.txt"
        mixed.write_text(RUSSIAN + ENGLISH, encoding="utf-8")
        made[kind] = model, step_of(scheme, mixed).make_tokenizer(model, root / f"{kind}-new")
    return made


def task_in(work: Path, model: Path, tokenizer: Path, corpus: Path, options: InitOptions = FAST) -> Task:
    return replace(task_of(model, tokenizer, corpus), work=work, options=options)


def searched(task: Task, text: str, most: int = 8, length: int = 24) -> list[Snippet]:
    wanted = np.isin(np.arange(task.conversion.rows_new), task.conversion.ids(Origin.MEAN))
    usable = np.isin(np.arange(task.conversion.rows_new), task.conversion.ids(Origin.MEAN, Origin.COPIED))
    old = task.source.description.build()
    return list(SnippetSearch(old, task.new_tokenizer, wanted, usable, most, length).search([text]))


def network_of(model: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)


@pytest.mark.parametrize("kind", ["llama3", "llama2"])
def test_learnt_rows_come_closer_than_means_and_everything_else_stays(
    kind: str, folders: dict[str, tuple[Path, Path]], corpus: Path, tmp_path: Path
) -> None:
    """The loss is of snippets that are not learnt from; the same seed gives the same rows."""
    model, tokenizer = folders[kind]
    output = initialize_embeddings(model, tokenizer, tmp_path / "a", "distill", [corpus], options=FAST)
    report = json.loads((output / "initialization.json").read_text(encoding="utf-8"))
    assert report["held_out"] > 20 and report["loss"] < 0.8 * report["loss_of_means"]
    conversion = ConversionMatrix.load(output)
    made = conversion.ids(Origin.MEAN)
    assert report["trained"] + len(report["too_few_snippets"]) == len(made)
    plain = load_file(initialize_embeddings(model, tokenizer, tmp_path / "m") / "model.safetensors")
    new = load_file(output / "model.safetensors")
    moved = (new[EMBEDDING] != plain[EMBEDDING]).any(dim=1)
    assert int(moved.sum()) == report["trained"] > 50 and set(np.flatnonzero(moved.numpy())) <= set(made)
    assert all(torch.equal(new[name], plain[name]) for name in new if name != EMBEDDING)  # output rows: means
    again = initialize_embeddings(model, tokenizer, tmp_path / "b", "distill", [corpus], options=FAST)
    assert torch.equal(load_file(again / "model.safetensors")[EMBEDDING], new[EMBEDDING])
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_loss_is_that_of_an_independent_loop(
    folders: dict[str, tuple[Path, Path]], corpus: Path, tmp_path: Path
) -> None:
    """Hidden states by transformers itself, one snippet at a time, compared token by token from either end."""
    task = task_in(tmp_path, *folders["llama3"], corpus)
    snippets = searched(task, HELD_OUT)
    assert len(snippets) > 20 and all(len(one.new) == 1 and one.stop - one.begin > 1 for one in snippets)
    made = task.conversion.ids(Origin.MEAN)
    rows = mean(task)[EMBEDDING](made)
    place = np.full(task.conversion.rows_new, -1)
    place[made] = 640 + np.arange(len(made))
    bos = task.old.special_ids["<|begin_of_text|>"]
    batches = Batches(snippets, place, bos)
    for layer, states in ((1, 1), (2, 2), (-1, 2)):
        model = Distiller(network_of(folders["llama3"][0]), rows, torch.empty(0, 32), layer)
        found = mean_distance(model, batches, np.arange(len(snippets)), 5)
        network, total, pairs = network_of(folders["llama3"][0]), 0.0, 0
        table = network.get_input_embeddings().weight.detach()
        for one in snippets:
            old = torch.tensor([bos, *one.old])
            new = torch.cat([table[old[: one.begin + 1]], rows[made == one.token], table[old[one.stop + 1 :]]])
            with torch.no_grad():
                wanted = network(input_ids=old[None], output_hidden_states=True).hidden_states[states][0]
                given = network(inputs_embeds=new[None], output_hidden_states=True).hidden_states[states][0]
            for position in range(one.begin + 1):
                total += float(((wanted[position] - given[position]) ** 2).mean())
                pairs += 1
            for back in range(1, len(one.old) - one.stop + 2):
                total += float(((wanted[-back] - given[-back]) ** 2).mean())
                pairs += 1
        assert found == pytest.approx(total / pairs, rel=1e-4)


def test_a_token_of_one_old_token_is_that_token(
    folders: dict[str, tuple[Path, Path]], corpus: Path, tmp_path: Path
) -> None:
    """Its loss is 0 from the start, so nothing moves it. Here shared tokens are declared new."""
    task = task_in(tmp_path, *folders["llama3"], corpus)
    origins = task.conversion.origins.copy()
    shared, sources = task.conversion.one_hot(Origin.COPIED)
    origins[task.conversion.origins == Origin.MEAN] = Origin.NEW
    origins[shared] = Origin.MEAN
    conversion = replace(task.conversion, origins=origins)
    task = replace(task, conversion=conversion, new_tokenizer=tokenizer_of("llama3"))
    rows = distill(task)[EMBEDDING](shared)
    report = json.loads((tmp_path / "initialization.json").read_text(encoding="utf-8"))
    assert report["trained"] > 50 and report["loss_of_means"] == report["loss"] == 0
    assert torch.equal(rows, task.matrices[0].gather(sources).float())


def test_tokens_that_the_corpus_lacks_keep_their_mean_and_are_named(
    folders: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    model, tokenizer = folders["llama3"]
    few = tmp_path / "few.txt"
    few.write_text("Река течёт. Мельник смотрит.\n" * 40, encoding="utf-8")
    said: list[str] = []
    output = initialize_embeddings(model, tokenizer, tmp_path / "out", "distill", [few], say=said.append, options=FAST)
    report = json.loads((output / "initialization.json").read_text(encoding="utf-8"))
    kept = report["too_few_snippets"]
    assert 0 < report["trained"] < 20 and any(line.startswith(f"warning: {len(kept)} tokens keep") for line in said)
    assert list(kept.values()).count(0) > 100
    plain = load_file(initialize_embeddings(model, tokenizer, tmp_path / "m") / "model.safetensors")
    new = load_file(output / "model.safetensors")[EMBEDDING]
    assert int((new != plain[EMBEDDING]).any(dim=1).sum()) == report["trained"]
    (tmp_path / "en.txt").write_text(ENGLISH, encoding="utf-8")
    with pytest.raises(UserError, match="the corpus holds none of the"):
        initialize_embeddings(model, tokenizer, tmp_path / "none", "distill", [tmp_path / "en.txt"], options=FAST)


def test_phrases_are_where_the_new_tokenizer_makes_the_token(
    folders: dict[str, tuple[Path, Path]], corpus: Path, tmp_path: Path
) -> None:
    """Ids of a whole text by either tokenizer, found again in the windows; of a window one phrase is replaced, bounded
    by both segmentations. Text of one token inside a longer one is no occurrence of it."""
    for kind in folders:
        task = task_in(tmp_path, *folders[kind], corpus)
        old = task.source.description.build()
        ids = old.encode(HELD_OUT, add_special_tokens=False).ids
        new = task.new_tokenizer.encode(HELD_OUT, add_special_tokens=False).ids
        snippets = searched(task, HELD_OUT, length=20)
        assert len(snippets) > 20
        windows = {tuple(ids[start : start + 20]) for start in range(len(ids) - 19)}
        phrases = {tuple(new[start:stop]) for start in range(len(new)) for stop in range(start + 1, start + 12)}
        for one in snippets:
            assert tuple(one.old) in windows and tuple(one.new) in phrases and one.token in one.new
            spelled = b"".join(bytes(task.old.tokens[place] or b"") for place in one.old[one.begin : one.stop])  # type: ignore[arg-type]
            assert spelled == b"".join(bytes(task.new.tokens[place] or b"") for place in one.new)  # type: ignore[arg-type]
        repeated = searched(task, HELD_OUT * 20, most=40, length=20)
        assert max(np.bincount([one.token for one in repeated])) == 10  # a quarter of what is asked for from one text


def test_a_stopped_distillation_goes_on_to_the_same_rows(
    folders: dict[str, tuple[Path, Path]], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lep_plugins.initialization import distill as module

    model, tokenizer = folders["llama3"]
    whole = initialize_embeddings(model, tokenizer, tmp_path / "whole", "distill", [corpus], options=FAST)
    monkeypatch.setattr(module, "SAVE_EVERY", 2)
    calls = 0

    def failing(*given: Any) -> torch.Tensor:
        nonlocal calls
        calls += torch.is_grad_enabled()
        if calls == 6:
            raise KeyboardInterrupt
        return distance(*given)

    monkeypatch.setattr(module, "distance", failing)
    with pytest.raises(KeyboardInterrupt):
        initialize_embeddings(model, tokenizer, tmp_path / "out", "distill", [corpus], options=FAST)
    assert not (tmp_path / "out").exists() and (tmp_path / ".out.distill" / "state.pt").is_file()
    said: list[str] = []
    monkeypatch.setattr(module, "distance", distance)
    with pytest.raises(UserError, match="other settings"):
        other = replace(FAST, learning_rate=1.0)
        initialize_embeddings(model, tokenizer, tmp_path / "out", "distill", [corpus], options=other)
    output = initialize_embeddings(
        model, tokenizer, tmp_path / "out", "distill", [corpus], say=said.append, options=FAST
    )
    assert "training goes on from step 4" in said
    one, other_one = (load_file(folder / "model.safetensors")[EMBEDDING] for folder in (whole, output))
    assert torch.equal(one, other_one)


def test_a_recipe_names_the_method_and_its_options(
    folders: dict[str, tuple[Path, Path]], corpus: Path, tmp_path: Path
) -> None:
    """Checked as a recipe is; a step that was cut short after its tokenizer goes on with it."""
    values = {"corpus": str(corpus), "size": 640, "method": "distill", "init": {"snippets": 4, "layer": 1}}
    checked = checked_fields("step vocab_extend", steps.VocabExtend, values, lambda *said: UserError(said[0]))
    step = steps.VocabExtend(**checked)
    assert step.init == InitOptions(snippets=4, layer=1) and step.resumable
    with pytest.raises(UserError, match="layers"):
        checked_fields("", steps.VocabExtend, {"init": {"layers": 1}}, lambda *said: UserError(said[0]))
    with pytest.raises(UserError, match="did you mean distill"):
        steps.VocabExtend(method="distil")
    step.make_tokenizer(folders["llama3"][0], tmp_path / "tokenizer")
    before = (tmp_path / "tokenizer" / "tokenizer.json").stat().st_mtime_ns
    (candidate,) = step.run(StepContext(tmp_path), Candidate(folders["llama3"][0]))
    assert (tmp_path / "tokenizer" / "tokenizer.json").stat().st_mtime_ns == before
    report = json.loads((candidate.path / "initialization.json").read_text(encoding="utf-8"))
    assert report["options"]["layer"] == 1 and report["trained"] > 10
    assert candidate.parameters["init"]["snippets"] == 4 and candidate.label == "vocab_extend-distill"


def test_padding_by_length_sees_nothing_of_its_neighbours(
    folders: dict[str, tuple[Path, Path]], corpus: Path, tmp_path: Path
) -> None:
    """The loss of a batch of windows of several lengths is that of each alone."""
    task = task_in(tmp_path, *folders["llama3"], corpus)
    snippets = [*searched(task, HELD_OUT, length=30)[:3], *searched(task, HELD_OUT, length=12)[:3]]
    place = np.where(task.conversion.origins == Origin.MEAN, 640, -1)
    model = Distiller(network_of(folders["llama3"][0]), torch.randn(1, 32), torch.empty(0, 32), 2)
    batches = Batches(snippets, place, None)
    with torch.no_grad():
        together = batches.batch(range(6))
        alone = [batches.batch([number]) for number in range(6)]
        assert float(distance(model, together)) == pytest.approx(sum(float(distance(model, one)) for one in alone))
    assert pairs_of(together) == sum(map(pairs_of, alone))


def test_distill_from_the_command_line(
    folders: dict[str, tuple[Path, Path]],
    corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, tokenizer = folders["llama3"]
    given = ["--model", str(model), "--tokenizer", str(tokenizer), "--method", "distill"]

    def init(*more: str) -> Any:
        return darumeru(capsys, monkeypatch, "vocab", "init", *given, *more, "--output", str(tmp_path / "out"))

    for more, message in (
        ([], "distill learns from text"),
        (["--corpus", str(corpus), "--layer", "3"], "no layer 3"),
        (["--corpus", str(corpus), "--layer", "0"], "no layer 0"),
        (["--corpus", str(corpus), "--snippets", "0"], "snippets must be at least 1"),
        (["--corpus", str(corpus), "--dtype", "half"], 'unknown value "half"'),
        (["--corpus", str(tmp_path / "none.txt")], "no such corpus file"),
        (["--corpus", str(corpus), "--field", "body"], 'no text in the field "body"'),
    ):
        said = init(*more)
        assert said.code == 2 and message in said.err, said
        assert not (tmp_path / "out").exists()
    said = init("--corpus", str(corpus), "--layer", "1", "--snippets", "4", "--snippet-length", "16")
    assert said.code == 0 and "mean squared difference on held-out snippets" in said.err
    report = json.loads((tmp_path / "out" / "initialization.json").read_text(encoding="utf-8"))
    assert (report["options"]["layer"], report["options"]["snippet_length"]) == (1, 16)
    assert HEAD in load_file(tmp_path / "out" / "model.safetensors")
