"""The limits at which a capture ends by itself. Pure.

The recorder keeps them, to the record: a cap holds while no daemon runs, and
whatever is emitted after it is in no stream. A capture that rolls, or that a
reboot interrupted, has several streams and one set of caps, so each is given
what those before it left.
"""

from __future__ import annotations

import ctypes
from dataclasses import asdict, dataclass

from fwdcap import abi
from fwdcap.errors import Invalid
from fwdcap.store.stream_json import StreamJson

NS = 1_000_000_000
# The file's header and one record's: less holds nothing (recorder/main.c).
LEAST_BYTES = ctypes.sizeof(abi.PcapFileHeader) + ctypes.sizeof(abi.PcapRecordHeader)
MOST = 2**63 - 1
MOST_SECONDS = 1_000_000_000  # thirty years


@dataclass(frozen=True)
class Used:
    """What earlier streams of the capture took: records, their bytes in a pcap, time."""

    packets: int = 0
    bytes: int = 0
    ns: int = 0

    @classmethod
    def of(cls, words: StreamJson) -> Used:
        return cls(**{key: int(words.used.get(key, 0)) for key in ("packets", "bytes", "ns")})

    def and_by(self, report: abi.Checkpoint) -> Used:
        """With the stream of that report, which has ended."""
        span_ns = max(0, report.ended_ns - report.begun_ns) if report.ended_ns else 0
        span_ns = span_ns or max(0, report.last_ns - report.first_ns)
        return Used(self.packets + report.packets, self.bytes + report.bytes, self.ns + span_ns)

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True)
class Caps:
    """None where there is no such cap; bytes are those of the single pcap."""

    max_bytes: int | None = None
    max_packets: int | None = None
    max_seconds: int | None = None

    @classmethod
    def of(cls, words: StreamJson) -> Caps:
        return cls(words.max_bytes, words.max_packets, words.max_seconds)

    def checked(self) -> Caps:
        """Itself. Raises Invalid for a cap that nothing could be recorded under."""
        _check("max_bytes", self.max_bytes, LEAST_BYTES, MOST, "bytes")
        _check("max_packets", self.max_packets, 1, MOST, "packets")
        _check("max_seconds", self.max_seconds, 1, MOST_SECONDS, "seconds")
        return self

    def left(self, used: Used) -> Caps:
        """What is left of them; seconds are whole ones, rounded up."""
        seconds = None if self.max_seconds is None else -(-(self.max_seconds * NS - used.ns) // NS)
        return Caps(
            None if self.max_bytes is None else self.max_bytes - used.bytes,
            None if self.max_packets is None else self.max_packets - used.packets,
            seconds,
        )

    def used_up(self, used: Used) -> abi.EndReason | None:
        """The cap that leaves no room for another stream; None when there is some."""
        left = self.left(used)
        if left.max_packets is not None and left.max_packets < 1:
            return abi.EndReason.MAX_PACKETS
        if left.max_bytes is not None and left.max_bytes < LEAST_BYTES:
            return abi.EndReason.MAX_BYTES
        if left.max_seconds is not None and left.max_seconds < 1:
            return abi.EndReason.MAX_SECONDS
        return None

    def arguments(self) -> list[str]:
        """As options of the recorder."""
        named = asdict(self).items()
        return [
            part
            for name, value in named
            if value is not None
            for part in (f"--{name.replace('_', '-')}", str(value))
        ]

    def reached(self, reason: abi.EndReason) -> str:
        """Which cap ended the capture, in words."""
        if reason == abi.EndReason.MAX_BYTES:
            return f"{self.max_bytes or 0:,} bytes reached"
        if reason == abi.EndReason.MAX_PACKETS:
            return f"{self.max_packets or 0:,} packets reached"
        return f"{self.max_seconds or 0:,} seconds reached"


def _check(name: str, value: int | None, least: int, most: int, unit: str) -> None:
    if value is None or least <= value <= most:
        return
    raise Invalid(
        f"{name} of {value:,} {unit} cannot be used.",
        code="bad-cap",
        hint=f"Use {least} to {most:,}, or leave it out for none.",
    )
