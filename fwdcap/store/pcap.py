"""Heads of nanosecond pcap files.

Segments are ordinary pcap (draft-ietf-opsawg-pcap) with nanosecond times, in
the byte order of the machine that wrote them, which is the one that reads them.
`walk` goes from record to record by their heads alone: it finds where a segment
whose checkpoint is lost stops making sense.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from dataclasses import dataclass

from fwdcap import abi

FILE_HEADER_BYTES = ctypes.sizeof(abi.PcapFileHeader)
RECORD_HEADER_BYTES = ctypes.sizeof(abi.PcapRecordHeader)

_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class RecordHead:
    """Where a record begins in its segment, when it was seen (UTC), and its stored length."""

    offset: int
    ns: int
    caplen: int

    @property
    def end(self) -> int:
        """The offset of whatever follows this record."""
        return self.offset + RECORD_HEADER_BYTES + self.caplen


def file_header(link_type: int = abi.LINKTYPE_ETHERNET) -> bytes:
    """The 24 bytes every segment and every download begins with."""
    return bytes(
        abi.PcapFileHeader(
            magic=abi.PCAP_MAGIC_NS,
            version_major=2,
            version_minor=4,
            snaplen=abi.PCAP_SNAPLEN,
            link_type=link_type,
        )
    )


def record_header(ns: int, caplen: int, length: int) -> bytes:
    """The 16 bytes in front of a frame."""
    seconds, nanoseconds = divmod(ns, abi.INDEX_NS)
    return bytes(
        abi.PcapRecordHeader(seconds=seconds, nanoseconds=nanoseconds, caplen=caplen, len=length)
    )


def link_type_of(head: bytes) -> int | None:
    """The link type of a segment that begins with `head`; None where that is no such file."""
    if len(head) < FILE_HEADER_BYTES:
        return None
    header = abi.PcapFileHeader.from_buffer_copy(head)
    return header.link_type if header.magic == abi.PCAP_MAGIC_NS else None


def walk(fd: int, offset: int, end: int) -> Iterator[RecordHead]:
    """The heads of the whole records in [offset, end), up to the first that cannot be one."""
    window, begins = b"", offset
    while offset + RECORD_HEADER_BYTES <= end:
        at = offset - begins
        if at + RECORD_HEADER_BYTES > len(window):
            window, begins, at = os.pread(fd, _READ_BYTES, offset), offset, 0
            if len(window) < RECORD_HEADER_BYTES:
                return
        raw = abi.PcapRecordHeader.from_buffer_copy(window, at)
        head = RecordHead(offset, raw.seconds * abi.INDEX_NS + raw.nanoseconds, raw.caplen)
        if not _plausible(raw) or head.end > end:
            return
        yield head
        offset = head.end


def _plausible(raw: abi.PcapRecordHeader) -> bool:
    return (
        raw.seconds > 0
        and raw.nanoseconds < abi.INDEX_NS
        and raw.caplen <= abi.PCAP_SNAPLEN
        and raw.caplen <= raw.len
    )
