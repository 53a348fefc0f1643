"""Numbers as text: the one place that says how many digits, when a power of ten, and what stands for nothing."""

from __future__ import annotations

from collections.abc import Sequence

NOTHING = "–"
LARGE = 1e5
"""From here on a number with digits after its point is written with a power of ten."""
SIZES = ("B", "kB", "MB", "GB", "TB")


def number(value: float | None, digits: int = 3, *, signed: bool = False) -> str:
    """`digits` places after the point (thousands set apart where there are none); a dash for None. signed: "+" before
    what is not negative. Nothing that rounds to zero gets a minus."""
    if value is None:
        return NOTHING
    sign = "+" if signed else ""
    if abs(value) >= LARGE and digits:
        return f"{value:{sign}.3g}"
    text = f"{value:{sign}.{digits}f}" if digits else f"{value:{sign},.0f}"
    return text.replace("-", sign) if text.startswith("-") and not text.strip("-0.") else text


def interval(low: float | None, high: float | None, digits: int = 3, *, signed: bool = False) -> str:
    """ "0.600–0.650"; "to" keeps signs readable; empty where a bound is missing."""
    if low is None or high is None:
        return ""
    between = " to " if signed or low < 0 else "–"
    return number(low, digits, signed=signed) + between + number(high, digits, signed=signed)


def with_interval(value: float | None, low: float | None, high: float | None, digits: int = 3) -> str:
    """ "0.625 (0.600–0.650)", the value alone where there is no interval."""
    between = interval(low, high, digits)
    return number(value, digits) + (f" ({between})" if between else "")


def percent(share: float, digits: int = 1) -> str:
    """A share as per cent; what is not 0 never looks like 0."""
    least = 10**-digits
    if share and abs(100 * share) < least:
        return f"<{least:.{digits}f} %"
    return f"{100 * share:.{digits if share else 0}f} %"


def p_value(p: float | None) -> str:
    """Four digits; never 0; empty for None."""
    if p is None:
        return ""
    return f"{p:.4f}" if p >= 1e-4 else "<0.0001"


def seconds(spent: float) -> str:
    """ "0.4 s", "42 s", "3 min 20 s", "2 h 5 min"."""
    if spent < 10:
        return f"{spent:.1f} s"
    whole = round(spent)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(amount: float) -> str:
    """Bytes in the decimal unit that leaves at most three digits before the point."""
    for unit in SIZES[:-1]:
        if abs(amount) < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} {SIZES[-1]}"


def count(n: int, noun: str) -> str:
    """ "1 task", "1,200 tasks"."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def listed(names: Sequence[str], most: int = 4) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
