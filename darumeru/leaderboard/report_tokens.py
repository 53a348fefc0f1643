"""Where the tokens of a stored prompt and answer begin and end, so that a page can colour them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from darumeru.core.errors import UserError
from darumeru.core.row import SampleRow

# Prompt tokens whose boundaries a report holds; past them it would outgrow the texts themselves.
MOST_PROMPT_TOKENS = 6_000_000


class TaskTokens(Protocol):
    """Marks the samples of one task."""

    def mark(self, row: SampleRow) -> Mapping[str, Sequence[int]]:
        """ "prompt" and "answer" -> length of each token in code points; a part whose boundaries are not known for
        certain is left out."""
        ...


class TokenMarker(Protocol):
    """Marks the samples of a run."""

    def for_task(self, rows: int) -> TaskTokens:
        """The marker of a task with that many samples."""
        ...


class _NoTokens:
    def for_task(self, rows: int) -> TaskTokens:
        return self

    def mark(self, row: SampleRow) -> Mapping[str, Sequence[int]]:
        return {}


NO_TOKENS = _NoTokens()


@dataclass(frozen=True)
class Tokenized:
    """A marker with a fast transformers tokenizer. tasks: how many share the budget of prompt tokens."""

    tokenizer: Any
    tasks: int
    budget: int = MOST_PROMPT_TOKENS

    def for_task(self, rows: int) -> TaskTokens:
        return _Budgeted(self.tokenizer, self.budget // max(self.tasks, 1))


@dataclass
class _Budgeted:
    tokenizer: Any
    left: int

    def mark(self, row: SampleRow) -> Mapping[str, Sequence[int]]:
        found = {}
        if row.prompt_tokens <= self.left:
            prompt = prompt_lengths(self.tokenizer, row.prompt, row.prompt_tokens)
            if prompt:
                self.left -= len(prompt)
                found["prompt"] = prompt
        if row.answer.text and row.answer.tokens:
            answer = answer_lengths(self.tokenizer, row.answer.text, row.answer.tokens)
            if answer:
                found["answer"] = answer
        return found


def prompt_lengths(tokenizer: Any, text: str, count: int) -> list[int]:
    """Length in code points of each token of a prompt; empty when this tokenizer does not make `count` tokens of it,
    give or take the BOS that the prompt builder puts before it."""
    ids, lengths = _encoded(tokenizer, text)
    return lengths if ids and 0 <= count - len(ids) <= 1 else []


def answer_lengths(tokenizer: Any, text: str, tokens: Sequence[int]) -> list[int]:
    """Length in code points of each generated token; empty when it cannot be told.

    Canonical answers are encoded again. Others are put together from their tokens' texts; a character that needs
    several tokens belongs to the last of them. A stop string cuts tokens off the end of the text.
    """
    ids, lengths = _encoded(tokenizer, text)
    if ids and ids == list(tokens[: len(ids)]):
        return lengths
    lengths, done, waiting = [], 0, []
    for token in tokens:
        waiting.append(token)
        piece = tokenizer.decode(waiting, skip_special_tokens=True)
        if piece and text.startswith(piece, done):
            lengths.append(len(piece))
            done += len(piece)
            waiting = []
        else:
            lengths.append(0)
        if len(waiting) > 4:
            return []
        if done == len(text):
            return lengths
    return []


def _encoded(tokenizer: Any, text: str) -> tuple[list[int], list[int]]:
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    lengths, done = [], 0
    for _, end in encoded["offset_mapping"]:
        lengths.append(max(end - done, 0))
        done = max(end, done)
    ids = list(encoded["input_ids"])
    return (ids, lengths) if done == len(text) else ([], [])


def run_tokenizer(manifest: Mapping[str, Any], asked: str | None) -> Any | None:
    """The tokenizer that the run's prompts were made with: the folder or Hub id `asked` for, else the local folder in
    the command of the manifest, when it is still there and still the same.

    Raises UserError when the tokenizer asked for is another one or has no offsets (not a fast tokenizer).
    """
    from darumeru.models.model_files import find_model
    from darumeru.prompts.builder import load_tokenizer

    folder = asked or _folder(manifest)
    if folder is None:
        return None
    wanted = manifest.get("tokenizer", {}).get("fingerprint")
    try:
        files = find_model(folder, weights=False)
    except UserError:
        if asked:
            raise
        return None
    if files.tokenizer_fingerprint != wanted:
        if asked:
            raise UserError("is not the tokenizer of this run: its fingerprint differs", folder, "name the run's own")
        return None
    tokenizer = load_tokenizer(str(files.path))
    if not tokenizer.is_fast:
        if asked:
            raise UserError("has no tokenizer.json, so the places of its tokens are not known", folder)
        return None
    return tokenizer


def _folder(manifest: Mapping[str, Any]) -> str | None:
    command = [str(part) for part in manifest.get("command") or ()]
    for flag in ("--tokenizer", "--model"):
        for place, part in enumerate(command):
            value = part.removeprefix(f"{flag}=") if part.startswith(f"{flag}=") else None
            if part == flag and place + 1 < len(command):
                value = command[place + 1]
            if value and Path(value).expanduser().is_dir():
                return value
    return None
