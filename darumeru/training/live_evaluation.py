"""The same small set of questions to a model at every point of its training, each point a run folder of its own."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from darumeru.core.errors import RunFailed, UserError
from darumeru.engines.protocol import Engine
from darumeru.prompts.builder import PromptBuilder
from darumeru.runs import manifest as manifests
from darumeru.runs.execute import Outcome, pending_samples, stream
from darumeru.runs.options import RunOptions
from darumeru.runs.plan import Plan, Planner
from darumeru.runs.progress import Progress, Silent
from darumeru.runs.results import Results
from darumeru.runs.score import score_run
from darumeru.runs.sources import open_sources, split
from darumeru.runs.store import SampleStore
from darumeru.runs.stored_plan import write_plan
from darumeru.tasks.registry import load_registry


class LiveEvaluation:
    """The plan of a training run's evaluations, made once: which samples, as which requests.

    options: tasks, data, profile, limit, subset_seed and the rest of a run; `model` is the name in manifests. context:
    positions of the model. UserError for anything that is wrong with them, before training begins.
    """

    def __init__(self, options: RunOptions, tokenizer: Any, context: int | None) -> None:
        self.options = options
        self.builder = PromptBuilder(tokenizer, options.prompts)
        own, foreign = split(options.tasks)
        specs = load_registry(options.profile, options.include).select(own)
        sources = open_sources(foreign, options)
        self.planner = Planner(options, self.builder, self.builder.template_hash, context)
        self.plan: Plan = self.planner.plan(specs, sources)
        if not self.plan.planned:
            raise UserError("there is no sample to ask", ", ".join(options.tasks), "check tasks, data and limit")

    @property
    def incomplete(self) -> dict[str, str]:
        """Task -> why it will have no complete score, as far as the plan shows it."""
        found = {
            task.spec.name: task.error
            or (
                f"{len(task.too_long)} prompts do not fit into {self.plan.max_length} tokens" if task.too_long else None
            )
            for task in self.plan.tasks
        }
        return {name: reason for name, reason in found.items() if reason}

    @property
    def canary(self) -> Sequence[int]:
        """A prompt on which engine and model are compared."""
        return self.plan.planned[0].request.prompt

    def run(self, engine: Engine, folder: Path, step: int, progress: Progress | None = None) -> Results:
        """Ask everything and score it in `folder`, from the beginning: weights of another moment gave what lies there.

        RunFailed when the engine dies. A task that fails is in Results.failed.
        """
        shutil.rmtree(folder, ignore_errors=True)
        manifest = self._manifest(engine, step)
        with SampleStore(folder) as store:
            write_plan(folder, self.plan)
            manifests.write_manifest(folder, manifest)
            outcome: Outcome = stream(engine, pending_samples(self.plan, store), store.append, progress or Silent())
            manifest |= {"status": "interrupted" if outcome.died else "finished", "finished": manifests.now()}
            manifests.write_manifest(folder, manifest)
            results = score_run(folder, manifest, outcome.failures)
        if outcome.died:
            raise RunFailed(f"the engine died: {outcome.died}")
        return results

    def _manifest(self, engine: Engine, step: int) -> dict[str, Any]:
        options = self.options
        fingerprint = hashlib.sha256(f"{options.model} {options.output} {step} {manifests.now()}".encode()).hexdigest()
        record = {"name": f"{options.model} step {step}", "fingerprint": f"live:{fingerprint}"}
        template = {
            "hash": self.builder.template_hash,
            "chat": self.builder.is_chat,
            "system_prompt": options.prompts.system_prompt,
            "thinking": options.prompts.thinking,
        }
        manifest = manifests.make_manifest(options, self.plan, record, template)
        return manifest | {
            "num_fewshot_used": self.planner.num_fewshot,
            "training_step": step,
            "engine": {"name": engine.name, "dtype": "the model's", "args": {}},
        }
