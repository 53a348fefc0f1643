"""Whether the metrics of a task can read its answers, found before any model is asked: they score a perfect answer."""

from __future__ import annotations

from collections.abc import Sequence

from darumeru.core.answer import Answer
from darumeru.core.errors import UserError
from darumeru.core.row import SampleRow
from darumeru.metrics import metric
from darumeru.tasks.sample import Sample
from darumeru.tasks.spec import TaskSpec

FEW = 3


def check_metrics(spec: TaskSpec, samples: Sequence[Sample]) -> None:
    """UserError for a metric that cannot read the answers of this method, or that gives right answers nothing."""
    rows = [_perfect(spec, sample) for sample in samples[:FEW]]
    for name in spec.metrics:
        one = metric(name)
        try:
            found = [value for row in rows for value in one.values(row).values()]
        except Exception as error:  # a metric may be a stranger's code, made for other answers
            what = f"metric `{name}` cannot read the answers of {spec.name}: {type(error).__name__}: {error}"
            raise UserError(what, f"task {spec.name}", _mend(spec)) from error
        wrong = found and not any(found) and one.measure.direction == "higher"
        if wrong or (rows and all(one.unparsed(row) for row in rows)):
            what = f"metric `{name}` gives right answers nothing: it is made for other answers than {_kind(spec)}"
            raise UserError(what, f"task {spec.name}", _mend(spec))


def _perfect(spec: TaskSpec, sample: Sample) -> SampleRow:
    labels = sample.choices or spec.choices
    text = sample.target[0] if isinstance(sample.target, list) else str(sample.target)
    if spec.method == "multiple_choice":
        answer = Answer(probabilities={label: float(label == sample.target) for label in labels})
    else:
        answer = Answer(text=text, tokens=tuple(range(max(1, len(text.split())))), finish_reason="stop")
    return SampleRow(spec.name, sample.id, sample.cluster, "", "", 0, sample.target, answer, sample.meta)


def _kind(spec: TaskSpec) -> str:
    return "choices" if spec.method == "multiple_choice" else "generated texts"


def _mend(spec: TaskSpec) -> str:
    usual = "acc, f1_macro, mcc" if spec.method == "multiple_choice" else "em, f1, rougeL_f1"
    return f"usual ones here: {usual}"
