"""The same small set of questions to a model at every point of its training, each point a run folder of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.engines.lent import lent
from darumeru.engines.protocol import Engine
from darumeru.engines.request import Generate, LogLikelihood, Request
from darumeru.runs.config import AskConfig
from darumeru.runs.progress import Progress, Silent
from darumeru.runs.results import Results
from darumeru.runs.session import Session
from darumeru.runs.subject import live_subject

# Requests whose keys and values are worth holding at once.
AT_ONCE = 64


class LivePlan:
    """The plan of a training run's evaluations, made once: which samples, as which requests.

    config: what to ask. name: of the model in manifests. engine: that is going to answer. context: positions of the
    model. UserError for anything that is wrong with them, before training begins.
    """

    def __init__(self, config: AskConfig, name: str, tokenizer: Any, context: int | None, engine: str = "vllm") -> None:
        today = date.fromisoformat(config.date) if config.date else date.today()
        self.name = name
        self.session = Session.prepare(config, live_subject(name, engine, tokenizer, context, config, today))
        if not self.session.plan.planned:
            raise UserError("there is no sample to ask", ", ".join(config.patterns), "check tasks, data and limit")

    @property
    def incomplete(self) -> Mapping[str, str]:
        """Task -> why it will have no complete score, as far as the plan shows it."""
        return self.session.incomplete

    @property
    def canary(self) -> Sequence[int]:
        """A prompt on which engine and model are compared."""
        return self.session.plan.planned[0].request.prompt

    @property
    def tokens(self) -> int:
        """Prompts and answers of the longest requests, as many as are worth holding at once."""
        lengths = [_length(request) for one in self.session.plan.planned for request in one.requests]
        return sum(sorted(lengths)[-AT_ONCE:])

    def run(self, engine: Engine, folder: Path, step: int, progress: Progress | None = None) -> Results:
        """Ask everything and score it in `folder`, from the beginning: weights of another moment gave what lies there.

        RunFailed when the engine dies. A task that fails is in Results.failed.
        """
        session = self.session.answered_by(engine.name, f"{self.name} step {step}", progress or Silent())
        run, _ = session.carry_out(
            folder,
            lambda _name, _options: lent(engine),
            fresh=True,
            about={"training_step": step},
        )
        return run.results


def _length(request: Request) -> int:
    """Tokens of prompt and answer together."""
    kind, new = request.kind, 1
    if isinstance(kind, Generate):
        new = kind.max_new_tokens
    elif isinstance(kind, LogLikelihood):
        new = len(kind.continuation) + 1
    return len(request.prompt) + new
