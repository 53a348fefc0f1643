"""Initializers compared on a real model: bits per byte right after initialization and after the same short training.

    make real
    python -m benchmarks.initializers --model .venv/real/SmolLM2-135M-Instruct --russian ru.txt --english en.txt \
        --folder compared

The vocabulary is extended on the Russian text; each method initializes the new rows; bits per byte are those of the
bundled tasks perplexity/text_ru and perplexity/text_en, of other sources; then the embeddings are trained on nine parts
of Russian and one of English, the same blocks for all. Seconds are of the processor. What is done already in the folder
is not done again; the table is printed from what is there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

TASKS = "perplexity/text_ru,perplexity/text_en"
METHODS = "mean,distill,focus,cw2v,multivariate,omp"


def main() -> None:
    options = _arguments()
    options.folder.mkdir(parents=True, exist_ok=True)
    tokenizer, text = _tokenizer(options), _training_text(options)
    for method in options.methods.split(","):
        row = _Row(options.folder / method)
        model = row.folder / "model"
        row.timed("initialization", lambda m=method, to=model: _initialized(options, m, tokenizer, to))  # type: ignore[misc]
        row.timed("before", lambda to=model, at=row: _bits(options, to, at.folder / "run-before"))  # type: ignore[misc]
        if options.steps:
            row.timed("training", lambda to=model, at=row: _trained(options, to, text, at.folder / "training"))  # type: ignore[misc]
            last = row.folder / "training" / f"step-{options.steps:06d}"
            row.timed("after", lambda to=last, at=row: _bits(options, to, at.folder / "run-after"))  # type: ignore[misc]
    _print(options)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--russian", required=True, type=Path)
    parser.add_argument("--english", required=True, type=Path)
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--added", type=int, default=2000, help="new tokens")
    parser.add_argument("--layer", type=int, default=6, help="distill: states after this layer")
    parser.add_argument("--snippets", type=int, default=8, help="distill: of a token")
    parser.add_argument("--snippet-length", type=int, default=24)
    parser.add_argument("--distill-rate", type=float, default=3e-3)
    parser.add_argument("--steps", type=int, default=40, help="of the training: 4 blocks of 128 tokens each")
    parser.add_argument("--rate", type=float, default=1e-3, help="of the training")
    parser.add_argument("--limit", type=int, default=8, help="documents of a language that are scored")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


class _Row:
    """One method: numbers of each phase in row.json, written as soon as they are known."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "row.json"
        folder.mkdir(exist_ok=True)
        self.values: dict[str, Any] = json.loads(self.file.read_text()) if self.file.is_file() else {}

    def timed(self, phase: str, work: Callable[[], dict[str, Any]]) -> None:
        if phase in self.values:
            return
        began = time.process_time()
        found = work()
        self.values[phase] = {"seconds": round(time.process_time() - began, 1), **found}
        self.file.write_text(json.dumps(self.values, indent=1))
        print(self.folder.name, phase, self.values[phase], flush=True)


def _tokenizer(options: argparse.Namespace) -> Path:
    from lep_plugins import extend_vocabulary
    from lep_plugins.vocabulary.folder import open_model_tokenizer

    folder: Path = options.folder / "tokenizer"
    if not folder.is_dir():
        size = len(open_model_tokenizer(options.model).description.vocab) + options.added
        extend_vocabulary(options.model, [options.russian], size, folder, say=print)
    return folder


def _training_text(options: argparse.Namespace) -> Path:
    """Nine parts of Russian and one of English, about what the training reads, in lines."""
    file: Path = options.folder / "training.jsonl"
    wanted = options.steps * 4 * 128 * 4
    with file.open("w", encoding="utf-8") as out:
        for path, share in ((options.russian, 0.9), (options.english, 0.1)):
            for text in _first(path, int(wanted * share) + 2000):
                out.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
    return file


def _first(path: Path, characters: int) -> Iterator[str]:
    from lep_plugins.vocabulary.corpus import Corpus

    for text in Corpus.of([path]).texts():
        yield text[:characters]
        characters -= len(text)
        if characters <= 0:
            return


def _initialized(options: argparse.Namespace, method: str, tokenizer: Path, output: Path) -> dict[str, Any]:
    from lep_plugins import initialize_embeddings
    from lep_plugins.initialization.options import InitOptions

    more = InitOptions(options.layer, options.snippets, options.snippet_length, learning_rate=options.distill_rate)
    corpus = [options.russian]
    if not output.is_dir():
        initialize_embeddings(options.model, tokenizer, output, method, corpus, options.seed, say=print, options=more)
    return {}


def _bits(options: argparse.Namespace, model: Path, output: Path) -> dict[str, Any]:
    import darumeru

    scored = darumeru.evaluate(
        model=str(model), tasks=TASKS, data="bundled", limit=options.limit, engine="transformers", max_length=512,
        output=str(output), resamples=300,
    )  # fmt: skip
    return {task: round(scored.results.tasks[task].score.value, 4) for task in TASKS.split(",")}


def _trained(options: argparse.Namespace, model: Path, text: Path, output: Path) -> dict[str, Any]:
    from darumeru.adaptation.protocols import Candidate, StepContext
    from lep_plugins.training.pretraining import Pretrain

    step = Pretrain(
        (str(text),), learning_rate=options.rate, batch_size=4, micro_batch=4, block=128, max_steps=options.steps,
        epochs=1, warmup_steps=4, mask_documents=False,
    )  # fmt: skip
    *_, last = step.run(StepContext(output, seed=options.seed, say=lambda line: None), Candidate(model))
    losses = [json.loads(line)["loss"] for line in (output / "losses.jsonl").read_text().splitlines()]
    return {"tokens": last.training_step * 4 * 128, "loss": round(losses[-1], 3)}


def _print(options: argparse.Namespace) -> None:
    print("| method | seconds | ru, bits/byte | en | after training: ru | en |\n|---|---|---|---|---|---|")
    for method in options.methods.split(","):
        values = _Row(options.folder / method).values
        cells = [method, str(values.get("initialization", {}).get("seconds", ""))]
        for phase in ("before", "after"):
            cells += [str(values.get(phase, {}).get(task, "")) for task in TASKS.split(",")]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
