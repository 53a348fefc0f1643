"""lm-eval's rules for turning texts into token ids (lm-eval 0.4.13: TemplateLM.loglikelihood, HFLM.tok_encode)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Pair:
    """Token ids of a continuation and of what stands before it."""

    context: Ids
    continuation: Ids


class TokenRules:
    """Token ids as lm-eval's own models would make them, each distinct text tokenized once and all of them together.

    tokenizer: a transformers tokenizer.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        own = (tokenizer.bos_token_id, tokenizer.eos_token_id)
        self.prefix_token = next((token for token in own if token is not None), None)
        self._prefix_text = None if self.prefix_token is None else str(tokenizer.decode(self.prefix_token))

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of whole texts with the tokenizer's special tokens; a text that begins with BOS gets no second one."""
        found: dict[str, Ids] = {}
        opened = [text for text in dict.fromkeys(texts) if self._opened(text)]
        plain = [text for text in dict.fromkeys(texts) if not self._opened(text)]
        for group, special in ((opened, {"add_special_tokens": False}), (plain, {})):
            if group:
                found |= zip(group, map(tuple, self.tokenizer(group, **special)["input_ids"]), strict=True)
        return [found[text] for text in texts]

    def pairs(self, texts: Sequence[tuple[str, str]]) -> list[Pair]:
        """Ids of (context, continuation) texts: the context's are those of the context alone, the continuation's are
        what follows them when both are tokenized together. White space at the end of a context is moved into the
        continuation. An empty context becomes the BOS (or EOS) token. ValueError for a continuation without ids."""
        moved = [_space_moved(context, continuation) for context, continuation in texts]
        contexts = self.encode([context for context, _ in moved])
        wholes = self.encode([context + continuation for context, continuation in moved])
        alone = iter(
            self._without_context([rest for (context, _), (_, rest) in zip(texts, moved, strict=True) if not context])
        )
        pairs = []
        for (context, _), ids, whole in zip(texts, contexts, wholes, strict=True):
            pairs.append(Pair(ids, whole[len(ids) :]) if context else next(alone))
            if not pairs[-1].continuation:
                raise ValueError(f"the continuation {texts[len(pairs) - 1][1]!r} has no token ids of its own")
        return pairs

    def windows(self, text: str, max_length: int) -> list[Pair]:
        """The text in windows of at most max_length tokens, context included; each token is predicted once, the first
        one after BOS (or EOS)."""
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

        windows = get_rolling_token_windows(
            token_list=list(self.encode([text])[0]),
            prefix_token=self._prefix(),
            max_seq_len=max_length - 1,
            context_len=1,
        )
        return [Pair(tuple(context), tuple(rest)) for context, rest in map(make_disjoint_window, windows)]

    def _opened(self, text: str) -> bool:
        return self._prefix_text is not None and text.startswith(self._prefix_text)

    def _prefix(self) -> int:
        if self.prefix_token is None:
            raise ValueError("the tokenizer has neither a BOS nor an EOS token to stand for an empty context")
        return int(self.prefix_token)

    def _without_context(self, texts: Sequence[str]) -> list[Pair]:
        if not texts:
            return []
        prefix = self._prefix()
        encoded = map(tuple, self.tokenizer(list(texts), add_special_tokens=False)["input_ids"])
        return [Pair(ids[:1], ids[1:]) if ids[:1] == (prefix,) else Pair((prefix,), ids) for ids in encoded]


def _space_moved(context: str, continuation: str) -> tuple[str, str]:
    bare = context.rstrip()
    return bare, context[len(bare) :] + continuation
