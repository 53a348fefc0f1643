"""Which records of a task are asked and which are its examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from darumeru.core.errors import UserError
from darumeru.core.template_trial import try_templates
from darumeru.tasks.formats.few_shot import chosen_shots
from darumeru.tasks.record import Record
from darumeru.tasks.record_template import RecordExpression, fields_of, tried
from darumeru.tasks.records import Split
from darumeru.tasks.spec import RecordSource, TaskSpec


@dataclass(frozen=True)
class Questions:
    """asked: the records that are asked. shots: those that examples are taken of, none where no example is wanted.
    splits: name -> split, of all that was read; the first is the one that is asked."""

    asked: tuple[Record, ...]
    shots: tuple[Record, ...]
    splits: Mapping[str, Split]

    @property
    def hashes(self) -> dict[str, str]:
        """Split -> sha256 of its content."""
        return {name: split.sha256 for name, split in self.splits.items()}


def questions_of(spec: TaskSpec, wanted: int, load: Callable[[RecordSource, str], Split]) -> Questions:
    """The records of a task that is asked with `wanted` examples. Where examples and questions are of one split, the
    first records are the examples and are not asked. load: reads a split. UserError when none is left to ask."""
    source = spec.source
    splits = {source.test: load(source, source.test)}
    asked = _true_for(spec, "where", source.where, splits[source.test].records)
    shots: tuple[Record, ...] = ()
    if source.shots and wanted:
        splits[source.shots] = load(source, source.shots)
        same = source.shots == source.test
        condition = source.shots_where or (source.where if same else None)
        shots = _true_for(spec, "shots_where", condition, splits[source.shots].records)
        if same:
            asked = _without_examples(spec, asked, shots, wanted, condition)
    return Questions(asked, shots, splits)


def _without_examples(
    spec: TaskSpec, asked: Sequence[Record], shots: Sequence[Record], wanted: int, condition: str | None
) -> tuple[Record, ...]:
    if condition == spec.source.where:
        left = tuple(asked[spec.first_shot + wanted :])
    else:
        examples = {record.where for record in chosen_shots(spec, shots, wanted)}
        left = tuple(record for record in asked if record.where not in examples)
    if not left:
        what = f"{spec.name} has {len(asked)} records, and {wanted} of them are examples: none is left to ask"
        raise UserError(what, spec.source.place, "--num-fewshot with a smaller number, or examples of their own")
    return left


def _true_for(spec: TaskSpec, option: str, condition: str | None, records: Sequence[Record]) -> tuple[Record, ...]:
    """The records for which the expression is true."""
    if condition is None:
        return tuple(records)
    expression = RecordExpression(f"`{option}` of {spec.name}", condition)
    some = [fields_of(record) for record in tried(records)]
    try_templates("expression", [condition], some, f"{len(some)} records", expression.name)
    found = tuple(record for record in records if expression.value(record))
    if not found:
        what = f"{expression.name} is true for none of {len(records)} records"
        raise UserError(what, spec.source.place, f"mend `{option}`: {condition}")
    return found
