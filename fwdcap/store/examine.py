"""What a segment holds after a crash: its whole records, and what comes after them.

The index tells where to begin: as far as its entries rise, add up, and each has
its record where it says, the records before the last of them are taken as they
are. From there on every record is looked at. Only the last segment can be torn,
since the recorder puts one on disk before it begins the next; of the others two
entries and the last interval are looked at, and everything where that is odd.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from fwdcap.store import pcap
from fwdcap.store.index_files import ENTRY_BYTES, ENTRY_WORDS
from fwdcap.store.indexer import LEAP_NS, Scan, Totals, head_caplen, head_time, scan

_AHEAD = 256  # heads whose pages are being read
_SECTOR = 512
_CHUNK_BYTES = 1 << 20


class Care(Enum):
    """How closely to look at a segment."""

    SEALED = "sealed"  # first and last entry, and the last interval
    OPEN = "open"  # every entry of the index, and the last interval
    RECORDS = "records"  # every record


class Rest(Enum):
    """What follows the last whole record."""

    NOTHING = "nothing"
    PADDING = "padding"  # zeros: preallocated, or the end of the last unit
    CUT = "cut"  # the beginning of a record
    DAMAGE = "damage"  # bytes that are no record


@dataclass(frozen=True)
class Told:
    """What tags and checkpoint say of a segment: its records and its length; None: nothing."""

    records: int | None = None
    length: int | None = None


@dataclass(frozen=True)
class Finding:
    """A segment as it should be: `length` bytes, `index` entries, the stream up to its end.

    `rest_bytes` of kind `rest` follow in the file, without zeros at their end.
    """

    header: bytes
    header_wrong: bool
    size: int
    length: int
    index: bytes
    totals: Totals
    first_ns: int
    rest: Rest = Rest.NOTHING
    rest_bytes: int = 0


def examine(
    path: Path, index: bytes, before: Totals, first_ns: int, told: Told, care: Care
) -> Finding:
    """Looks at one segment; a missing file is an empty one. Raises OSError.

    `index` is what its index file holds, `before` the stream up to the segment
    and `first_ns` the time of the stream's first record, 0 if this is to say.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return _empty(before, first_ns)
    try:
        return _examine(fd, index, before, first_ns, told, care)
    finally:
        os.close(fd)


def _empty(before: Totals, first_ns: int) -> Finding:
    header = pcap.file_header()
    return Finding(header, True, 0, len(header), b"", before, first_ns)


def _examine(
    fd: int, index: bytes, before: Totals, first_ns: int, told: Told, care: Care
) -> Finding:
    size = os.fstat(fd).st_size
    entries = Entries(index, before)
    kept, found = _walk(fd, entries, size, before, first_ns, care)
    if care is Care.SEALED and not _as_told(found, size, before, told):
        kept, found = _walk(fd, entries, size, before, first_ns, Care.OPEN)
    written = _last_written(fd, found.end, size)
    if written == found.end and _is_torn(fd, found, before, told):
        assert found.last_offset is not None
        kept, found = _walk(fd, entries, found.last_offset, before, first_ns, care)
        rest = Rest.DAMAGE
        written = _last_written(fd, found.end, size)
    else:
        rest = _kind(fd, found.end, written, size)
    head = os.pread(fd, pcap.FILE_HEADER_BYTES, 0)
    right = pcap.link_type_of(head) is not None
    return Finding(
        header=head if right else pcap.file_header(),
        header_wrong=not right,
        size=size,
        length=found.end,
        index=kept + found.entries,
        totals=found.totals,
        first_ns=found.first_ns,
        rest=rest,
        rest_bytes=written - found.end,
    )


def _walk(
    fd: int, entries: Entries, size: int, before: Totals, first_ns: int, care: Care
) -> tuple[bytes, Scan]:
    """The entries that are kept, and the walk over the records from there on."""
    count = _trusted(fd, entries, size, care)
    if not count:
        return b"", scan(fd, pcap.FILE_HEADER_BYTES, size, before, first_ns)
    kept = entries.shifted(count)
    _, previous_ns, offset, packets, stream_bytes = memoryview(kept).cast("Q")[-ENTRY_WORDS:]
    start = Totals(packets, stream_bytes, previous_ns)
    return kept[:-ENTRY_BYTES], scan(fd, offset, size, start, first_ns or entries.times[0])


def _trusted(fd: int, entries: Entries, size: int, care: Care) -> int:
    """How many entries from the first on are taken as they are."""
    if care is Care.RECORDS:
        return 0
    count = entries.rising(size)
    if care is Care.SEALED and count and _sound(fd, entries, [0, count - 1], size) == 2:
        return count
    return _sound(fd, entries, range(count), size)


class Entries:
    """The entries of an index file, whatever it holds, after a stream of `before`."""

    def __init__(self, raw: bytes, before: Totals) -> None:
        words = memoryview(raw[: len(raw) // ENTRY_BYTES * ENTRY_BYTES]).cast("Q")
        self._words = words
        self._before = before
        self.times, self._previous, self.offsets, self._packets, self._sizes = (
            words[column::ENTRY_WORDS] for column in range(ENTRY_WORDS)
        )

    def rising(self, size: int) -> int:
        """How many entries from the first on are possible in a segment of `size` bytes."""
        if not len(self.times) or self.offsets[0] != pcap.FILE_HEADER_BYTES:
            return 0
        if self.times[0] < self._before.last_ns:
            return 0
        to_stream = self._sizes[0] - self.offsets[0]
        last_ns, last_offset, last_packets = self.times[0], 0, self._packets[0] - 1
        columns = zip(
            self.times, self._previous, self.offsets, self._packets, self._sizes, strict=True
        )
        for number, (ns, previous_ns, offset, packets, stream_bytes) in enumerate(columns):
            if (
                offset + pcap.RECORD_HEADER_BYTES > size
                or stream_bytes - offset != to_stream
                or not last_ns <= ns <= last_ns + LEAP_NS
                or (number and not last_ns <= previous_ns < ns)
                or packets <= last_packets
                or (packets - last_packets) * pcap.RECORD_HEADER_BYTES > offset - last_offset
            ):
                return number
            last_ns, last_offset, last_packets = ns, offset, packets
        return len(self.times)

    def shifted(self, count: int) -> bytes:
        """The first `count` entries, counting from the stream as it is now before them."""
        packets = self._before.packets - self._packets[0]
        size = self._before.bytes - self._sizes[0]
        words = bytearray(self._words[: count * ENTRY_WORDS])
        changed = memoryview(words).cast("Q")
        changed[1] = self._before.last_ns
        if packets or size:
            for at in range(3, len(changed), ENTRY_WORDS):
                changed[at] += packets
                changed[at + 1] += size
        return bytes(words)


def _sound(fd: int, entries: Entries, numbers: Sequence[int], size: int) -> int:
    """How many of these entries, one after the other, have their record where they say."""
    offsets = [entries.offsets[number] for number in numbers]
    for place, offset in enumerate(offsets):
        if place % _AHEAD == 0:
            for later in offsets[place : place + 2 * _AHEAD]:
                length = pcap.RECORD_HEADER_BYTES
                os.posix_fadvise(fd, later, length, os.POSIX_FADV_WILLNEED)
        raw = os.pread(fd, pcap.RECORD_HEADER_BYTES, offset)
        if head_time(raw) != entries.times[numbers[place]]:
            return place
        if offset + pcap.RECORD_HEADER_BYTES + head_caplen(raw) > size:
            return place
    return len(offsets)


def _as_told(found: Scan, size: int, before: Totals, told: Told) -> bool:
    """Whether the segment ends where its file does, with as many records as it has tags."""
    return found.end == size and told.records == found.totals.packets - before.packets


def _last_written(fd: int, begin: int, size: int) -> int:
    """Where the zeros at the end of the file begin, `begin` at the earliest; skips its holes."""
    written = begin
    while begin < size:
        try:
            begin = os.lseek(fd, begin, os.SEEK_DATA)
            stop = os.lseek(fd, begin, os.SEEK_HOLE)
        except OSError:  # ENXIO: nothing but a hole is left
            break
        while begin < min(stop, size):
            chunk = os.pread(fd, min(_CHUNK_BYTES, stop - begin), begin)
            if not chunk:
                return written
            filled = len(chunk.rstrip(b"\0"))
            written = begin + filled if filled else written
            begin += len(chunk)
    return written


def _is_torn(fd: int, found: Scan, before: Totals, told: Told) -> bool:
    """Whether the last record's end is zeros because it never reached the disk.

    Nothing but zeros comes after it; they begin at a sector inside its frame,
    and tags or checkpoint say that it was not the last, or never finished. One that
    ends where the checkpoint says that the segment does is whole, whatever tags say.
    """
    if found.last_offset is None:
        return False
    raw = os.pread(fd, found.end - found.last_offset, found.last_offset)
    filled = found.last_offset + len(raw.rstrip(b"\0"))
    if -(-filled // _SECTOR) * _SECTOR >= found.end:
        return False
    records = found.totals.packets - before.packets
    if told.length is not None and told.length >= found.end:
        return told.length > found.end
    if told.records is None:
        return False
    unfinished = told.length is not None
    return told.records > records or (unfinished and told.records < records)


def _kind(fd: int, end: int, written: int, size: int) -> Rest:
    """What the bytes from `end` on are, of which those from `written` on are zeros."""
    if written == end:
        return Rest.PADDING if end < size else Rest.NOTHING
    raw = os.pread(fd, pcap.RECORD_HEADER_BYTES, end)
    if written - end < pcap.RECORD_HEADER_BYTES:
        return Rest.CUT
    if head_time(raw) is None:
        return Rest.DAMAGE
    return Rest.CUT if end + pcap.RECORD_HEADER_BYTES + head_caplen(raw) > size else Rest.DAMAGE
