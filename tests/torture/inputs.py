"""Bad inputs: each is refused in one line (or is harmless), none is a traceback."""

from __future__ import annotations

import json
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.shared_data import case
from tests.torture.command import complaint, darumeru
from tests.torture.mutate import cut, mutated
from tests.torture.servers import TOKENIZER

TASK = """\
name: mine/words
group: mine
description: A task.
source: {repository: RefalMachine/darumeru, config: rcb, test: test}
format: standard
method: multiple_choice
choices: ["1", "2", "3"]
metrics: [acc]
score: [acc]
max_new_tokens: 8
few_shot: true
language: ru
"""
RUN = ("--engine", "transformers", "--data", "bundled", "--tasks", "darumeru/rcb", "--limit", "1")


def model_with(folder: Path, header: object) -> Path:
    """The demo model with another header of its weights."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(TOKENIZER, folder)
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    size = struct.unpack("<Q", whole[:8])[0]
    text = header if isinstance(header, bytes) else json.dumps(header).encode("utf-8", "surrogatepass")
    path.write_bytes(struct.pack("<Q", len(text)) + text + whole[8 + size :])
    return folder


def good_header() -> dict[str, object]:
    """The header of the demo model's weights."""
    whole = (TOKENIZER / "model.safetensors").read_bytes()
    header: dict[str, object] = json.loads(whole[8 : 8 + struct.unpack("<Q", whole[:8])[0]])
    return header


def check_header(rng: random.Random, folder: Path) -> str:
    """A model whose header of weights has one thing wrong, read as a run reads it before it loads."""
    from darumeru.core.errors import UserError
    from darumeru.models.model_files import find_model

    header = good_header()
    changed: object = mutated(rng, header)
    if rng.random() < 0.3:
        changed = cut(rng, json.dumps(header).encode())
    with suppress(ValueError, UserError):
        find_model(str(model_with(folder, changed)))
    return ""


def check_task_file(rng: random.Random, folder: Path) -> str:
    """A task file with one thing wrong."""
    import yaml

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "task.yaml"
    data = TASK.encode()
    if rng.random() < 0.6:
        changed = yaml.safe_dump(mutated(rng, yaml.safe_load(TASK)), allow_unicode=True, sort_keys=False)
        data = str(changed).encode("utf-8", "surrogatepass")
    else:
        data = cut(rng, data)
    path.write_bytes(data)
    return complaint(darumeru("tasks", "validate", str(path)), (0, 2))


def check_row(rng: random.Random, run: Path, folder: Path) -> str:
    """A finished run in which one line of a file has one thing wrong."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(run, folder)
    path = rng.choice(
        [*folder.glob("samples/*"), *folder.glob("questions/*"), folder / "plan.json", folder / "manifest.json"]
    )
    lines = [path.read_bytes()] if path.suffix == ".json" else path.read_bytes().splitlines(keepends=True)
    number = rng.randrange(len(lines))
    if rng.random() < 0.7:
        changed = json.dumps(mutated(rng, json.loads(lines[number]))) + "\n"
        lines[number] = changed.encode()
    else:
        lines[number] = cut(rng, lines[number])
    path.write_bytes(b"".join(lines))
    for verb in (("leaderboard", str(folder), "--format", "csv"), ("score", str(folder))):
        if wrong := complaint(darumeru(*verb), (0, 1, 2)):
            return f"{verb[0]} after {path.name}:{number + 1} {lines[number][:200]!r}: {wrong}"
    return ""


WORDS: tuple[tuple[str, ...], ...] = (
    ("--limit", "-1"), ("--limit", "x"), ("--limit", "1e5"), ("--seed", "-1"), ("--seed", "²"), ("--num-fewshot", "²"),
    ("--num-fewshot", "-1"), ("--max-length", "0"), ("--max-length", "9" * 5000), ("--resamples", "-5"),
    ("--engine", "vlm"), ("--engine-args", "{"), ("--engine-args", "[" * 10_000), ("--engine-args", "[]"),
    ("--engine-args", '{"a": NaN}'), ("--date", "yesterday"), ("--date", "2026-02-30"), ("--profile", "x"),
    ("--tasks", "nobody/nothing"), ("--tasks", "../../x"), ("--tasks", "lm_eval:none_such"),
    ("--include", "/nowhere"), ("--include", "/dev/null"), ("--chat-template", "/nowhere"), ("--data", "/nowhere"),
    ("--revision", "abc"), ("--lora", "/nowhere"), ("--tokenizer", "/nowhere"), ("--dtype", "float8"),
    ("--batch-size", "0"), ("--data-parallel", "0"), ("--output", "/proc/x"), ("--output", "/dev/null/x"),
    ("--config", "/nowhere"), ("--config", "/dev/null"), ("--thinking-tokens", "0"), ("--no-such-option",),
)  # fmt: skip


def check_words(words: tuple[str, ...], folder: Path) -> str:
    """A command line with one thing wrong."""
    given = ("run", "--model", str(TOKENIZER), *RUN, "--output", str(folder), *words)
    return complaint(darumeru(*given), (2,))


def cases(run: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """(name, what is wrong) of all the damaged files of the shared cases."""
    for path in sorted(case("nonsense_task_files").glob("*.yaml")):
        yield path.name, complaint(darumeru("tasks", "validate", str(path)), (2,))
    for path in sorted(case("template_errors").glob("*.jinja")):
        words = ("run", "--model", str(TOKENIZER), *RUN, "--output", str(folder / "t"), "--chat-template", str(path))
        yield path.name, complaint(darumeru(*words), (2,))
    command = [sys.executable, str(case("malformed_files.py")), str(TOKENIZER), str(run), str(folder / "damaged")]
    subprocess.run(command, check=True, capture_output=True)
    for damaged in sorted((folder / "damaged").iterdir()):
        if (damaged / "manifest.json").exists():
            for verb in ("leaderboard", "score"):
                yield f"{verb} {damaged.name}", complaint(darumeru(verb, str(damaged)), (0, 2))
        else:
            words = ("run", "--model", str(damaged), *RUN, "--output", str(folder / "m"))
            yield damaged.name, complaint(darumeru(*words), (2,))
