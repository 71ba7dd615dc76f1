"""Writes streams for tests the way fwdcapd and the recorder do.

Real pcap records, index entries, tags and a checkpoint, through the structures
of fwdcap/abi.py; frames are whatever the test gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fwdcap import abi
from fwdcap.store import checkpoint, pcap, stream_json
from fwdcap.store.stream_json import State, StreamJson

SECOND_NS = 1_000_000_000
# Sat Jun 20 2015 11:28:56 UTC, which is 20:28:56 where HTTP.md's examples live.
STARTED_NS = 1_434_799_736 * SECOND_NS

ROUTE = {
    "id": 1,
    "name": "orders-db",
    "client": "10.0.1.20",
    "capture": "10.0.1.166",
    "server": "10.0.2.41",
    "egress": "10.0.1.166",
    "modes": ["inline"],
    "enabled": True,
}


@dataclass(frozen=True)
class Packet:
    """One record: its time (UTC nanoseconds), its stored bytes, its length on the wire."""

    ns: int
    frame: bytes
    length: int = 0

    @property
    def record(self) -> bytes:
        head = pcap.record_header(self.ns, len(self.frame), self.length or len(self.frame))
        return head + self.frame


def packets(count: int, size: int = 60, start_ns: int = STARTED_NS) -> list[Packet]:
    """`count` frames of `size` bytes, a millisecond apart, no two alike."""
    return [
        Packet(start_ns + n * 1_000_000, n.to_bytes(4, "big") * (size // 4)) for n in range(count)
    ]


@dataclass
class StreamBuilder:
    """A stream in the making: add packets, roll to a new segment, finish as you like."""

    root: Path
    stream: str = "cli_capture_20150620_1128"
    name: str = "cli_capture"
    started_ns: int = STARTED_NS
    state: State = "recording"
    lost: int = 0
    stopped_ns: int | None = None
    counters: dict[str, object] = field(default_factory=dict)
    _segments: list[bytearray] = field(default_factory=lambda: [bytearray(pcap.file_header())])
    _index: list[list[bytes]] = field(default_factory=lambda: [[]])
    _tags: list[bytearray] = field(default_factory=lambda: [bytearray()])
    _packets: int = 0
    _bytes: int = 0
    _first_ns: int = 0
    _last_ns: int = 0
    _entry_at: int = 0
    _generation: int = 0

    @property
    def directory(self) -> Path:
        return self.root / "streams" / self.stream

    def add(self, more: Sequence[Packet]) -> StreamBuilder:
        for packet in more:
            self._add(packet)
        return self

    def _add(self, packet: Packet) -> None:
        segment, offset = self._segments[-1], len(self._segments[-1])
        if not self._index[-1] or self._bytes - self._entry_at >= abi.INDEX_BYTES:
            entry = abi.IndexEntry(
                packet.ns, self._last_ns, offset, packets=self._packets, bytes=self._bytes
            )
            self._index[-1].append(bytes(entry))
            self._entry_at = self._bytes
        segment += packet.record
        self._tags[-1] += bytes(abi.Tag(route_id=1, mode_direction=abi.Mode.INLINE))
        self._packets += 1
        self._bytes += len(packet.record)
        self._first_ns = self._first_ns or packet.ns
        self._last_ns = packet.ns

    def roll(self) -> StreamBuilder:
        """Goes on in a new segment."""
        self._segments.append(bytearray(pcap.file_header()))
        self._index.append([])
        self._tags.append(bytearray())
        return self

    def single(self) -> bytes:
        """What a download of the whole stream must be."""
        return pcap.file_header() + b"".join(
            bytes(part[pcap.FILE_HEADER_BYTES :]) for part in self._segments
        )

    def complete(self, stopped_ns: int | None = None) -> StreamBuilder:
        self.state = "complete"
        self.stopped_ns = stopped_ns or (self._last_ns or self.started_ns) + SECOND_NS
        self.counters = {
            "received_packets": self._packets,
            "error_packets": 0,
            "emitted_records": self._packets,
            "emitted_bytes": self._bytes - 16 * self._packets,
            "lost": {"ring-full": self.lost, "copy": 0, "disk": 0, "unknown": 0},
        }
        return self

    def words(self) -> StreamJson:
        return StreamJson(
            name=self.name,
            stream=self.stream,
            state=self.state,
            started_ns=self.started_ns,
            stopped_ns=self.stopped_ns,
            interface="cap0",
            pins="/sys/fs/bpf/fwdcap/cap0/g1",
            routes=(ROUTE,),
            counters=self.counters,
        )

    def checkpoint(self) -> abi.Checkpoint:
        done = self.state == "complete"
        state = abi.RecorderState.COMPLETE if done else abi.RecorderState.RUNNING
        lost = (self.lost, 0, 0, 0)
        return abi.Checkpoint(
            generation=self._generation,
            state=state,
            segment=len(self._segments) - 1,
            segment_bytes=len(self._segments[-1]),
            segment_tags=len(self._tags[-1]) // 8,
            segment_index=len(self._index[-1]),
            packets=self._packets,
            bytes=self._bytes,
            frame_bytes=self._bytes - 16 * self._packets,
            first_ns=self._first_ns,
            last_ns=self._last_ns,
            lost_records=type(abi.Checkpoint().lost_records)(*lost),
        )

    def write(self, tail: bytes = b"") -> StreamBuilder:
        """Puts everything on disk; `tail` follows the committed bytes of the open segment."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for number, segment in enumerate(self._segments):
            stem = self.directory / f"{number:06}"
            last = number == len(self._segments) - 1
            stem.with_suffix(".pcap").write_bytes(bytes(segment) + (tail if last else b""))
            stem.with_suffix(".index").write_bytes(b"".join(self._index[number]))
            stem.with_suffix(".tags").write_bytes(bytes(self._tags[number]))
        self.write_checkpoint()
        stream_json.write(self.directory / stream_json.FILE, self.words())
        return self

    def write_checkpoint(self) -> None:
        """Writes the slot whose turn it is; the other keeps what it had."""
        path = self.directory / checkpoint.FILE
        raw = bytearray(path.read_bytes() if path.exists() else bytes(2 * abi.CHECKPOINT_SLOT))
        at = self._generation % 2 * abi.CHECKPOINT_SLOT
        raw[at : at + abi.CHECKPOINT_SLOT] = checkpoint.slot_bytes(self.checkpoint())
        path.write_bytes(raw)
        self._generation += 1


def example(root: Path, count: int = 100) -> StreamBuilder:
    """One complete stream of three segments."""
    third = packets(count)
    builder = StreamBuilder(root).add(third[: count // 3]).roll()
    builder.add(third[count // 3 : count // 2]).roll().add(third[count // 2 :])
    return builder.complete().write()
