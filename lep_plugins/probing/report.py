"""Probes of several models as JSON, as a figure and as a page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from darumeru.core.files import to_json, write_atomically
from darumeru.leaderboard.curve_chart import Axis, Line, png, svg
from darumeru.metrics.measure import Measure
from darumeru.runs.results import Score
from lep_plugins.probing.languages import LanguageProbe, difference

SCHEMA = 1
LAYERS = Axis("layer", "layer", lambda place: f"{place:.0f}")
GAIN = Measure("language_gain", low=-2, high=2)
ABOUT = "Similarity of Russian sentences and their English translations, less that of unrelated ones, by layer"


def make_report(found: Mapping[str, LanguageProbe]) -> dict[str, Any]:
    """Plain JSON: model -> probe, from the second on with its difference to the first: (gain, low, high), where both
    read the same pairs."""
    first = next(iter(found.values()))
    models: dict[str, Any] = {}
    for name, probe in found.items():
        models[name] = probe.to_dict()
        if probe is not first:
            models[name]["difference"] = list(difference(first, probe))
    return {"schema": SCHEMA, "models": models}


def lines(found: Mapping[str, LanguageProbe]) -> list[Line]:
    """A curve over the layers for each model."""
    return [
        Line(name, [(one.layer, Score(one.gain, one.low, one.high)) for one in probe.layers], True, GAIN)
        for name, probe in found.items()
    ]


def write_report(report: Mapping[str, Any], found: Mapping[str, LanguageProbe], folder: Path) -> None:
    """Write languages.json, languages.png and languages.html, each whole."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "languages.json", to_json(dict(report)))
    drawn = png([(lines(found), LAYERS)], ABOUT)
    if drawn:
        write_atomically(folder / "languages.png", drawn)
    head = f'<!doctype html><meta charset="utf-8"><title>{ABOUT}</title><h1>{ABOUT}</h1>'
    write_atomically(folder / "languages.html", head + str(svg(lines(found), ABOUT, LAYERS)))
