"""The tables of the LEP study (recipes/small.yaml, recipes/small-cpu.yaml), as in docs/reproduction.md.

    python -m benchmarks.study adapted/small       # OUTPUT of `darumeru adapt`; several are read one after another

Each cell is the mean over the seeds that are there, with the lowest and highest seed in brackets where there are more
than one. Differences are of two models of one seed on the same texts or sentences, with 95 % paired bootstrap intervals
over them; a claim holds where every seed's interval lies on its side of zero, is contradicted where every one lies on
the other, and cannot be told otherwise.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from darumeru.leaderboard.comparison import Difference, compare
from darumeru.runs.run import Run, load_run

SCHEMES = ("extend", "optimize", "bpe", "unigram")
METHODS = ("swap", "overlap", "conversion")
TEXTS = {"ru": "small/text_ru", "en": "small/text_en"}
COPIES = {"ru": "small/copy_ru", "en": "small/copy_en"}
KEPT = 0.95
"""Share of the target's English copying that counts as kept."""
_SEED = re.compile(r"seed(-?\d+)")


@dataclass(frozen=True)
class Model:
    """A line of the board. parts: what its label is made of, without the seed; seed: None for what has none."""

    parts: tuple[str, ...]
    seed: int | None
    run: Run

    def bits(self, language: str) -> float | None:
        """Bits per byte of held-out text."""
        return self._score(TEXTS[language], "bits_per_byte")

    def copied(self, language: str) -> float | None:
        """Share of characters copied."""
        return self._score(COPIES[language], "copied_share")

    def exact(self, language: str) -> float | None:
        """Share of sentences copied exactly."""
        return self._score(COPIES[language], "exact_copy_rate")

    def symbols(self, language: str) -> float:
        """Characters a token of the held-out texts and sentences."""
        return float(self.run.results.token_efficiency[language]["symbols_per_token"])

    def _score(self, task: str, metric: str) -> float | None:
        """None where the task was refused: bits per byte of a text that the vocabulary does not spell as it stands."""
        scored = self.run.results.tasks.get(task)
        return scored.metrics[metric].value if scored and metric in scored.metrics else None


class Study:
    """All scored models of one or more outputs; of equal labels the last one counts."""

    def __init__(self, outputs: Sequence[Path]) -> None:
        self.models: dict[tuple[tuple[str, ...], int | None], Model] = {}
        for output in outputs:
            board = json.loads((output / "board.json").read_text(encoding="utf-8"))
            for line in board["candidates"]:
                if line["run"]:
                    self._add(line["label"], load_run(output / line["run"]))

    def _add(self, label: str, run: Run) -> None:
        words = label.split("-")
        seed = next((int(found[1]) for word in words if (found := _SEED.fullmatch(word))), None)
        parts = tuple(word for word in words if not _SEED.fullmatch(word))
        self.models[parts, seed] = Model(parts, seed, run)

    def of(self, *parts: str) -> list[Model]:
        """The model of these parts in every seed, ascending."""
        found = [model for (names, _), model in self.models.items() if names == parts]
        return sorted(found, key=lambda model: -1 if model.seed is None else model.seed)

    def pairs(self, one: Sequence[str], other: Sequence[str]) -> list[tuple[Model, Model]]:
        """(one, other) of the same seed; a model without a seed stands beside every one."""
        by_seed = {model.seed: model for model in self.of(*other)}
        return [
            (model, by_seed.get(model.seed, by_seed.get(None)))  # type: ignore[misc]
            for model in self.of(*one)
            if model.seed in by_seed or None in by_seed
        ]

    def differences(self, one: Sequence[str], other: Sequence[str], task: str) -> list[Difference]:
        """`one` minus `other` in each seed that has both."""
        pairs = self.pairs(one, other)
        found = [_difference(mine.run.path, theirs.run.path, task) for mine, theirs in pairs]
        return [difference for difference in found if difference is not None]


@cache
def _difference(one: Path, other: Path, task: str) -> Difference | None:
    runs = load_run(other), load_run(one)
    if any(task not in run.results.tasks or run.results.tasks[task].score.value is None for run in runs):
        return None
    return compare(*runs, [task], resamples=2000, allow_different=True).tasks[0]


def verdict(differences: Sequence[Difference], better: int) -> str:
    """Of a claim that `one` is better: +1 where more is better, -1 where less is."""
    known = [
        (one.low * better, one.high * better) for one in differences if one.low is not None and one.high is not None
    ]
    if known and all(min(pair) > 0 for pair in known):
        return "agrees"
    if known and all(max(pair) < 0 for pair in known):
        return "does not agree"
    return "cannot tell"


def _shifted(one: Difference, by: float) -> Difference:
    low, high = (None if bound is None else bound + by for bound in (one.low, one.high))
    return replace(one, difference=one.difference + by, low=low, high=high)


def shown(differences: Sequence[Difference]) -> str:
    """Each seed's difference with its interval."""
    return "; ".join(
        f"{one.difference:+.3f}" + (f" [{one.low:+.3f}, {one.high:+.3f}]" if one.low is not None else "")
        for one in differences
    )


def cell(models: Sequence[Model], value: Callable[[Model], float | None], digits: int = 3) -> str:
    """Mean over seeds and their range; a dash where there is none."""
    numbers = [number for model in models if (number := value(model)) is not None]
    if not numbers:
        return "-"
    text = f"{sum(numbers) / len(numbers):.{digits}f}"
    return text if len(numbers) == 1 else f"{text} ({min(numbers):.{digits}f} to {max(numbers):.{digits}f})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


COLUMNS: tuple[tuple[str, Callable[[Model], float | None]], ...] = (
    ("bits/byte Russian", lambda model: model.bits("ru")),
    ("bits/byte English", lambda model: model.bits("en")),
    ("copied Russian", lambda model: model.copied("ru")),
    ("exact", lambda model: model.exact("ru")),
    ("copied English", lambda model: model.copied("en")),
    ("exact", lambda model: model.exact("en")),
    ("symbols/token Russian", lambda model: model.symbols("ru")),
)


def rows_of(study: Study, named: Sequence[tuple[str, tuple[str, ...]]]) -> list[list[str]]:
    """A row for each model that was made."""
    found = [(title, study.of(*parts)) for title, parts in named]
    return [[title, *(cell(models, value) for _, value in COLUMNS)] for title, models in found if models]


def tables(study: Study) -> str:
    """The paper's tables 2 to 4 and the claims."""
    header = ["model", *(name for name, _ in COLUMNS)]
    donors: list[tuple[str, tuple[str, ...]]]
    moved: list[tuple[str, tuple[str, ...]]]
    donors = [("foundation", ("base",)), ("foundation, trained with its own vocabulary", ("same_vocabulary",))]
    donors += [(f"donor, {scheme}", ("donor", scheme)) for scheme in SCHEMES]
    moved = [("target (tuned)", ("target",)), ("direct: target + extend, no LEP", ("direct", "extend"))]
    moved += [(f"LEP, {scheme}, {method}", ("lep", scheme, method)) for scheme in SCHEMES for method in METHODS]
    calibrated = [("self-calibrated", ("self_calibrated",)), ("instruction-calibrated", ("instruction_calibrated",))]
    parts = [
        "Vocabularies (Table 2)", table(header, rows_of(study, donors)),
        "LEP (Table 3)", table(header, rows_of(study, moved)),
        "Calibration of each seed's best LEP model (Table 4)", table(header, rows_of(study, calibrated)),
        "Claims", table(["claim", "differences, 95 %", "verdict"], claims(study)),
    ]  # fmt: skip
    return "\n\n".join(parts)


def claims(study: Study) -> list[list[str]]:
    """A row for each: what is claimed, every seed's difference, the verdict."""
    rows = []

    def claim(text: str, one: Sequence[str], other: Sequence[str], task: str, better: int) -> None:
        if found := study.differences(one, other, task):
            rows.append([text, shown(found), verdict(found, better)])

    claim("tuning is there: target copies English better than the foundation", ["target"], ["base"], COPIES["en"], 1)
    for scheme in SCHEMES:
        claim(f"kept: LEP ({scheme}, conversion) copies English better than the foundation",
              ["lep", scheme, "conversion"], ["base"], COPIES["en"], 1)  # fmt: skip
        if lost := study.differences(["lep", scheme, "conversion"], ["target"], COPIES["en"]):
            rows.append([
                f"kept: at least {KEPT} of the target's English copying ({scheme}, conversion)", shown(lost),
                verdict([_shifted(one, (1 - KEPT) * one.a) for one in lost], 1),
            ])  # fmt: skip
    for scheme in SCHEMES:
        for language, task in TEXTS.items():
            for method in ("conversion", "overlap"):
                claim(f"method: {method} below swap, bits per byte {language} ({scheme})",
                      ["lep", scheme, method], ["lep", scheme, "swap"], task, -1)  # fmt: skip
    for scheme in SCHEMES[1:]:
        for language, task in TEXTS.items():
            text = f"vocabulary: donor of extend below {scheme}, bits per byte {language}"
            claim(text, ["donor", "extend"], ["donor", scheme], task, -1)
    for language, task in TEXTS.items():
        claim(f"LEP (extend, conversion) below the direct control, bits per byte {language}",
              ["lep", "extend", "conversion"], ["direct", "extend"], task, -1)  # fmt: skip
    for language, task in COPIES.items():
        claim(f"LEP (extend, conversion) copies {language} better than the direct control",
              ["lep", "extend", "conversion"], ["direct", "extend"], task, 1)  # fmt: skip
    rows += _calibration(study)
    for scheme in SCHEMES:
        pairs = study.pairs(["donor", scheme], ["base"])
        if pairs:  # the vocabularies are the same for all seeds
            gain = pairs[0][0].symbols("ru") / pairs[0][1].symbols("ru")
            text = f"token efficiency: characters a token, {scheme} against the foundation"
            rows.append([text, f"{gain:.2f} times", "agrees" if gain > 1 else "does not agree"])
        claim(f"quality: donor of {scheme} below the foundation, bits per byte ru",
              ["donor", scheme], ["base"], TEXTS["ru"], -1)  # fmt: skip
    return rows


def _calibration(study: Study) -> list[list[str]]:
    """Each calibrated model against the LEP model that it came from."""
    rows = []
    for node in ("self_calibrated", "instruction_calibrated"):
        for language in ("ru", "en"):
            found = []
            for model in study.of(node):
                moved = [one for one in study.models.values() if one.parts[0] == "lep" and one.seed == model.seed]
                scored = [(bits, one) for one in moved if (bits := one.bits("ru")) is not None]
                best = min(scored, key=lambda pair: pair[0])[1]
                found += [one for one in [_difference(model.run.path, best.run.path, COPIES[language])] if one]
            if found:
                text = f"calibration: {node.replace('_', '-')} copies {language} better than before"
                rows.append([text, shown(found), verdict(found, 1)])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", nargs="+", type=Path, help="output folders of `darumeru adapt`")
    print(tables(Study(parser.parse_args().output)))


if __name__ == "__main__":
    main()
