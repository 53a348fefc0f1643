"""tokenizer.json as a value: a scheme takes one description and returns another."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from darumeru.models.token_bytes import TokenTable, backend

Merge = tuple[str, str]


@dataclass(frozen=True)
class Description:
    """The whole of a tokenizer.json, normalized by the `tokenizers` library (merges are pairs, whatever form the
    file had)."""

    data: Mapping[str, Any]

    @classmethod
    def of(cls, tokenizer: Any) -> Description:
        """Describe a `tokenizers.Tokenizer` or a fast transformers tokenizer."""
        return cls(json.loads(backend(tokenizer).to_str()))

    @property
    def model(self) -> str:
        """The kind of model: "BPE" or "Unigram"."""
        return str(self.data["model"]["type"])

    @cached_property
    def vocab(self) -> dict[str, int]:
        """Vocabulary string -> id, added tokens included."""
        vocab = self.data["model"]["vocab"]
        pieces = {piece: position for position, (piece, _) in enumerate(vocab)} if isinstance(vocab, list) else vocab
        return {**pieces, **{token["content"]: token["id"] for token in self.added}}

    @property
    def scores(self) -> dict[str, float]:
        """Piece -> log-probability of a Unigram model."""
        return {piece: score for piece, score in self.data["model"]["vocab"]}

    @cached_property
    def merges(self) -> list[Merge]:
        """The merges of a BPE model in order of priority; none for Unigram."""
        return [(left, right) for left, right in self.data["model"].get("merges", [])]

    @property
    def added(self) -> list[dict[str, Any]]:
        """The added tokens, special or not, with their flags."""
        return list(self.data["added_tokens"])

    @cached_property
    def table(self) -> TokenTable:
        """The bytes of every token."""
        return TokenTable.of(self.build())

    def build(self) -> Any:
        """The `tokenizers.Tokenizer`."""
        from tokenizers import Tokenizer

        return Tokenizer.from_str(json.dumps(self.data, ensure_ascii=False))

    def with_bpe(self, vocab: Mapping[str, int], merges: Sequence[Merge]) -> Description:
        """The same tokenizer with other tokens. vocab must name every added token: their ids, and those in the
        post-processor and the padding, follow the names."""
        ordered = dict(sorted(vocab.items(), key=lambda item: item[1]))
        model = {**self.data["model"], "vocab": ordered, "merges": [list(merge) for merge in merges]}
        return self._with_model(model, vocab)

    def with_unigram(self, scores: Sequence[tuple[str, float]], unknown: str | None) -> Description:
        """The same tokenizer with other pieces, in order of id; added tokens must be among them."""
        vocab = {piece: position for position, (piece, _) in enumerate(scores)}
        model = {
            **self.data["model"],
            "vocab": [list(item) for item in scores],
            "unk_id": None if unknown is None else vocab[unknown],
        }
        return self._with_model(model, vocab)

    def _with_model(self, model: Mapping[str, Any], vocab: Mapping[str, int]) -> Description:
        data = {**copy.deepcopy({key: value for key, value in self.data.items() if key != "model"}), "model": model}
        for token in data["added_tokens"]:
            token["id"] = vocab[token["content"]]
        data["added_tokens"].sort(key=lambda token: token["id"])
        data["post_processor"] = _renumbered(data.get("post_processor"), vocab)
        if data.get("padding"):
            data["padding"]["pad_id"] = vocab[data["padding"]["pad_token"]]
        return Description(data)


def _renumbered(processor: Any, vocab: Mapping[str, int]) -> Any:
    """A post-processor whose ids are those that `vocab` gives to its token names."""
    if not isinstance(processor, dict):
        return processor
    changed = dict(processor)
    if processor["type"] == "Sequence":
        changed["processors"] = [_renumbered(part, vocab) for part in processor["processors"]]
    elif processor["type"] == "TemplateProcessing":
        changed["special_tokens"] = {
            name: {**entry, "ids": [vocab[token] for token in entry["tokens"]]}
            for name, entry in processor["special_tokens"].items()
        }
    elif processor["type"] in ("BertProcessing", "RobertaProcessing"):
        changed |= {part: [processor[part][0], vocab[processor[part][0]]] for part in ("sep", "cls")}
    return changed
