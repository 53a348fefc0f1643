"""Templates are filled by plain names and nothing else."""

from __future__ import annotations

import pytest

from darumeru.core.errors import UserError
from darumeru.tasks.template import fill


def test_names_are_replaced_and_doubled_braces_stand_for_braces() -> None:
    assert fill("{a} и {{b}} и {a}", {"a": "x{b}"}, "f:1") == "x{b} и {b} и x{b}"


@pytest.mark.parametrize("template", ["{a.__class__}", "{a[0]}", "{a!r}", "{a:>9}", "{0}", "{}", "{ a }"])
def test_anything_but_a_plain_name_is_refused(template: str) -> None:
    with pytest.raises(UserError, match="plain field name"):
        fill(template, {"a": "x"}, "f:1")


@pytest.mark.parametrize(
    ("template", "said"), [("{b}", "field `b`"), ("one { brace", "single `{`"), ("}", "single `}`")]
)
def test_what_is_missing_is_named_with_its_place(template: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        fill(template, {"a": "x"}, "data.jsonl:7")
    assert "data.jsonl:7" in caught.value.line() and said in caught.value.line()
