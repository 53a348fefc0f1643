"""The probe as a training signal: one number at each evaluation of a trainer, and a curve."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from darumeru.leaderboard.curve import Point, add_point
from darumeru.runs.results import Score
from lep_plugins.probing.languages import LanguageProbe, Pair, Pool, bundled_pairs, probe_languages
from lep_plugins.probing.report import GAIN

METRIC = "eval_language_gain"


class LanguageProbeCallback(TrainerCallback):  # type: ignore[misc]
    """Puts `eval_language_gain` into the metrics of each evaluation, where `metric_for_best_model` and early stopping
    read it, appends the probe to OUTPUT/languages.jsonl and its gain to OUTPUT/languages/curve.jsonl, and draws
    curve.png beside that.

    pairs: (Russian, English); default the bundled ones. The first process computes where the model is whole on it; a
    model that is sharded over processes is not probed while it trains.
    """

    def __init__(self, pairs: Sequence[Pair] = (), output: str | Path | None = None, pool: Pool = "mean") -> None:
        self.pairs = list(pairs) or bundled_pairs()
        self.output = output
        self.pool = pool
        self.probes: dict[int, LanguageProbe] = {}

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any) -> None:
        """Called by the trainer."""
        from darumeru.core.ranks import on_first

        model, tokenizer = kwargs["model"], kwargs.get("processing_class") or kwargs.get("tokenizer")
        step = int(state.global_step)
        probe = on_first(lambda: probe_languages(model, tokenizer, self.pairs, self.pool))
        self.probes[step] = probe
        metrics[METRIC] = probe.gain
        if state.is_world_process_zero:
            self._write(Path(self.output or args.output_dir), step, probe)

    def _write(self, folder: Path, step: int, probe: LanguageProbe) -> None:
        (folder / "languages").mkdir(parents=True, exist_ok=True)
        with (folder / "languages.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"schema": 1, "step": step, **probe.to_dict()}) + "\n")
        score = Score(probe.gain, probe.low, probe.high)
        point = Point(step, {"language gain": score}, measures={"language gain": GAIN})
        add_point(folder / "languages" / "curve.jsonl", point)
