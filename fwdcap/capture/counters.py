"""What a capture's numbers are: sums, losses, rates. Pure.

The program counts per CPU what it saw and emitted, the recorder reports what is
on disk. The rule between them is seen = recorded + lost: whatever the program
numbered and the recorder did not write is lost, with the reason that is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fwdcap import abi

NS = 1_000_000_000
_RATE_WINDOW_NS = 900_000_000  # ticks are a second apart, give or take


@dataclass(frozen=True)
class Emitted:
    """The sum of all CPUs' counters; loss times are CLOCK_MONOTONIC, 0 for none."""

    seen: int = 0  # sequence numbers given out, lost ones included
    received_packets: int = 0
    error_packets: int = 0
    records: int = 0
    bytes: int = 0
    lost: Mapping[abi.Loss, int] = field(default_factory=dict)
    first_loss_ns: int = 0
    last_loss_ns: int = 0


@dataclass(frozen=True)
class Counters:
    """What is shown of a capture; loss times are UTC nanoseconds, None for none."""

    received_packets: int = 0
    error_packets: int = 0
    emitted_records: int = 0
    emitted_bytes: int = 0
    committed_records: int = 0
    committed_bytes: int = 0
    lost: Mapping[abi.Loss, int] = field(default_factory=dict)
    first_loss_ns: int | None = None
    last_loss_ns: int | None = None

    @property
    def lost_records(self) -> int:
        return sum(self.lost.values())

    def stored(self) -> dict[str, Any]:
        """The `counters` of stream.json; what is committed stands in the checkpoint."""
        return {
            "received_packets": self.received_packets,
            "error_packets": self.error_packets,
            "emitted_records": self.emitted_records,
            "emitted_bytes": self.emitted_bytes,
            "lost": losses(self.lost),
        }


@dataclass(frozen=True)
class Sample:
    """One moment of a running capture, for the rates."""

    at_ns: int
    records: int
    bytes: int


def word(member: abi.Loss | abi.Reason | abi.Mode | abi.Direction) -> str:
    """The name of an enum's member as JSON has it: RING_FULL → ring-full."""
    return member.name.lower().replace("_", "-")


def losses(lost: Mapping[abi.Loss, int]) -> dict[str, int]:
    """All reasons by name, also those without a loss."""
    return {word(reason): lost.get(reason, 0) for reason in abi.Loss}


def total(states: Iterable[abi.CpuState]) -> Emitted:
    """The counters of all CPUs as one."""
    every = list(states)
    first = [state.first_loss_ns for state in every if state.first_loss_ns]
    return Emitted(
        seen=sum(state.next_sequence for state in every),
        received_packets=sum(state.received_packets for state in every),
        error_packets=sum(state.error_packets for state in every),
        records=sum(state.emitted_records for state in every),
        bytes=sum(state.emitted_bytes for state in every),
        lost={
            reason: sum(int(state.lost_records[reason]) for state in every) for reason in abi.Loss
        },
        first_loss_ns=min(first, default=0),
        last_loss_ns=max((state.last_loss_ns for state in every), default=0),
    )


def live(emitted: Emitted, report: abi.Checkpoint | None) -> Counters:
    """A running capture: the program's losses, and the disk's, which the recorder counts."""
    lost = dict(emitted.lost)
    if report is not None:
        lost[abi.Loss.DISK] = int(report.lost_records[abi.Loss.DISK])
    return _joined(emitted, report, lost)


def settled(emitted: Emitted, report: abi.Checkpoint | None, rest: abi.Loss) -> Counters:
    """A capture that has ended: what was seen and is neither on disk nor explained is `rest`."""
    lost = dict(emitted.lost)
    committed = report.packets if report is not None else 0
    if report is not None:
        lost[abi.Loss.DISK] = int(report.lost_records[abi.Loss.DISK])
    lost.pop(abi.Loss.UNKNOWN, None)
    unexplained = max(0, emitted.seen - committed - sum(lost.values()))
    lost[rest] = lost.get(rest, 0) + unexplained
    return _joined(emitted, report, lost)


def reported(report: abi.Checkpoint | None) -> Counters:
    """A capture whose kernel counters are gone (a reboot): what the recorder knew."""
    if report is None:
        return Counters()
    return Counters(
        received_packets=report.packets,
        emitted_records=report.packets,
        emitted_bytes=report.frame_bytes,
        committed_records=report.packets,
        committed_bytes=report.frame_bytes,
        lost={reason: int(report.lost_records[reason]) for reason in abi.Loss},
        first_loss_ns=report.first_loss_ns or None,
        last_loss_ns=report.last_loss_ns or None,
    )


def kept(stored: Mapping[str, Any], report: abi.Checkpoint | None) -> Counters:
    """A capture of the past, from its stream.json and its checkpoint."""
    if not stored:
        return reported(report)
    lost = stored.get("lost") or {}
    return Counters(
        received_packets=int(stored.get("received_packets", 0)),
        error_packets=int(stored.get("error_packets", 0)),
        emitted_records=int(stored.get("emitted_records", 0)),
        emitted_bytes=int(stored.get("emitted_bytes", 0)),
        committed_records=report.packets if report is not None else 0,
        committed_bytes=report.frame_bytes if report is not None else 0,
        lost={reason: int(lost.get(word(reason), 0)) for reason in abi.Loss},
    )


def rates(history: Sequence[Sample], now: Sample) -> tuple[int, int]:
    """(bits, packets) per second since the latest sample that is a second old."""
    old = [sample for sample in history if now.at_ns - sample.at_ns >= _RATE_WINDOW_NS]
    if not old:
        return 0, 0
    then = old[-1]
    span_ns = now.at_ns - then.at_ns
    bits = (now.bytes - then.bytes) * 8 * NS // span_ns
    return max(0, bits), max(0, (now.records - then.records) * NS // span_ns)


def _joined(
    emitted: Emitted, report: abi.Checkpoint | None, lost: Mapping[abi.Loss, int]
) -> Counters:
    first, last = _loss_times(emitted, report)
    return Counters(
        received_packets=emitted.received_packets,
        error_packets=emitted.error_packets,
        emitted_records=emitted.records,
        emitted_bytes=emitted.bytes,
        committed_records=report.packets if report is not None else 0,
        committed_bytes=report.frame_bytes if report is not None else 0,
        lost=lost,
        first_loss_ns=first,
        last_loss_ns=last,
    )


def _loss_times(emitted: Emitted, report: abi.Checkpoint | None) -> tuple[int | None, int | None]:
    """First and last loss in UTC, the program's (monotonic) and the recorder's together."""
    if report is None:  # no clock yet to convert with
        return None, None
    offset = report.clock_offset_ns
    first = [at for at in (_utc(emitted.first_loss_ns, offset), report.first_loss_ns) if at]
    last = [at for at in (_utc(emitted.last_loss_ns, offset), report.last_loss_ns) if at]
    return min(first, default=None), max(last, default=None)


def _utc(monotonic_ns: int, offset_ns: int) -> int:
    return monotonic_ns + offset_ns if monotonic_ns else 0
