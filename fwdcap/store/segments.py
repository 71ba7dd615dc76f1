"""The pcap files of one stream, and how much of each may be read.

The checkpoint says it; where it is missing or torn the files are measured: from
the last index entry on, record by record, to the first that cannot be one. A
preallocated or half-written tail is never handed out.

Retention may have removed the first segments. Index entries and checkpoint
count the whole stream, so what was removed is what the first kept entry has
before it: that is known from the files alone, whatever moment it is.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from fwdcap import abi
from fwdcap.errors import Unavailable
from fwdcap.store import checkpoint, names, pcap, places, stream_json
from fwdcap.store.indexer import Totals

SUFFIX = ".pcap"
Read = TypeVar("Read")

_SEGMENT = re.compile(r"\d{6,}\.pcap")
_ENTRY_BYTES = ctypes.sizeof(abi.IndexEntry)


@dataclass(frozen=True)
class Segment:
    """One segment file and its readable length, the file's own header included."""

    number: int
    name: str  # the whole path; a text, for there may be thousands
    length: int
    away: bool = False  # in an archive that cannot be read now

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
    """What a stream holds; times are UTC nanoseconds, None where no record is there.

    `before` is what retention removed; `anchor_ns` the time of the stream's
    first packet, whether or not it is still there. `away` are segments in an
    archive that cannot be read; they are counted, but not among `segments`.
    """

    segments: tuple[Segment, ...]
    packets: int = 0
    first_ns: int | None = None
    last_ns: int | None = None
    lost: int = 0
    checkpoint: abi.Checkpoint | None = None
    before: Totals = field(default_factory=Totals)
    anchor_ns: int | None = None
    away: tuple[int, ...] = ()
    removed_segments: int = 0
    first_name: str = ""  # the path of the first segment

    @property
    def size_bytes(self) -> int:
        """The exact length of the stream as one pcap file."""
        if self.away and self.checkpoint is not None:
            return pcap.FILE_HEADER_BYTES + self.checkpoint.bytes - self.before.bytes
        return pcap.FILE_HEADER_BYTES + sum(part.record_bytes for part in self.segments)


def contents(directory: Path, *, partly: bool = False) -> Contents:
    """What is readable in a stream's directory now; raises OSError only if it is not there.

    Raises Unavailable where some of it is in an archive that cannot be read,
    unless `partly`: then what can be known without that.
    """
    while not _begins_there(held := _contents(directory, partly)):
        pass  # each further look means one segment less: this ends with the segments
    return held


def look(directory: Path, read: Callable[[Contents], Read]) -> Read:
    """What `read` makes of the contents, again where the first segment went away beneath it.

    Retention takes one whole segment after the other from the beginning: while
    the first is there, nothing is missing. Each further look means one segment
    less, so this ends with the segments. Raises as `contents` and `read` do.
    """
    while True:
        held = contents(directory)
        try:
            return read(held)
        except OSError:
            if _begins_there(held):
                raise


def _begins_there(held: Contents) -> bool:
    return not held.first_name or os.path.lexists(held.first_name)


def _contents(directory: Path, partly: bool) -> Contents:
    # In this order: a segment that is begun meanwhile is then not yet of the stream.
    said = checkpoint.read(directory / checkpoint.FILE)
    files = list(_files(directory))
    if not partly and any(part.away for part in files):
        raise archive_away(directory.name)
    if said is None:
        return _measured(directory, files)
    kept = tuple(_committed(part, said) for part in files if part.number <= said.segment)
    before, first_ns = Totals(), said.first_ns or None
    if kept and kept[0].number:
        before, first_ns = _removed(directory, kept, said)
    return Contents(
        segments=tuple(part for part in kept if not part.away),
        packets=said.packets - before.packets,
        first_ns=first_ns,
        last_ns=said.last_ns or None,
        lost=sum(said.lost_records),
        checkpoint=said,
        before=before,
        anchor_ns=said.first_ns or None,
        away=tuple(part.number for part in kept if part.away),
        removed_segments=kept[0].number if kept else 0,
        first_name=kept[0].name if kept else "",
    )


def archive_away(stream: str) -> Unavailable:
    """The refusal everybody gives for a stream that is partly in an archive that is not there."""
    return Unavailable(
        f"Part of stream {names.shorten(stream)} is in the archive, which cannot be read.",
        code="archive-away",
        hint="Mount it where [store] archive says.",
    )


def first_entry(index_name: str) -> abi.IndexEntry | None:
    """The first entry of that index; None where there is none."""
    try:
        with open(index_name, "rb") as file:
            raw = file.read(_ENTRY_BYTES)
    except OSError:
        return None
    return abi.IndexEntry.from_buffer_copy(raw) if len(raw) == _ENTRY_BYTES else None


def segment_numbers(directory: Path) -> list[int]:
    """The numbers of the segments there, in order; raises OSError if it is not there.

    A link that does not lead to the archive is no segment.
    """
    with os.scandir(directory) as found:
        ours = [
            entry.name
            for entry in found
            if _SEGMENT.fullmatch(entry.name)
            and (not entry.is_symlink() or places.is_archived(directory, entry.name))
        ]
    return sorted(int(name.removesuffix(SUFFIX)) for name in ours)


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
        number, linked = int(entry.name[: -len(SUFFIX)]), entry.is_symlink()
        if linked and not places.is_archived(directory, entry.name):
            continue
        try:
            yield Segment(number, entry.path, entry.stat().st_size)
        except OSError:
            if linked and os.path.lexists(entry.path):
                yield Segment(number, entry.path, 0, away=True)


def _committed(part: Segment, said: abi.Checkpoint) -> Segment:
    if part.number < said.segment or part.away:
        return part
    return Segment(part.number, part.name, min(part.length, said.segment_bytes))


def _removed(
    directory: Path, kept: Sequence[Segment], said: abi.Checkpoint | None
) -> tuple[Totals, int | None]:
    """What was removed of a stream before the first of these segments, and its first time now."""
    entry = first_entry(kept[0].index_name)
    if entry is not None:
        return Totals(entry.packets, entry.bytes, entry.previous_ns), entry.first_ns
    words = stream_json.read(directory / stream_json.FILE)
    if words is not None and words.removed.get("segments") == kept[0].number:
        return Totals(words.removed["packets"], words.removed["bytes"]), _first_ns(kept[0])
    if said is None or any(part.away for part in kept):
        return Totals(), _first_ns(kept[0])
    packets = sum(sum(1 for _ in _heads(part)) for part in kept)
    size = sum(part.record_bytes for part in kept)
    return Totals(said.packets - packets, said.bytes - size), _first_ns(kept[0])


def _first_ns(part: Segment) -> int | None:
    return next((head.ns for head in _heads(part)), None)


def _heads(part: Segment) -> Iterator[pcap.RecordHead]:
    """The records of a segment; none where it cannot be read."""
    try:
        fd = os.open(part.name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        yield from pcap.walk(fd, pcap.FILE_HEADER_BYTES, part.length)
    finally:
        os.close(fd)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(pcap.FILE_HEADER_BYTES)
    except OSError:
        return b""


def _measured(directory: Path, files: Sequence[Segment]) -> Contents:
    segments: list[Segment] = []
    removed_segments = files[0].number if files else 0
    before = _removed(directory, files, None)[0] if removed_segments else Totals()
    packets = before.packets
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
    words = stream_json.read(directory / stream_json.FILE) if removed_segments else None
    return Contents(
        segments=tuple(segments),
        packets=packets - before.packets,
        first_ns=first,
        last_ns=last,
        before=before,
        anchor_ns=(words.original_first_ns if words else None) or first,
        away=tuple(part.number for part in files if part.away),
        removed_segments=removed_segments,
        first_name=files[0].name if files else "",
    )


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
