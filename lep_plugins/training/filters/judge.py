"""A language model as judge, behind any OpenAI-compatible server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darumeru.core.errors import RunFailed, UserError, near_names
from darumeru.engines import Engine, EngineDied, EngineOptions, Generate, Message, Request, load_engine
from lep_plugins.training.conversations import Conversation
from lep_plugins.training.keyed_log import KeyedLog

TEMPLATE = """\
Оцените ответ помощника на запрос пользователя по каждому из двух признаков целым числом от 1 до 5.
grammar: грамотность и естественность языка ответа (5 - без ошибок, 1 - непонятный текст).
relevance: насколько ответ относится к запросу и выполняет его (5 - полностью, 1 - совсем нет).

Запрос:
<<<
{instruction}
>>>

Ответ помощника:
<<<
{answer}
>>>

Напишите только JSON-объект вида {"grammar": 1, "relevance": 1} со своими числами и ничего больше."""
CRITERIA = ("grammar", "relevance")
NAMES = ("instruction", "answer")
LOWEST, HIGHEST = 1, 5
_NAME = re.compile(r"\{(\w+)\}")
_FENCED = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)

UNREADABLE, FAILED = "score not readable", "judge gave no answer"


@dataclass(frozen=True)
class JudgeFilter:
    """url: the server's address. model: which of several that it serves. template: the prompt, in which {instruction}
    and {answer} are filled in; it must ask for a JSON object of the criteria with whole numbers from 1 to 5. A
    conversation with any criterion below `minimum` is rejected; so is one whose score cannot be read.

    Paper (section 2.4): LLaMA-3-70B grades grammar and relevance, below 4 is dropped. UserError: no address, a name in
    the template that is not known.
    """

    url: str = ""
    model: str | None = None
    template: str = TEMPLATE
    criteria: tuple[str, ...] = CRITERIA
    minimum: int = 4
    max_new_tokens: int = 64
    concurrency: int = 32
    timeout: float = 600.0
    retries: int = 5
    backoff: float = 0.5

    def __post_init__(self) -> None:
        if not self.url:
            raise UserError("the judge has no address", "filter judge", "set url, for example http://HOST:8000/v1")
        if not self.criteria or not LOWEST <= self.minimum <= HIGHEST:
            raise UserError("minimum is a whole number from 1 to 5 and criteria are not empty", "filter judge")
        used = _NAME.findall(self.template)
        for name in used:
            if name not in NAMES:
                mend = f"known: {', '.join(NAMES)}"
                raise UserError(f"template names {{{name}}}", "filter judge", mend, near_names(name, NAMES))
        if missing := set(NAMES) - set(used):
            raise UserError(f"template does not name {{{min(missing)}}}", "filter judge")

    def check(self) -> None:
        """UserError: nobody answers at the address, or no chat server."""
        self._engine().close()

    def reasons(self, conversations: Sequence[Conversation], memory: Path) -> Iterator[tuple[int, str]]:
        """See Filter.reasons: "grammar below 4" and so on, "score not readable", "judge gave no answer".

        Verdicts are kept in `memory`; a question at which the server failed is asked again by the next run. RunFailed
        when the server goes away.
        """
        job = {"template": self.template, "criteria": list(self.criteria), "model": self.model}
        with KeyedLog(memory, job) as log:
            left = []
            for index, conversation in enumerate(conversations):
                if conversation.key in log.found:
                    yield index, self.reason(log.found[conversation.key]["said"])
                else:
                    left.append(index)
            if left:
                yield from self._ask(conversations, left, log)

    def _ask(
        self, conversations: Sequence[Conversation], left: Sequence[int], log: KeyedLog
    ) -> Iterator[tuple[int, str]]:
        kind = Generate(self.max_new_tokens)
        requests = [Request((), kind, messages=(Message("user", self.prompt(conversations[index])),)) for index in left]
        engine = self._engine()
        try:
            for place, answer in engine.answer(requests):
                index = left[place]
                if answer.error or answer.text is None:
                    yield index, FAILED
                    continue
                log.add(conversations[index].key, {"said": answer.text})
                yield index, self.reason(answer.text)
        except EngineDied as error:
            raise RunFailed(f"the judge stopped: {error}; its verdicts so far are in {log.path}") from error
        finally:
            engine.close()

    def prompt(self, conversation: Conversation) -> str:
        """The template with the conversation filled in; braces in the conversation stay as they are."""
        values = {"instruction": conversation.question, "answer": conversation.answer}
        return _NAME.sub(lambda match: values[match[1]], self.template)

    def reason(self, said: str) -> str:
        """Why a conversation is rejected of which the judge said this; "" when it is kept."""
        scores = read_scores(said, self.criteria)
        if scores is None:
            return UNREADABLE
        return next((f"{name} below {self.minimum}" for name in self.criteria if scores[name] < self.minimum), "")

    def _engine(self) -> Engine:
        extra: dict[str, Any] = {name: getattr(self, name) for name in ("concurrency", "timeout", "retries", "backoff")}
        if self.model:
            extra["model"] = self.model
        return load_engine("openai", EngineOptions(model=self.url, extra=extra))


def read_scores(said: str, criteria: Sequence[str]) -> Mapping[str, int] | None:
    """The scores in a judge's answer, which is one JSON object, bare or in one code fence, with exactly the criteria
    and whole numbers from 1 to 5; None for anything else."""
    text = said.strip()
    if fenced := _FENCED.fullmatch(text):
        text = fenced[1]
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if not isinstance(value, dict) or set(value) != set(criteria):
        return None
    good = all(type(score) is int and LOWEST <= score <= HIGHEST for score in value.values())
    return value if good else None
