"""How results look: aligned plain-text tables for people, JSON for programs.

Pure but for `emit`, which writes. Nothing here asks anyone for anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def emit(value: Any, as_json: bool, render: Callable[[Any], str]) -> None:
    """Write `value` to standard output, as JSON or as `render` puts it."""
    click.echo(json.dumps(value, indent=2) if as_json else render(value))


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Columns two blanks apart; those whose number is in `right` are right-aligned."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    to_right = set(right)

    def cell(column: int, text: str) -> str:
        width = widths[column]
        return text.rjust(width) if column in to_right else text.ljust(width)

    return "\n".join(
        "  ".join(cell(column, text) for column, text in enumerate(line)).rstrip() for line in lines
    )


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A block of `label  value` lines, the values below each other."""
    kept = list(pairs)
    width = max((len(label) for label, _ in kept), default=0)
    return "\n".join(f"{label.ljust(width)}  {value}".rstrip() for label, value in kept)


def size(count_bytes: int) -> str:
    """Bytes for people, powers of ten: 1500 → `1.5 kB`."""
    value = float(count_bytes)
    for unit in _UNITS:
        if abs(value) < 1000 or unit == _UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("unreachable")


def count(number: int) -> str:
    """An exact integer with separators: 1234567 → `1,234,567`."""
    return f"{number:,}"


def moment(time_ns: int | None, zone: str = "UTC") -> str:
    """Date and time to the second in `zone`, `-` for none."""
    if not time_ns:
        return "-"
    try:
        place = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        place = ZoneInfo("UTC")
    return datetime.fromtimestamp(time_ns // 1_000_000_000, place).strftime("%Y-%m-%d %H:%M:%S")


def losses(lost: Mapping[str, int]) -> str:
    """Records lost by reason: "12 ring-full, 3 disk", or none."""
    return ", ".join(f"{count(n)} {reason}" for reason, n in lost.items() if n) or "none"


def episodes(items: Sequence[Mapping[str, Any]], zone: str) -> list[str]:
    """Which losses there were and when, a line each, the latest last."""
    return [
        f"{count(item['records'])} {item['reason']}"
        + (f", ring {item['ring']}" if item["ring"] is not None else "")
        + f", {_period(moment(item['first_ns'], zone), moment(item['last_ns'], zone))}"
        for item in items
    ]


def _period(first: str, last: str) -> str:
    day = first[:11]
    return f"{first} to {last.removeprefix(day)}"
