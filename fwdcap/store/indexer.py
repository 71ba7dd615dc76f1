"""Where index entries begin, by the rule of abi.h, over records already on disk.

The recorder writes the index as it goes. Where that is missing or torn it is
made again from the records: the same entries, because the rule looks at nothing
but times and lengths. The walk over the records also finds where a segment
stops making sense.
"""

from __future__ import annotations

import os
import struct
from array import array
from dataclasses import dataclass

from fwdcap import abi
from fwdcap.store.pcap import RECORD_HEADER_BYTES

# A record this much later than the one before it is none.
LEAP_NS = 366 * 86_400 * abi.INDEX_NS

_HEAD = struct.Struct("=IIII")
_READ_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Totals:
    """A stream up to some record: packets, bytes with record headers, and the last time (UTC)."""

    packets: int = 0
    bytes: int = 0
    last_ns: int = 0


@dataclass(frozen=True)
class Scan:
    """What a walk found: where it ended, the stream up to there, and the entries on the way.

    `last_offset` is where the last whole record begins, None where there was none.
    """

    end: int
    totals: Totals
    first_ns: int
    entries: bytes
    last_offset: int | None


def head_time(raw: bytes) -> int | None:
    """The time of the record that begins with these 16 bytes; None where it cannot be one."""
    if len(raw) < RECORD_HEADER_BYTES:
        return None
    seconds, nanoseconds, caplen, length = _HEAD.unpack_from(raw)
    if not seconds or nanoseconds >= abi.INDEX_NS or not caplen <= length <= abi.PCAP_SNAPLEN:
        return None
    return int(seconds * abi.INDEX_NS + nanoseconds)


def head_caplen(raw: bytes) -> int:
    """Stored bytes of the frame whose record begins with these 16 bytes."""
    return int(_HEAD.unpack_from(raw)[2])


def scan(fd: int, offset: int, end: int, before: Totals, first_ns: int) -> Scan:
    """Walks the whole records of [offset, end), up to the first that cannot be one.

    The first of them opens an interval: it is a segment's first, or an entry
    stands there already. `before` is the stream up to it and `first_ns` the
    time of the stream's first record, 0 where this is it.
    """
    unpack, second_ns, most = _HEAD.unpack_from, abi.INDEX_NS, abi.PCAP_SNAPLEN
    packets, last_ns = before.packets, before.last_ns
    to_stream = before.bytes - offset
    entries = array("Q")
    due_ns, due = 0, offset
    horizon_ns = last_ns + LEAP_NS if last_ns else 1 << 64
    last_offset, sensible = -1, True
    while sensible and offset + RECORD_HEADER_BYTES <= end:
        window = os.pread(fd, _READ_BYTES, offset)
        at, last_at = 0, min(len(window), end - offset) - RECORD_HEADER_BYTES
        if last_at < 0:
            break
        room, due_at = end - offset, due - offset
        while at <= last_at:
            seconds, nanoseconds, caplen, length = unpack(window, at)
            ns = seconds * second_ns + nanoseconds
            after = at + RECORD_HEADER_BYTES + caplen
            if (
                not last_ns <= ns <= horizon_ns
                or not seconds
                or nanoseconds >= second_ns
                or not caplen <= length <= most
                or after > room
            ):
                sensible = False
                break
            if (ns >= due_ns or at >= due_at) and (ns != last_ns or not entries):
                here = offset + at
                entries.extend((ns, last_ns, here, packets, here + to_stream))
                first_ns = first_ns or ns
                due_at = at + abi.INDEX_BYTES
                due_ns = first_ns + ((ns - first_ns) // second_ns + 1) * second_ns
                horizon_ns = ns + LEAP_NS
            packets, last_ns, last_offset = packets + 1, ns, offset + at
            at = after
        due, offset = offset + due_at, offset + at
    return Scan(
        end=offset,
        totals=Totals(packets, offset + to_stream, last_ns),
        first_ns=first_ns,
        entries=entries.tobytes(),
        last_offset=last_offset if last_offset >= 0 else None,
    )
