"""The right numbers of a model: plain transformers, one prompt at a time, no padding, no cache."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from darumeru.engines import Answer, Generate, LogLikelihood, MultipleChoice, Request

TEXTS = (
    "Столица Франции",
    "Прочитай текст.\n1. Первое\n2. Второе\nКакое верно? Ответь одной цифрой.\nОтвет: ",
    "Вопрос 12: сколько будет 3 + 4? Кошка спит на окне, the cat sleeps on the window sill. " * 3,
)
CONTINUATIONS = ("1", " два слова и ещё", " два слова, and more of them")


class Plain:
    """model: whatever AutoModelForCausalLM makes of the folder. dtype: "auto" is that of its weights."""

    def __init__(self, folder: Path, dtype: str = "auto") -> None:
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        # Mistral 3 has no class of its own for text alone.
        mistral3 = AutoConfig.from_pretrained(folder).model_type == "mistral3"
        auto = AutoModelForImageTextToText if mistral3 else AutoModelForCausalLM
        self.model = auto.from_pretrained(folder, dtype=dtype).eval()

    def scores(self, ids: Sequence[int]) -> Any:
        """Log-probabilities after each position, [positions, vocabulary], float32."""
        import torch

        with torch.no_grad():
            logits = self.model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0]
        return logits.float().log_softmax(-1)

    def requests(self) -> list[Request]:
        """See `requests_of`."""
        return requests_of(self.tokenizer)

    def differences(self, requests: Sequence[Request], answers: Sequence[Answer], bound: float) -> list[str]:
        """What is wrong with the answers, in words; empty when all are right within the bound."""
        wrong = []
        for number, (request, answer) in enumerate(zip(requests, answers, strict=True)):
            said = answer.error or self._difference(request, answer, bound)
            if said:
                wrong.append(f"{number} {type(request.kind).__name__}: {said}")
        return wrong

    def _difference(self, request: Request, answer: Answer, bound: float) -> str:
        kind = request.kind
        if isinstance(kind, Generate):
            return self._text_difference(request.prompt, answer.tokens or (), kind.max_new_tokens, bound)
        if isinstance(kind, MultipleChoice):
            row = self.scores(request.prompt)[-1]
            right = [float(row[list(ids)].max()) for ids in kind.token_ids]
            ours = [math.log(value) if value else -math.inf for value in (answer.probabilities or {}).values()]
        else:
            rows = self.scores([*request.prompt, *kind.continuation])[len(request.prompt) - 1 :]
            right = [float(row[token]) for row, token in zip(rows, kind.continuation, strict=False)]
            ours = list(answer.logprobs or ())
        if len(ours) != len(right):
            return f"{len(ours)} numbers instead of {len(right)}"
        worst = max((abs(a - b) for a, b in zip(ours, right, strict=True)), default=0.0)
        return f"differs by {worst:.6f}" if not worst <= bound else ""

    def _text_difference(self, prompt: Sequence[int], tokens: Sequence[int], budget: int, bound: float) -> str:
        """Each token must be within the bound of the best one, given the tokens before it; an early end must be the
        model's."""
        rows = self.scores([*prompt, *tokens])[len(prompt) - 1 :]
        for place, token in enumerate(tokens):
            lost = float(rows[place].max() - rows[place][token])
            if lost > bound:
                return f"token {place} is {lost:.4f} worse than the best"
        if len(tokens) < budget and int(rows[len(tokens)].argmax()) not in self.end_ids:
            return f"ends after {len(tokens)} tokens"
        return ""

    @property
    def end_ids(self) -> set[int]:
        """Ids that end a text, from the generation config and the tokenizer."""
        listed = self.model.generation_config.eos_token_id
        ids = listed if isinstance(listed, list) else [listed]
        return {token for token in (*ids, self.tokenizer.eos_token_id) if token is not None}


def requests_of(tokenizer: Any) -> list[Request]:
    """For each text: choices among single tokens, a generation, and continuations of which two begin alike."""
    made = []
    tails = [tuple(tokenizer(each, add_special_tokens=False).input_ids) for each in CONTINUATIONS]
    labels = [tokenizer(each, add_special_tokens=False).input_ids[-1] for each in ("1", "2", "а", " Я")]
    choice = MultipleChoice(("1", "2", "а", "Я"), tuple((each,) for each in labels))
    for text in TEXTS:
        prompt = tuple(tokenizer(text).input_ids)
        made += [Request(prompt, choice), Request(prompt, Generate(12))]
        made += [Request(prompt, LogLikelihood(tail)) for tail in tails]
    return made
