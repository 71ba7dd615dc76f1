"""The rows of the schedule: what they say, and how they are read from outside. Pure.

A row is 24/7, or weekdays with a start and a stop time of the appliance's zone.
The settings file, the command line and the API write it with the same keys, and
each mistake names the row and the key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import time
from typing import Any

from fwdcap.errors import Invalid
from fwdcap.store.names import check_name

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MAX_ROWS = 256

_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?|24:00(?::00)?")
_KEYS = ("name", "enabled", "always", "days", "start", "stop")


@dataclass(frozen=True)
class Row:
    """One line of the schedule; `name` is that of its captures. `managed`: it stands in
    the settings file. `days` counts from Monday, 0."""

    name: str
    always: bool = False
    days: frozenset[int] = frozenset()
    start: time = time()
    stop: time = time()
    enabled: bool = True
    managed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As files and the API have it; times and days only where they mean something."""
        head: dict[str, Any] = {"name": self.name, "enabled": self.enabled, "always": self.always}
        if self.always:
            return head
        return head | {
            "days": [DAYS[day] for day in sorted(self.days)],
            "start": time_text(self.start),
            "stop": time_text(self.stop),
        }


def parse_rows(raw: object, source: str = "The schedule") -> tuple[Row, ...]:
    """The rows of a decoded list. Raises Invalid naming `source`, row and key."""
    if not isinstance(raw, Sequence) or isinstance(raw, str | bytes):
        raise _invalid(source, "is no list of rows", "Send a list.")
    if len(raw) > MAX_ROWS:
        raise _invalid(source, f"has {len(raw)} rows", f"At most {MAX_ROWS} are allowed.")
    rows = tuple(parse_row(row, f"{source}, row {at}") for at, row in enumerate(raw, 1))
    check_unique(rows, source)
    return rows


def parse_row(raw: object, where: str) -> Row:
    """One row. Raises Invalid naming `where` and the key."""
    if not isinstance(raw, Mapping):
        raise _invalid(where, "is not a table", 'Write it like name = "x", always = true.')
    unknown = [str(key) for key in raw if key not in (*_KEYS, "managed")]
    if unknown:
        raise _invalid(where, f"has an unknown key {unknown[0]}", f"Keys are {', '.join(_KEYS)}.")
    name = raw.get("name")
    if not isinstance(name, str):
        raise _invalid(where, "has no name", 'Add name = "…", the name of its captures.')
    try:
        check_name(name)
    except Invalid as error:
        raise Invalid(f"{where}: {error.message}", code=error.code, hint=error.hint) from None
    where = f"{where} [{name}]"
    always = _flag(raw, "always", False, where)
    enabled = _flag(raw, "enabled", True, where)
    if always:
        extra = [key for key in ("days", "start", "stop") if raw.get(key) is not None]
        if extra:
            raise _invalid(where, f"is 24/7 and has {extra[0]}", "Leave one of the two out.")
        return Row(name, always=True, enabled=enabled)
    return Row(
        name,
        days=parse_days(raw.get("days"), where),
        start=parse_time(raw.get("start"), f"{where}: start"),
        stop=parse_time(raw.get("stop"), f"{where}: stop"),
        enabled=enabled,
    )


def check_unique(rows: Iterable[Row], source: str = "The schedule") -> None:
    """Raises Invalid where two rows have one name."""
    seen: set[str] = set()
    for row in rows:
        if row.name in seen:
            hint = "A row is known by its name; give one of them another."
            raise _invalid(source, f"has two rows called {row.name}", hint)
        seen.add(row.name)


def parse_days(raw: object, where: str) -> frozenset[int]:
    """Weekdays from a list of their names, or a text such as "mon-fri,sun" or "daily"."""
    parts = raw.lower().split(",") if isinstance(raw, str) else raw
    if not isinstance(parts, list | tuple) or not parts:
        raise _bad_days(where)
    return frozenset(day for part in parts for day in _span(part, where))


def parse_time(raw: object, where: str) -> time:
    """A time of day from "HH:MM" or "HH:MM:SS"; "24:00" is midnight. Raises Invalid."""
    match = _TIME.fullmatch(raw.strip()) if isinstance(raw, str) else None
    if match is None:
        shown = "missing" if raw is None else repr(raw)[:40]
        raise _invalid(where, f"is {shown}", 'It must be a time of day such as "08:30".')
    return time(int(match[1] or 0), int(match[2] or 0), int(match[3] or 0))


def time_text(at: time) -> str:
    """HH:MM, with seconds where there are any."""
    return at.isoformat("seconds" if at.second else "minutes")


def days_text(days: Iterable[int]) -> str:
    """Weekdays for people: "mon-fri, sun"."""
    runs: list[list[int]] = []
    for day in sorted(days):
        if runs and runs[-1][-1] == day - 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    return ", ".join(
        f"{DAYS[run[0]]}-{DAYS[run[-1]]}" if len(run) > 2 else ", ".join(DAYS[d] for d in run)
        for run in runs
    )


def _span(part: object, where: str) -> range | tuple[int, ...]:
    """One entry of the days: "mon", "fri-mon" or "daily"."""
    text = part.strip().lower() if isinstance(part, str) else ""
    if text == "daily":
        return range(7)
    first, dash, last = text.partition("-")
    if first not in DAYS or (dash and last not in DAYS):
        raise _bad_days(where)
    begin = DAYS.index(first)
    length = (DAYS.index(last) - begin) % 7 + 1 if dash else 1
    return tuple((begin + step) % 7 for step in range(length))


def _flag(raw: Mapping[Any, Any], key: str, default: bool, where: str) -> bool:
    value = raw.get(key, default)
    if isinstance(value, bool):
        return value
    raise _invalid(f"{where}: {key}", f"is {value!r}"[:60], "It must be true or false.")


def _bad_days(where: str) -> Invalid:
    hint = f"Add days, any of {', '.join(DAYS)}, or always = true for 24/7."
    return _invalid(f"{where}: days", "are missing or unknown", hint)


def _invalid(where: str, problem: str, hint: str) -> Invalid:
    return Invalid(f"{where} {problem}.", code="bad-schedule", hint=hint)
