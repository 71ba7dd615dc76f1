"""Views: ways to cut a stream into splits, all computed from its index.

A boundary is always the first record of an index entry whose time differs from
the record before it. For a time view that is exact, not an approximation: the
recorder opens an entry at the first record of every whole second since the
stream's first, and every period is a whole number of seconds. So splits cost a
few searches each, whatever the stream's size, and nothing is ever stored for
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import tzinfo
from typing import Literal, NamedTuple, Protocol

from fwdcap.errors import Invalid
from fwdcap.store import names, pcap
from fwdcap.store.indexer import Totals
from fwdcap.store.times import NS, local


@dataclass(frozen=True)
class View:
    """A way to cut: `step` is a period in nanoseconds, or a size in bytes of records."""

    name: str
    kind: Literal["time", "size"]
    step: int


class Entry(NamedTuple):
    """An index entry as abi.h has it: an interval's first record and all that is before it."""

    first_ns: int
    previous_ns: int
    offset: int
    packets: int
    bytes: int


class Split(NamedTuple):
    """[start_ns, stop_ns) in UTC, its packets, and the exact size of its download in bytes."""

    start_ns: int
    stop_ns: int
    packets: int
    size_bytes: int


class Entries(Protocol):
    """The index of a stream; searches give len() where there is no such entry."""

    def __len__(self) -> int: ...
    def __getitem__(self, number: int, /) -> Entry: ...
    def at_time(self, ns: int, low: int = 0) -> int: ...
    def at_bytes(self, size: int, low: int = 0) -> int: ...


VIEWS = (
    View("split_1sec", "time", NS),
    View("split_10sec", "time", 10 * NS),
    View("split_1min", "time", 60 * NS),
    View("split_10min", "time", 600 * NS),
    View("split_15min", "time", 900 * NS),
    View("split_1hour", "time", 3600 * NS),
    View("split_1MB", "size", 10**6),
    View("split_10MB", "size", 10**7),
    View("split_100MB", "size", 10**8),
    View("split_1GB", "size", 10**9),
    View("split_10GB", "size", 10**10),
    View("split_100GB", "size", 10**11),
    View("split_1TB", "size", 10**12),
)


def view_named(name: str) -> View:
    """That view; raises Invalid."""
    for view in VIEWS:
        if view.name == name:
            return view
    raise Invalid(
        f"There is no view {names.shorten(name)}.",
        code="no-such-view",
        hint=f"There are {', '.join(view.name for view in VIEWS)}.",
    )


def splits(
    entries: Entries, total: Totals, view: View, anchor_ns: int | None = None
) -> Iterator[Split]:
    """The splits of a stream in order; `total` is where its last one ends.

    `anchor_ns` is the time of the stream's first packet where that is no longer
    there; by default it is the first entry's. Boundaries of size views count
    from the stream's first byte in any case, because the entries do.
    """
    count = len(entries)
    if not count:
        return
    opened = entries[0]
    anchor_ns = opened.first_ns if anchor_ns is None else anchor_ns
    following = _following_time if view.kind == "time" else _following_size
    number = 0
    while (number := following(entries, number, opened, view.step, anchor_ns)) < count:
        closing = entries[number]
        yield _split(opened, closing.first_ns, closing.packets, closing.bytes)
        opened = closing
    yield _split(opened, total.last_ns + 1, total.packets, total.bytes)


def split_name(start_ns: int, zone: tzinfo) -> str:
    """What a split is called: its start in `zone`, `YYYYMMDD_HH:MM:SS.mmm.uuu.nnn`."""
    digits = f"{start_ns % NS:09}"
    return f"{local(start_ns, zone):%Y%m%d_%H:%M:%S}.{digits[:3]}.{digits[3:6]}.{digits[6:]}"


def split_names(zone: tzinfo) -> Callable[[int], str]:
    """`split_name` for many splits in order: asks the calendar once a minute."""
    known, prefix = -1, ""

    def name(start_ns: int) -> str:
        nonlocal known, prefix
        minute, within_ns = divmod(start_ns, 60 * NS)
        if minute != known:
            moment = local(minute * 60 * NS, zone)
            # A zone may once have been seconds away from UTC; its minutes are not ours.
            known, prefix = minute, "" if moment.second else f"{moment:%Y%m%d_%H:%M:}"
        if not prefix:
            return split_name(start_ns, zone)
        digits = f"{within_ns:011}"
        return f"{prefix}{digits[:2]}.{digits[2:5]}.{digits[5:8]}.{digits[8:]}"

    return name


def _split(opened: Entry, stop_ns: int, packets: int, size: int) -> Split:
    size_bytes = pcap.FILE_HEADER_BYTES + size - opened.bytes
    return Split(opened.first_ns, stop_ns, packets - opened.packets, size_bytes)


def _following_time(
    entries: Entries, number: int, opened: Entry, period_ns: int, anchor_ns: int
) -> int:
    passed = (opened.first_ns - anchor_ns) // period_ns
    return entries.at_time(anchor_ns + (passed + 1) * period_ns, number + 1)


def _following_size(entries: Entries, number: int, opened: Entry, size: int, _: int) -> int:
    number = entries.at_bytes((opened.bytes // size + 1) * size, number + 1)
    # A segment may begin between records of one time; a split may not.
    while number < len(entries) and _divides_one_time(entries[number]):
        number += 1
    return number


def _divides_one_time(entry: Entry) -> bool:
    return entry.first_ns == entry.previous_ns
