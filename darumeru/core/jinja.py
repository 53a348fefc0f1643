"""The Jinja environments of templates that strangers wrote: sandboxed, with the names that they may use."""

from __future__ import annotations

import json
from datetime import datetime
from functools import cache
from typing import Any, NoReturn

MOST_REPEATED = 1 << 20
"""Elements of a text or list that a template makes by multiplying one."""
MOST_BITS = 4096
"""Of a number that a record template makes by a power."""


@cache
def environment() -> Any:
    """That of chat templates, as transformers has it; {% generation %} blocks are rendered like all else."""
    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        tags = {"generation"}  # noqa: RUF012 (declared so by jinja2)

        def parse(self, parser: Any) -> nodes.Node | list[nodes.Node]:
            next(parser.stream)
            body: list[nodes.Node] = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body)

    def raise_exception(message: str) -> NoReturn:
        raise TemplateError(message)

    found = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    found.filters["tojson"] = _to_json
    found.globals["raise_exception"] = raise_exception
    found.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return found


@cache
def record_environment() -> Any:
    """That of templates and expressions over the fields of a record: a name that no field has is an error, the same
    record gives the same text every time (no chance, no clock), and nothing is made huge by one multiplication."""
    from jinja2 import StrictUndefined
    from jinja2.exceptions import SecurityError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Bounded(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(("*", "**"))

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if operator == "*" and _size(left, right) > MOST_REPEATED:
                raise SecurityError(f"a product would hold more than {MOST_REPEATED} elements")
            whole = operator == "**" and isinstance(left, int) and isinstance(right, int)
            if whole and left.bit_length() * abs(right) > MOST_BITS:
                raise SecurityError("a power would be a number of thousands of digits")
            return super().call_binop(context, operator, left, right)

    found = Bounded(trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, extensions=[loopcontrols])
    found.filters["tojson"] = _to_json
    found.filters["fromjson"] = json.loads
    del found.filters["random"], found.globals["lipsum"]
    return found


def _size(left: Any, right: Any) -> int:
    """Elements of a sequence times a number; 0 for a product of numbers."""
    for one, times in ((left, right), (right, left)):
        if isinstance(one, str | list | tuple) and isinstance(times, int):
            return len(one) * times
    return 0


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
