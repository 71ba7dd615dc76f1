"""When captures begin and end by themselves: windows of rows, and what is due. Pure.

A window is one span of a row, half-open; one whose stop is not after its start ends
the next day, and the windows of a 24/7 row are days that begin at the roll time.

A wall-clock time means one moment: where the clock is put back, the first of the
two; where it is put forward and the time is skipped, the moment of the jump. So
two rows that touch in the morning touch on every day of the year.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import Enum

from fwdcap.capture.rows import Row

NS = 1_000_000_000
LATE_NS = 5 * NS  # a start this long after its time has its line in the log

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
_SEARCH_DAYS = 16  # a weekday comes again within 7, a skipped one within 14


@dataclass(frozen=True)
class Window:
    """One span of a row, UTC nanoseconds, [start, stop)."""

    start_ns: int
    stop_ns: int


@dataclass(frozen=True)
class Running:
    """The running capture: its row ('' when a person started it) and its stream's start."""

    name: str
    row: str
    started_ns: int


class Do(Enum):
    """What the schedule asks for."""

    NOTHING = "nothing"
    START = "start"
    STOP = "stop"
    ROLL = "roll"


@dataclass(frozen=True)
class Action:
    """What is to be done with which row; `why` a STOP, `due_ns` the start of its window."""

    do: Do = Do.NOTHING
    row: str = ""
    why: str = ""
    due_ns: int = 0


@dataclass(frozen=True)
class Moment:
    """What the schedule is looked at with. `roll` is the time of day at which a 24/7 row
    begins a new stream, None for never; `stopped` when a person last stopped each row."""

    now_ns: int
    zone: tzinfo
    running: Running | None = None
    stopped: Mapping[str, int] = field(default_factory=dict)
    roll: time | None = None


# ---- windows


def moment_ns(day: date, at: time, zone: tzinfo) -> int:
    """The one moment (UTC ns) that a wall-clock time of that day means in `zone`."""
    local = datetime.combine(day, at, zone)
    there = local.astimezone(UTC)
    if there.astimezone(zone).replace(tzinfo=None) != local.replace(tzinfo=None):
        there = _jump(local.replace(fold=1).astimezone(UTC), there, zone)
    return (there - _EPOCH) // timedelta(microseconds=1) * 1000


def window(row: Row, moment: Moment) -> Window | None:
    """The row's window that covers that moment; None when there is none."""
    today = _local_day(moment)
    for offset in (-2, -1, 0, 1):
        found = _window_of(row, today + offset * _DAY, moment)
        if found is not None and found.start_ns <= moment.now_ns < found.stop_ns:
            return found
    return None


def following_ns(row: Row, moment: Moment) -> int | None:
    """When the row's next window begins, after that moment; None for never."""
    today = _local_day(moment)
    for offset in range(-1, _SEARCH_DAYS):
        found = _window_of(row, today + offset * _DAY, moment)
        if found is not None and moment.now_ns < found.start_ns < found.stop_ns:
            return found.start_ns
    return None


# ---- what is due


def due(rows: Sequence[Row], moment: Moment, held: frozenset[str] = frozenset()) -> Action:
    """What is to be done now. Rows that are `held` do not start (their last try failed)."""
    running = moment.running
    if running is not None:
        return _about_running(rows, moment, running)
    for row, span in _wanted(rows, moment):
        if row.name not in held:
            return Action(Do.START, row.name, due_ns=span.start_ns)
    return Action()


def waiting(rows: Sequence[Row], moment: Moment) -> tuple[str, ...]:
    """The names of rows that would record now, were it not for the running capture."""
    running = moment.running
    if running is None:
        return ()
    return tuple(row.name for row, _ in _wanted(rows, moment) if row.name != running.row)


def _about_running(rows: Sequence[Row], moment: Moment, running: Running) -> Action:
    if not running.row:
        return Action()
    row = next((row for row in rows if row.name == running.row), None)
    if row is None:
        return Action(Do.STOP, running.row, "its row was removed")
    if not row.enabled:
        return Action(Do.STOP, running.row, "its row was disabled")
    span = window(row, moment)
    if span is None:
        return Action(Do.STOP, running.row, "its stop time has come")
    rolls = not row.always or moment.roll is not None
    if rolls and running.started_ns < span.start_ns:
        return Action(Do.ROLL, running.row, due_ns=span.start_ns)
    return Action()


def _wanted(rows: Sequence[Row], moment: Moment) -> Iterator[tuple[Row, Window]]:
    """Rows inside a window of theirs that nobody stopped, the longest overdue first."""
    found = []
    for row in rows:
        span = window(row, moment) if row.enabled else None
        if span is not None and moment.stopped.get(row.name, -1) < span.start_ns:
            found.append((row, span))
    yield from sorted(found, key=lambda pair: pair[1].start_ns)


# ---- inside


def _window_of(row: Row, day: date, moment: Moment) -> Window | None:
    """The window that begins on that day, empty where a clock change swallows it."""
    if not row.always and day.weekday() not in row.days:
        return None
    start, stop = (moment.roll or time(),) * 2 if row.always else (row.start, row.stop)
    last = day if start < stop else day + _DAY
    return Window(moment_ns(day, start, moment.zone), moment_ns(last, stop, moment.zone))


def _local_day(moment: Moment) -> date:
    return (_EPOCH + timedelta(seconds=moment.now_ns // NS)).astimezone(moment.zone).date()


def _jump(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """The second between the two at which the zone's offset changes."""
    low, high = sorted((before, after))
    was = low.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == was:
            low = middle
        else:
            high = middle
    return high
