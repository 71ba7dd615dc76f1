"""What a capture's numbers are: sums, losses, rates. Pure.

The program counts per CPU what it saw and emitted, the recorder reports what is
on disk. The rule between them is seen = recorded + lost: whatever the program
numbered and the recorder did not write is lost, with the reason that is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fwdcap import abi
from fwdcap.store.stream_json import Interfaces, interface_list, parse_interfaces

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
    interfaces: Interfaces = field(default_factory=dict)

    def since(self, base: Emitted) -> Emitted:
        """What came after `base`. Times of losses are then the recorder's to tell."""
        interfaces = _less(self.interfaces, base.interfaces)
        if not base.seen:
            return replace(self, interfaces=interfaces)
        return Emitted(
            seen=max(0, self.seen - base.seen),
            received_packets=max(0, self.received_packets - base.received_packets),
            error_packets=max(0, self.error_packets - base.error_packets),
            records=max(0, self.records - base.records),
            bytes=max(0, self.bytes - base.bytes),
            lost={why: max(0, self.lost.get(why, 0) - base.lost.get(why, 0)) for why in abi.Loss},
            interfaces=interfaces,
        )

    def to_dict(self) -> dict[str, Any]:
        """As `baseline` of stream.json has it."""
        return {
            "seen": self.seen,
            "received_packets": self.received_packets,
            "error_packets": self.error_packets,
            "emitted_records": self.records,
            "emitted_bytes": self.bytes,
            "lost": losses(self.lost),
            "interfaces": interface_list(self.interfaces),
        }

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Emitted:
        """The baseline of a stream.json; zeros for an empty one."""
        lost = raw.get("lost") or {}
        return cls(
            seen=int(raw.get("seen", 0)),
            received_packets=int(raw.get("received_packets", 0)),
            error_packets=int(raw.get("error_packets", 0)),
            records=int(raw.get("emitted_records", 0)),
            bytes=int(raw.get("emitted_bytes", 0)),
            lost={why: int(lost.get(word(why), 0)) for why in abi.Loss},
            interfaces=parse_interfaces(raw.get("interfaces")),
        )


@dataclass(frozen=True)
class Counters:
    """What is shown of a capture; loss times are UTC nanoseconds, None for none.

    `interfaces` is empty where it is not known.
    """

    received_packets: int = 0
    error_packets: int = 0
    emitted_records: int = 0
    emitted_bytes: int = 0
    committed_records: int = 0
    committed_bytes: int = 0
    lost: Mapping[abi.Loss, int] = field(default_factory=dict)
    first_loss_ns: int | None = None
    last_loss_ns: int | None = None
    interfaces: Interfaces = field(default_factory=dict)

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
            "interfaces": interface_list(self.interfaces),
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


def total(states: Iterable[abi.CpuState], interfaces: Interfaces | None = None) -> Emitted:
    """The counters of all CPUs as one, with those by route and mode where they are given."""
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
        interfaces=interfaces or {},
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


def boundary(
    base: Emitted,
    report: abi.Checkpoint,
    before: Emitted,
    after: Emitted,
    now: Emitted | None = None,
) -> Emitted:
    """What the program had counted where a stream ended by itself and emission went on.

    Records, bytes and losses are the recorder's, exact to the record. The program counts
    packets and not at that moment, so those received and those not forwarded are taken
    between two looks at it, `before` and `after`, in proportion to the records seen. What
    it counts by route and mode is looked at only `now`, and so between `base` and that.
    """
    now = now or after
    lost = {why: int(report.lost_records[why]) for why in abi.Loss}
    rest = lost[abi.Loss.DISK] + lost[abi.Loss.UNKNOWN]  # emitted, and not on disk
    seen = base.seen + int(report.packets) + sum(lost.values())
    share = _Share(before.seen, after.seen, seen)
    of_all = _Share(base.seen, now.seen, seen)
    return Emitted(
        seen=seen,
        received_packets=share.of(before.received_packets, after.received_packets),
        error_packets=share.of(before.error_packets, after.error_packets),
        records=base.records + int(report.packets) + rest,
        bytes=base.bytes + int(report.frame_bytes),
        lost={why: base.lost.get(why, 0) + lost[why] for why in abi.Loss},
        interfaces={
            key: (of_all.of(known[0], counts[0]), of_all.of(known[1], counts[1]))
            for key, counts in now.interfaces.items()
            for known in (base.interfaces.get(key, (0, 0)),)
        },
    )


def concluded(base: Emitted, end: Emitted, report: abi.Checkpoint) -> Counters:
    """A stream that ended by itself, between those two: seen = recorded + lost by the record."""
    own = end.since(base)
    return replace(
        _joined(own, report, {why: int(report.lost_records[why]) for why in abi.Loss}),
        first_loss_ns=int(report.first_loss_ns) or None,
        last_loss_ns=int(report.last_loss_ns) or None,
    )


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
        interfaces=parse_interfaces(stored.get("interfaces")),
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


@dataclass(frozen=True)
class _Share:
    """Where between two looks a moment is, by the records seen."""

    before: int
    after: int
    at: int

    def of(self, before: int, after: int) -> int:
        span = self.after - self.before
        if span <= 0:
            return after
        part = min(max(self.at - self.before, 0), span)
        return before + ((after - before) * part + span // 2) // span


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
        interfaces=emitted.interfaces,
    )


def _less(interfaces: Interfaces, base: Interfaces) -> Interfaces:
    return {
        key: (max(0, recorded - before[0]), max(0, lost - before[1]))
        for key, (recorded, lost) in interfaces.items()
        for before in (base.get(key, (0, 0)),)
    }


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
