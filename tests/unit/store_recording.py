"""Streams for tests of index, splits and recovery, made from a plain list of records.

The index is written by the sentence of abi.h taken literally, over all records
at once, so that the store's own indexing has a witness that is not itself.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

from fwdcap import abi
from fwdcap.store import checkpoint, pcap, stream_json
from fwdcap.store.stream_json import State, StreamJson

NS = 1_000_000_000
BEGIN_NS = 1_434_799_736 * NS + 123_456_789
ENTRY = struct.Struct("=5Q")


@dataclass(frozen=True)
class Record:
    """One record: its time (UTC nanoseconds) and its frame; `new` where it begins a segment."""

    ns: int
    frame: bytes
    new: bool = False

    @property
    def raw(self) -> bytes:
        return pcap.record_header(self.ns, len(self.frame), len(self.frame)) + self.frame


@dataclass(frozen=True)
class Stored:
    """A record with its place: segment, offset therein, bytes before it in the stream."""

    record: Record
    segment: int
    offset: int
    before: int


@dataclass(frozen=True)
class Recording:
    """A stream as the recorder would have written it."""

    root: Path
    records: Sequence[Record]
    stream: str = "cli_capture_20150620_1128"
    first_segment: int = 0

    @property
    def directory(self) -> Path:
        return self.root / "streams" / self.stream

    def stored(self) -> list[Stored]:
        found: list[Stored] = []
        segment, offset, before = self.first_segment, pcap.FILE_HEADER_BYTES, 0
        for number, record in enumerate(self.records):
            if record.new and number:
                segment, offset = segment + 1, pcap.FILE_HEADER_BYTES
            found.append(Stored(record, segment, offset, before))
            offset += len(record.raw)
            before += len(record.raw)
        return found

    def entries(self) -> list[list[tuple[int, ...]]]:
        """The index of each segment by abi.h: at every 256 KiB, at the first record of every
        second since the first, never between equal times, and where a segment begins."""
        segments: list[list[tuple[int, ...]]] = []
        second = entry_at = previous_ns = 0
        for number, item in enumerate(self.stored()):
            since = (item.record.ns - self.records[0].ns) // NS
            begins = item.segment - self.first_segment == len(segments)
            due = since > second or item.before - entry_at >= abi.INDEX_BYTES
            if begins:
                segments.append([])
            if begins or (due and item.record.ns != previous_ns):
                entry = (item.record.ns, previous_ns, item.offset, number, item.before)
                segments[-1].append(entry)
                entry_at, second = item.before, since
            previous_ns = item.record.ns
        return segments or [[]]

    def segments(self) -> list[bytes]:
        """The bytes of each segment file."""
        files = [bytearray(pcap.file_header())]
        for number, record in enumerate(self.records):
            if record.new and number:
                files.append(bytearray(pcap.file_header()))
            files[-1] += record.raw
        return [bytes(file) for file in files]

    def tags(self) -> list[bytes]:
        """The tags of each segment; the route id is the number of the record plus one."""
        files = [bytearray()]
        for number, record in enumerate(self.records):
            if record.new and number:
                files.append(bytearray())
            files[-1] += bytes(abi.Tag(route_id=number + 1, mode_direction=abi.Mode.INLINE))
        return [bytes(file) for file in files]

    def checkpoint(self, state: abi.RecorderState) -> abi.Checkpoint:
        size = sum(len(record.raw) for record in self.records)
        return abi.Checkpoint(
            generation=2,
            state=state,
            segment=self.first_segment + len(self.segments()) - 1,
            segment_bytes=len(self.segments()[-1]),
            segment_tags=len(self.tags()[-1]) // 8,
            segment_index=len(self.entries()[-1]),
            packets=len(self.records),
            bytes=size,
            frame_bytes=size - 16 * len(self.records),
            first_ns=self.records[0].ns if self.records else 0,
            last_ns=self.records[-1].ns if self.records else 0,
        )

    def words(self, state: State) -> StreamJson:
        return StreamJson(
            name="cli_capture",
            stream=self.stream,
            state=state,
            started_ns=self.records[0].ns if self.records else BEGIN_NS,
            stopped_ns=None if state == "recording" else BEGIN_NS + 3600 * NS,
            zone="Asia/Tokyo",
        )

    def write(self, complete: bool = False) -> Recording:
        """Puts it on disk, complete or as a recorder leaves it that is killed now."""
        self.directory.mkdir(parents=True)
        for number, raw in enumerate(self.segments()):
            stem = self.directory / f"{number + self.first_segment:06}"
            stem.with_suffix(".pcap").write_bytes(raw)
            stem.with_suffix(".tags").write_bytes(self.tags()[number])
            index = b"".join(ENTRY.pack(*entry) for entry in self.entries()[number])
            stem.with_suffix(".index").write_bytes(index)
        state = abi.RecorderState.COMPLETE if complete else abi.RecorderState.RUNNING
        slot = checkpoint.slot_bytes(self.checkpoint(state))
        (self.directory / checkpoint.FILE).write_bytes(slot + bytes(abi.CHECKPOINT_SLOT))
        words = self.words("complete" if complete else "recording")
        stream_json.write(self.directory / stream_json.FILE, words)
        return self


GAPS_NS = st.one_of(
    st.sampled_from([0, 0, 1, NS - 1, NS, NS + 1]),
    st.integers(0, 5 * NS // 2),
    st.integers(0, 20_000_000),
    st.sampled_from([61 * NS, 600 * NS, 3600 * NS]),
)


@st.composite
def histories(draw: st.DrawFn, most: int = 60, roll: bool = True) -> list[Record]:
    """Records with times that stand still, crawl and leap, frames from none to large."""
    steps = draw(
        st.lists(
            st.tuples(
                GAPS_NS,
                st.sampled_from([0, 1, 48, 600, 9000, 65536, 262_000]),
                st.booleans() if roll else st.just(False),
            ),
            min_size=1,
            max_size=most,
        )
    )
    ns, records = BEGIN_NS, []
    for number, (gap_ns, size, new) in enumerate(steps):
        ns += gap_ns if number else 0
        mark = (number + 1).to_bytes(4, "big")
        frame = (mark * (size // 4 + 1))[:size]
        records.append(Record(ns, frame, new and number % 3 == 0))
    return records
