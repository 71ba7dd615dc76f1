"""Which bytes of which segments hold the records of a time window.

Found in the index, to its intervals: what lies outside the window at either end
is for the reader of the records to leave out. Where an index and the segments
do not agree the segments win, all of them.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from pathlib import Path

from fwdcap.store import pcap
from fwdcap.store.index import Index
from fwdcap.store.scanplan import Range
from fwdcap.store.segments import Contents, Segment
from fwdcap.store.views import Entry


def ranges(
    held: Contents, base: Path, start_ns: int | None = None, stop_ns: int | None = None
) -> tuple[Range, ...]:
    """Ranges that hold every committed record in [start_ns, stop_ns), in order.

    Paths are relative to `base` where they lie below it.
    """
    whole = tuple(_range(part, base) for part in held.segments if part.record_bytes)
    if not whole or (start_ns is None and stop_ns is None):
        return whole
    try:
        with Index(held) as index:
            return _Finder(held, index).between(base, start_ns, stop_ns)
    except (OSError, _Disagreement):
        return whole


class _Disagreement(Exception):
    """An entry does not point to where its segment says it is."""


class _Finder:
    """From entries to places in the segments; bytes count as in the entries."""

    def __init__(self, held: Contents, index: Index) -> None:
        self._segments = held.segments
        self._index = index
        first = index[0].bytes if len(index) else 0
        sizes = (part.record_bytes for part in held.segments)
        self._begins = list(accumulate(sizes, initial=first))

    def between(self, base: Path, start_ns: int | None, stop_ns: int | None) -> tuple[Range, ...]:
        index = self._index
        first = 0 if start_ns is None else index.at_time(start_ns)
        if first and (first == len(index) or index[first].previous_ns >= (start_ns or 0)):
            first -= 1
        last = len(index) if stop_ns is None else index.at_time(stop_ns, first)
        if first >= last:
            return ()
        begin = index[first]
        end_bytes = index[last].bytes if last < len(index) else self._begins[-1]
        found: list[Range] = []
        for place in range(self._place(begin), len(self._segments)):
            low, high = self._begins[place], self._begins[place + 1]
            skipped = max(begin.bytes, low) - low
            size = min(end_bytes, high) - low - skipped
            if size <= 0:
                continue
            tags = begin.packets - self._packets_before(place) if skipped else 0
            found.append(_range(self._segments[place], base, skipped, size, tags))
        return tuple(found)

    def _place(self, entry: Entry) -> int:
        place = bisect_right(self._begins, entry.bytes) - 1
        if not 0 <= place < len(self._segments):
            raise _Disagreement
        if entry.offset != pcap.FILE_HEADER_BYTES + entry.bytes - self._begins[place]:
            raise _Disagreement
        return place

    def _packets_before(self, place: int) -> int:
        """Packets of the stream before that segment."""
        number = self._index.at_bytes(self._begins[place])
        entry = self._index[number]
        if entry.bytes != self._begins[place]:
            raise _Disagreement
        return entry.packets


def _range(
    part: Segment, base: Path, skipped: int = 0, size: int | None = None, first_tag: int = 0
) -> Range:
    path = part.path.relative_to(base) if part.path.is_relative_to(base) else part.path
    tags = str(path.with_suffix(".tags"))
    length = part.record_bytes if size is None else size
    return Range(str(path), tags, pcap.FILE_HEADER_BYTES + skipped, length, first_tag)
