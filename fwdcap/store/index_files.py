"""The index files of a stream: what of each counts, and reading it with little waiting.

Only committed entries count. A segment whose index is missing is indexed in
memory from its records. The files are read, not mapped: a restarted recorder
cuts its index, and a mapping would then end the reader with SIGBUS.
"""

from __future__ import annotations

import ctypes
import errno
import os
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from fwdcap import abi
from fwdcap.store import pcap
from fwdcap.store.indexer import Scan, Totals, scan
from fwdcap.store.segments import Contents, Segment
from fwdcap.store.views import Entry

ENTRY_BYTES = ctypes.sizeof(abi.IndexEntry)
ENTRY_WORDS = ENTRY_BYTES // 8
OFFSET = 2  # column of an entry

_OPEN = 48
_FILES_AHEAD = 16
_PROBE_ENTRIES = 128


@dataclass(frozen=True, slots=True)
class Part:
    """The index of one segment: `count` entries of the file at `path`, or `made` in memory."""

    path: str
    count: int
    made: bytes = b""


class Files:
    """The parts as files, a few open at a time."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.whole = False  # all of every file will be read, in order
        self._parts = parts
        self._open: dict[int, int] = {}
        self._latest = -1

    def close(self) -> None:
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def read(self, place: int, first: int, count: int) -> bytes:
        """Entries [first, first + count) of a part; raises OSError where they are gone."""
        offset, size = first * ENTRY_BYTES, count * ENTRY_BYTES
        made = self._parts[place].made
        raw = made[offset : offset + size] if made else os.pread(self._file(place), size, offset)
        if len(raw) != size:
            raise OSError(errno.EIO, "an index became shorter while it was read")
        return raw

    def will_need(self, place: int, first: int, count: int) -> None:
        """Has the kernel begin to read those entries."""
        if not self._parts[place].made:
            offset, size = first * ENTRY_BYTES, count * ENTRY_BYTES
            os.posix_fadvise(self._file(place), offset, size, os.POSIX_FADV_WILLNEED)

    def _file(self, place: int) -> int:
        if place not in self._open or (self.whole and place != self._latest):
            if place in self._open:  # now the last to be closed for others
                self._open[place] = self._open.pop(place)
            ahead = _FILES_AHEAD if self.whole else 1
            for number, part in enumerate(self._parts[place : place + ahead], place):
                if part.count and not part.made and number not in self._open:
                    self._open[number] = self._opened(part.path)
            self._latest = place
        return self._open[place]

    def _opened(self, path: str) -> int:
        if len(self._open) >= _OPEN:
            os.close(self._open.pop(next(iter(self._open))))
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        # Left to itself the kernel reads megabytes around the first few bytes wanted.
        advice = os.POSIX_FADV_WILLNEED if self.whole else os.POSIX_FADV_RANDOM
        os.posix_fadvise(fd, 0, 0, advice)
        return fd


def parts(held: Contents) -> list[Part]:
    """The index of each segment, made from its records where there is none."""
    found: list[Part] = []
    for segment in held.segments:
        part = _part(segment, held)
        if not part.count and segment.record_bytes:
            before = _up_to(held, found)
            made = _walk(segment, pcap.FILE_HEADER_BYTES, before, held.anchor_ns or 0).entries
            part = Part(part.path, len(made) // ENTRY_BYTES, made)
        found.append(part)
    return found


def _part(segment: Segment, held: Contents) -> Part:
    path = segment.index_name
    try:
        count = os.stat(path).st_size // ENTRY_BYTES
    except OSError:
        return Part(path, 0)
    said = held.checkpoint
    if said is not None and said.segment == segment.number:
        count = min(count, said.segment_index)
    if segment is held.segments[-1]:
        count = _pointing_inside(path, count, segment.length)
    return Part(path, count)


def _pointing_inside(path: str, count: int, length: int) -> int:
    """How many of the entries begin before `length`: a torn file may be shorter than its index."""
    with open(path, "rb") as file:
        while count:
            begin = max(0, count - _PROBE_ENTRIES)
            file.seek(begin * ENTRY_BYTES)
            words = memoryview(file.read((count - begin) * ENTRY_BYTES)).cast("Q")
            inside = bisect_left(words[OFFSET::ENTRY_WORDS], length)
            count = begin + inside
            if inside:
                break
    return count


def _up_to(held: Contents, found: Sequence[Part]) -> Totals:
    """The stream up to the end of the last of the parts found so far."""
    for segment, part in zip(reversed(held.segments[: len(found)]), reversed(found), strict=True):
        if part.count:
            files = Files([part])
            try:
                last = Entry._make(memoryview(files.read(0, part.count - 1, 1)).cast("Q"))
            finally:
                files.close()
            before = Totals(last.packets, last.bytes, last.previous_ns)
            return _walk(segment, last.offset, before, last.first_ns).totals
    return held.before


def _walk(segment: Segment, offset: int, before: Totals, first_ns: int) -> Scan:
    fd = os.open(segment.name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return scan(fd, offset, segment.length, before, first_ns)
    finally:
        os.close(fd)
