"""Answers of the original instruct model to instruction prompts, greedy, appended to a file as they come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from darumeru.core.errors import RunFailed, UserError
from darumeru.engines import Engine, EngineDied, EngineOptions, Generate, Request, engine_registry, load_engine
from darumeru.models.model_files import find_model
from darumeru.prompts.builder import PromptBuilder, load_tokenizer
from lep_plugins.training.conversations import Conversation
from lep_plugins.training.keyed_log import KeyedLog

UNANSWERED, CUT = "synthesis: not answered", "synthesis: cut at max_new_tokens"


@dataclass(frozen=True)
class Synthesis:
    """How questions are answered. teacher: a model folder or Hub id, as a rule the original instruct model. engine:
    "vllm" (the transformers engine takes its place where vLLM cannot run) or another engine's name.
    max_new_tokens: of one answer. max_length: tokens of question and answer. engine_args: passed to the engine."""

    teacher: str
    engine: str = "vllm"
    max_new_tokens: int = 2048
    max_length: int = 8192
    dtype: str = "auto"
    seed: int = 0
    engine_args: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """UserError, before anything is loaded: unknown engine, no such model, a model without a chat template."""
        engine_registry().origin(self.engine)
        if not find_model(self.teacher).has_chat_template:
            raise UserError("the model that shall answer has no chat template", self.teacher, "name an instruct model")

    def run(self, questions: Sequence[Conversation], path: Path, say: Callable[[str], None] = print) -> Synthesized:
        """Answer the questions that `path` (JSONL) has no answer to yet, appending each answer as it comes.

        Greedy decoding. Raises RunFailed when the engine dies: what is answered stays, the next run asks the rest.
        UserError: a file of another job, anything the engine refuses.
        """
        with KeyedLog(path, self._job()) as log:
            left = [question for question in questions if question.key not in log.found]
            if left:
                say(f"synthesis: {len(questions) - len(left)} of {len(questions)} questions are answered already")
                self._ask(left, log, say)
            return _sorted_out(questions, log)

    def _job(self) -> dict[str, Any]:
        files = find_model(self.teacher)
        return {
            "model": files.fingerprint,
            "tokenizer": files.tokenizer_fingerprint,
            "max_new_tokens": self.max_new_tokens,
            "max_length": self.max_length,
        }

    def _ask(self, questions: Sequence[Conversation], log: KeyedLog, say: Callable[[str], None]) -> None:
        files = find_model(self.teacher)
        builder = PromptBuilder(load_tokenizer(str(files.path)))
        texts = [builder.text(question.messages) for question in questions]
        kind = Generate(self.max_new_tokens)
        requests = [
            Request(tuple(ids), kind, text, question.messages, question.key)
            for question, text, ids in zip(questions, texts, builder.ids(texts), strict=True)
        ]
        options = EngineOptions(
            model=str(files.path),
            dtype=self.dtype,
            max_model_len=min(self.max_length, files.context_length or self.max_length),
            seed=self.seed,
            extra=dict(self.engine_args),
            log_file=str(log.path.with_suffix(".log")),
        )
        engine = self._engine(options, say)
        try:
            for done, (index, answer) in enumerate(engine.answer(requests), 1):
                said = {"error": answer.error} if answer.error else {"finish_reason": answer.finish_reason}
                log.add(questions[index].key, {"question": questions[index].question, "answer": answer.text, **said})
                if done % 500 == 0:
                    say(f"synthesis: {done} of {len(questions)} questions answered")
        except EngineDied as error:
            raise RunFailed(f"synthesis stopped: {error}; the answers so far are in {log.path}") from error
        finally:
            engine.close()

    def _engine(self, options: EngineOptions, say: Callable[[str], None]) -> Engine:
        try:
            return load_engine(self.engine, options)
        except UserError as error:
            if self.engine != "vllm" or self.engine_args:
                raise
            say(f"vLLM cannot be used here ({error.line()}): the transformers engine answers, which is slower")
            return load_engine("transformers", options)


@dataclass(frozen=True)
class Synthesized:
    """conversations: the questions that were answered in full. rejected: reason -> how many were not."""

    conversations: tuple[Conversation, ...]
    rejected: Counter[str]


def _sorted_out(questions: Sequence[Conversation], log: KeyedLog) -> Synthesized:
    kept, rejected = [], Counter[str]()
    for question in questions:
        found = log.found[question.key]
        if found.get("error") or not (found["answer"] or "").strip():
            rejected[UNANSWERED] += 1
        elif found["finish_reason"] == "length":  # its end would teach the model to stop in mid-sentence
            rejected[CUT] += 1
        else:
            kept.append(question.answered(found["answer"].strip(), "synthesis"))
    return Synthesized(tuple(kept), rejected)
