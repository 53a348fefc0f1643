"""Writes the small golden sample that lies beside this file, to be read by a person before it is committed:

    python -m tests.golden.write

prompts.json: what Darumeru asks for the first record of each bundled task, with the demo model's chat template and in
the plain format, with no examples and with two. totals.json: the scores of the answers of own_sample.py, computed by
derived.py, which knows nothing of Darumeru.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from darumeru.core.answer import Answer
from darumeru.engines.request import Generate, LogLikelihood, Request
from darumeru.prompts.builder import load_tokenizer
from darumeru.runs import evaluate
from darumeru.runs.config import RunConfig
from tests.golden.answering import Answering
from tests.golden.derived import scores
from tests.golden.own_sample import MODEL, TASKS

OWN = Path(__file__).parent / "own"
PROMPTS, TOTALS = OWN / "prompts.json", OWN / "totals.json"
WAYS = {f"{name}, {shots}-shot": (name, shots) for name in ("chat", "plain") for shots in (0, 2)}


def config(output: Path, **more: Any) -> RunConfig:
    """A run of the 17 tasks on the bundled data with the demo model's tokenizer."""
    return RunConfig(
        **{"model": str(MODEL), "output": output, "tasks": tuple(TASKS), "data": "bundled", "resamples": 0}
        | {"engine": "transformers", "num_fewshot": 0}
        | more
    )


def prompts(output: Path, way: str) -> dict[str, dict[str, Any]]:
    """What is asked first in each task, in one of WAYS."""
    name, shots = WAYS[way]
    engine = Answering(_anything)
    template = None if name == "chat" else "none"
    asked = config(output, num_fewshot=shots, chat_template=template, limit=1)
    run, failures = evaluate.run(asked, load_engine=engine.load)
    assert not failures.tasks and not run.results.failed
    requests = {request.text: request for request in reversed(engine.asked)}
    return {task: _shown(requests[next(run.rows(task)).prompt]) for task in TASKS}


def _anything(request: Request) -> Answer:
    if isinstance(request.kind, Generate):
        return Answer(text="", tokens=(), finish_reason="stop")
    if isinstance(request.kind, LogLikelihood):
        return Answer(logprobs=(-1.0,) * len(request.kind.continuation))
    return Answer(probabilities=dict.fromkeys(request.kind.labels, 0.1))


def _shown(request: Request) -> dict[str, Any]:
    """A request for people: lines of its prompt, number of its token ids, and what is wanted."""
    kind, tokenizer = request.kind, load_tokenizer(str(MODEL))
    if isinstance(kind, Generate):
        wanted: dict[str, Any] = {"generate": kind.max_new_tokens, "stop": list(kind.stop)}
    elif isinstance(kind, LogLikelihood):
        wanted = {"log-probability": tokenizer.decode(list(kind.continuation))}
    else:
        pairs = zip(kind.labels, kind.token_ids, strict=True)
        wanted = {"choices": {label: [tokenizer.decode([one]) for one in ids] for label, ids in pairs}}
    return {"prompt": request.text.split("\n"), "tokens": len(request.prompt), **wanted}


def main() -> None:
    OWN.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        found = {way: prompts(Path(folder) / str(number), way) for number, way in enumerate(WAYS)}
    for file, values in ((PROMPTS, found), (TOTALS, scores())):
        file.write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
