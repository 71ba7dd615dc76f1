"""The pcap files of one stream, and how much of each may be read.

The checkpoint says it; where it is missing or torn the files are measured: from
the last index entry on, record by record, to the first that cannot be one. A
preallocated or half-written tail is never handed out.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fwdcap import abi
from fwdcap.store import checkpoint, pcap

SUFFIX = ".pcap"
_SEGMENT = re.compile(r"\d{6,}\.pcap")
_ENTRY_BYTES = ctypes.sizeof(abi.IndexEntry)


@dataclass(frozen=True)
class Segment:
    """One segment file and its readable length, the file's own header included."""

    number: int
    name: str  # the whole path; a text, for there may be thousands
    length: int

    @property
    def path(self) -> Path:
        return Path(self.name)

    @property
    def index_name(self) -> str:
        """The path of the index that belongs to it."""
        return f"{self.name.removesuffix(SUFFIX)}.index"

    @property
    def record_bytes(self) -> int:
        """Bytes of record headers and frames."""
        return max(0, self.length - pcap.FILE_HEADER_BYTES)


@dataclass(frozen=True)
class Contents:
    """What a stream holds; times are UTC nanoseconds, None where no record is there."""

    segments: tuple[Segment, ...]
    packets: int = 0
    first_ns: int | None = None
    last_ns: int | None = None
    lost: int = 0
    checkpoint: abi.Checkpoint | None = None

    @property
    def size_bytes(self) -> int:
        """The exact length of the stream as one pcap file."""
        return pcap.FILE_HEADER_BYTES + sum(part.record_bytes for part in self.segments)


def contents(directory: Path) -> Contents:
    """What is readable in a stream's directory now; raises OSError only if it is not there."""
    # In this order: a segment that is begun meanwhile is then not yet of the stream.
    said = checkpoint.read(directory / checkpoint.FILE)
    files = list(_files(directory))
    if said is None:
        return _measured(files)
    committed = tuple(_committed(part, said) for part in files if part.number <= said.segment)
    return Contents(
        segments=committed,
        packets=said.packets,
        first_ns=said.first_ns or None,
        last_ns=said.last_ns or None,
        lost=sum(said.lost_records),
        checkpoint=said,
    )


def header_of(segments: Sequence[Segment]) -> bytes:
    """The pcap header of the whole stream: its first segment's, or a fresh one."""
    for part in segments:
        head = _head(part.path)
        if pcap.link_type_of(head) is not None:
            return head
    return pcap.file_header()


def _files(directory: Path) -> Iterator[Segment]:
    """The segment files there, in order, with their sizes as readable lengths."""
    with os.scandir(directory) as found:
        pcaps = [entry for entry in found if _SEGMENT.fullmatch(entry.name)]
    for entry in sorted(pcaps, key=lambda entry: int(entry.name[: -len(SUFFIX)])):
        try:
            length = entry.stat().st_size
        except FileNotFoundError:
            continue
        yield Segment(int(entry.name[: -len(SUFFIX)]), entry.path, length)


def _committed(part: Segment, said: abi.Checkpoint) -> Segment:
    if part.number < said.segment:
        return part
    return Segment(part.number, part.name, min(part.length, said.segment_bytes))


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(pcap.FILE_HEADER_BYTES)
    except OSError:
        return b""


def _measured(files: Sequence[Segment]) -> Contents:
    segments: list[Segment] = []
    packets = 0
    first: int | None = None
    last: int | None = None
    for part in files:
        try:
            fd = os.open(part.name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            begin = next(pcap.walk(fd, pcap.FILE_HEADER_BYTES, part.length), None)
            length, packets, last_here = _measure(fd, part, packets)
        finally:
            os.close(fd)
        segments.append(Segment(part.number, part.name, length))
        first = first if first is not None or begin is None else begin.ns
        last = last if last_here is None else last_here
    return Contents(tuple(segments), packets, first, last)


def _measure(fd: int, part: Segment, before: int) -> tuple[int, int, int | None]:
    """Readable length of one segment, packets in the stream up to its end, its last time."""
    length, packets = min(part.length, pcap.FILE_HEADER_BYTES), before
    entry = _last_entry(fd, part)
    start = entry.offset if entry else pcap.FILE_HEADER_BYTES
    if entry:
        packets = entry.packets
    last: int | None = None
    for head in pcap.walk(fd, start, part.length):
        length, packets, last = head.end, packets + 1, head.ns
    return length, packets, last


def _last_entry(fd: int, part: Segment) -> abi.IndexEntry | None:
    """The last index entry whose record is there as the entry says."""
    try:
        raw = Path(part.index_name).read_bytes()
    except OSError:
        return None
    for at in range(len(raw) // _ENTRY_BYTES - 1, -1, -1):
        entry = abi.IndexEntry.from_buffer_copy(raw, at * _ENTRY_BYTES)
        if pcap.FILE_HEADER_BYTES <= entry.offset < part.length:
            head = next(pcap.walk(fd, entry.offset, part.length), None)
            if head is not None and head.ns == entry.first_ns:
                return entry
    return None
