"""How well the vocabulary schemes fit Russian text of another source than they were learnt on.

    python -m tests.real.tokenizers FOLDER        # once: the true tokenizers of LLaMA-3 and Mistral (`make real`)
    python -m benchmarks.vocabularies --model smollm2=.venv/real/SmolLM2-135M-Instruct --model llama3=FOLDER/llama3 \\
        --model mistral=FOLDER/mistral --russian novels.txt.xz manual.txt.xz --english novels_en.txt.xz --share 0.28 \\
        --held-out book_ru.txt.xz --held-out-english book_en.txt.xz --output tables

Every vocabulary is made as `darumeru vocab` makes it: bpe and unigram in place of the old one, from Russian and English
text; extend, optimize (half of the old tokens stay) and merge (of that unigram's pieces) add Russian tokens. Tables in
Markdown; OUTPUT/NAME-SCHEME.json keeps each row, and what is there is not made again.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from lep_plugins.vocabulary.corpus import Corpus
from lep_plugins.vocabulary.folder import open_model_tokenizer
from lep_plugins.vocabulary.stats import tokenizer_stats
from lep_plugins.vocabulary.steps import VocabBpe, VocabExtend, VocabMerge, VocabOptimize, VocabUnigram

SCHEMES = ("own", "bpe", "unigram", "extend", "optimize", "merge")
FREQUENT = 1000
_WORD = re.compile(r"(?<!\w)[а-яё]+(?!\w)")
HEADER = ("tokenizer", "vocabulary", "tokens", "Russian", "English", "frequent words", "CPU s")


def main() -> None:
    arguments = _arguments()
    arguments.output.mkdir(parents=True, exist_ok=True)
    words = _frequent_words(Corpus.of(arguments.russian, share=arguments.share).texts())
    rows = []
    for name, folder in (text.split("=", 1) for text in arguments.model):
        for scheme in arguments.schemes:
            kept = arguments.output / f"{name}-{scheme}.json"
            if not kept.is_file():
                row = {"tokenizer": name, "vocabulary": scheme} | _measured(folder, name, scheme, words, arguments)
                kept.write_text(json.dumps(row, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
            rows.append(json.loads(kept.read_text(encoding="utf-8")))
    print(table(rows))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows in Markdown: symbols a token on held-out text, and how many of the frequent words are one token."""
    lines = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    for row in rows:
        values = (
            row["tokenizer"], row["vocabulary"], f"{row['tokens']:,}", f"{row['russian']:.2f}", f"{row['english']:.2f}",
            str(row["frequent_words"]), "" if row["cpu_seconds"] is None else f"{row['cpu_seconds']:.0f}",
        )  # fmt: skip
        lines.append("| " + " | ".join(values) + " |")
    return "\n".join(lines)


def _measured(folder: str, name: str, scheme: str, words: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """tokens; russian, english: symbols a token; frequent_words: of FREQUENT that are one token; cpu_seconds."""
    began = time.process_time()
    if scheme == "own":
        made, seconds = open_model_tokenizer(folder).description.build(), None
    else:
        output = arguments.output / f"{name}-{scheme}"
        if not output.is_dir():
            _make(folder, name, scheme, output, arguments)
        made, seconds = Tokenizer.from_file(str(output / "tokenizer.json")), time.process_time() - began
    fit = {
        language: tokenizer_stats(scheme, made, Corpus.of(files).texts).symbols_per_token
        for language, files in (("russian", arguments.held_out), ("english", arguments.held_out_english))
    }
    single = frequent_words_whole(made, words)
    return {"tokens": made.get_vocab_size(), **fit, "frequent_words": single, "cpu_seconds": seconds}


def frequent_words_whole(tokenizer: Tokenizer, words: Sequence[str]) -> int:
    """How many of the words are one token after another word."""
    before = len(tokenizer.encode("я", add_special_tokens=False).ids)
    return sum(len(tokenizer.encode(f"я {word}", add_special_tokens=False).ids) == before + 1 for word in words)


def _make(folder: str, name: str, scheme: str, output: Path, arguments: argparse.Namespace) -> None:
    russian, both = tuple(arguments.russian), (*arguments.russian, *arguments.english)
    old = open_model_tokenizer(folder).description.build().get_vocab_size()
    share, size, added = arguments.share, arguments.size, arguments.added
    steps: dict[str, Any] = {
        "bpe": lambda: VocabBpe(both, share=share, size=size),
        "unigram": lambda: VocabUnigram(both, share=share, size=size),
        "extend": lambda: VocabExtend(russian, share=share, size=old + added),
        "optimize": lambda: VocabOptimize(both, share=share, size=old // 2 + added, keep=old // 2),
        "merge": lambda: VocabMerge(pieces=str(arguments.output / f"{name}-unigram")),
    }
    with tempfile.TemporaryDirectory(dir=arguments.output) as partial:
        steps[scheme]().make_tokenizer(
            folder, Path(partial) / "new", say=lambda line: print(f"{name} {scheme}: {line}")
        )
        (Path(partial) / "new").rename(output)


def _frequent_words(texts: Iterable[str]) -> list[str]:
    """The FREQUENT most frequent Russian words, lower case."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(_WORD.findall(text))
    return [word for word, _ in counts.most_common(FREQUENT)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--russian", nargs="+", required=True, metavar="FILE")
    parser.add_argument("--english", nargs="+", required=True, metavar="FILE")
    parser.add_argument("--share", type=float, default=1.0, help="of the documents that is learnt from")
    parser.add_argument("--held-out", nargs="+", required=True, metavar="FILE")
    parser.add_argument("--held-out-english", nargs="+", required=True, metavar="FILE")
    parser.add_argument("--schemes", nargs="+", default=list(SCHEMES), choices=SCHEMES)
    parser.add_argument("--size", type=int, default=32_000, help="tokens of bpe and unigram")
    parser.add_argument("--added", type=int, default=16_000, help="Russian tokens of extend and optimize")
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
