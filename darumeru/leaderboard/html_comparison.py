"""Two runs as one page: differences with their intervals, and every sample with both answers."""

from __future__ import annotations

from dataclasses import dataclass

from darumeru.core.numbers import p_value
from darumeru.leaderboard.comparison import Comparison, Difference
from darumeru.leaderboard.html_report import sample_values
from darumeru.leaderboard.note import Note
from darumeru.leaderboard.page import Served, render_page
from darumeru.leaderboard.report_samples import Samples

RESULTS = ("any_result", "flipped", "gained", "lost", "both_right", "both_wrong")


@dataclass(frozen=True)
class _Line:
    """One line of the table. kind: "group", "task" or "whole"."""

    kind: str
    name: str
    cells: tuple[str, ...]
    flips: str = ""
    significant: bool = False


def render(comparison: Comparison, samples: Samples, served: Served | None = None) -> str:
    """The page's HTML. Encode it as UTF-8. samples: of read_pairs; served: their texts are fetched and not in it."""
    return render_page(
        "compare.html.j2",
        ["report.js", "sample.js"],
        served,
        title=f"{comparison.a} → {comparison.b}",
        comparison=comparison,
        lines=_lines(comparison),
        conclusion=_conclusion(comparison),
        notes=_notes(comparison),
        **sample_values(samples, RESULTS, sides=(" A", " B"), embedded=served is None),
    )


def _lines(comparison: Comparison) -> list[_Line]:
    """Groups with their tasks, then what is over all of them."""
    means, lines = dict(comparison.groups), []
    for group in dict.fromkeys(one.group for one in comparison.tasks):
        mean = means.pop(group, None)
        lines.append(_Line("group", group, _cells(mean, mean.p) if mean else ("",) * 5))
        for one in (one for one in comparison.tasks if one.group == group):
            several = sum(one.task == other.task for other in comparison.tasks) > 1
            name = one.task + (f" ({one.metric})" if several else "") + " ↓" * (one.measure.sign < 0)
            flips = "" if one.gained is None or one.lost is None else f"+{len(one.gained)} −{len(one.lost)}"
            lines.append(_Line("task", name, _cells(one, one.holm), flips, one.significant))
    return lines + [_Line("whole", name, _cells(mean, mean.p)) for name, mean in means.items()]


def _cells(one: Difference, p: float | None) -> tuple[str, ...]:
    return (*(cell.replace("-", "−") for cell in one.cells), p_value(p))


def _conclusion(comparison: Comparison) -> Note:
    sure = [one for one in comparison.tasks if one.significant]
    better = ", ".join(one.task for one in sure if one.measure.sign * one.difference > 0)
    worse = ", ".join(one.task for one in sure if one.measure.sign * one.difference < 0)
    count = len(comparison.tasks)
    said = " и ".join(filter(None, (better and f"лучше в {better}", worse and f"хуже в {worse}")))
    russian = (
        f"B {said} (задач: {len(sure)} из {count})" if said else f"B не отличить от A ни в одной задаче из {count}"
    )
    return Note(comparison.conclusion, f"{russian}; уровень 95 %, поправка Холма на число задач: {count}.")


def _notes(comparison: Comparison) -> list[Note]:
    notes = [Note(f"Differs: {line}", f"Отличается: {line}") for line in comparison.settings]
    notes += [
        Note(f"{task}: left out, {reason}", f"{task}: не сравнивается, {reason}")
        for task, reason in comparison.skipped.items()
    ]
    notes += [
        Note.same(f"{one.task}: {said}") for one in comparison.tasks for said in (one.reason, one.warning) if said
    ]
    notes += [Note.same(f"{name}: {mean.reason}") for name, mean in comparison.groups.items() if mean.reason]
    count, seed = comparison.resamples, comparison.seed
    english = f"Paired bootstrap of records, {count} resamples, seed {seed}; groups: p without Holm."
    notes.append(Note(english, f"Парный бутстреп по записям, выборок: {count}, seed {seed}; группы: p без Холма."))
    return list(dict.fromkeys(notes))
