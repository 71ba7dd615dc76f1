"""The last account of a stream, for each way in which it can come to its end.

Which numbers are to be believed depends on that: where emission was switched
off before the recorder ended, the program's and the recorder's together; where
the recorder ended by itself, its own alone; after a reboot there are no others.
A stop that was cut short is the first case as long as the counters are there.
"""

from __future__ import annotations

from dataclasses import dataclass

from fwdcap import abi
from fwdcap.capture import counters, ending
from fwdcap.capture.caps import Caps
from fwdcap.capture.counters import Counters, Emitted
from fwdcap.capture.ending import End
from fwdcap.capture.session import Fate, Session
from fwdcap.store.stream_json import State

_UNCLEAN = "The recorder did not end cleanly; its stream ends at its last report."
_KINDS = {Fate.REMOVED: ending.REMOVED, Fate.ENDED: ending.SIGNAL}


@dataclass(frozen=True)
class Closed:
    """What is written down of a stream at its end; `continued_by` names the next one."""

    numbers: Counters
    end: End
    stopped_ns: int
    state: State = "complete"
    continued_by: str = ""


def drained(session: Session, total: Emitted, clean: bool, kind: str, utc_ns: int) -> Closed:
    """A stream that was asked to end, at which the program had counted `total`."""
    lost_on_disk = session.fate() in (Fate.FAILED, Fate.ROLLED)
    rest = abi.Loss.DISK if lost_on_disk else abi.Loss.UNKNOWN
    numbers = session.tally.settle(total, session.report(), rest)
    end = End(kind, "" if clean else _UNCLEAN)
    return Closed(numbers, end, utc_ns, "complete" if clean else "recovered")


def capped(session: Session, report: abi.Checkpoint, reason: abi.EndReason, utc_ns: int) -> Closed:
    """A stream that a cap ended: what was emitted after it is nobody's."""
    end_at = session.boundary()
    if end_at is None:
        numbers = counters.reported(report)
    else:
        numbers = session.tally.conclude(end_at, report)
    words = session.words
    end = ending.by_cap(words.name, Caps.of(words), reason)
    return Closed(numbers, end, ended_ns(report) or utc_ns)


def rolled(session: Session, end_at: Emitted, report: abi.Checkpoint, by: str, at: int) -> Closed:
    """A stream that goes on in `by`, from `at` (UTC ns) on."""
    numbers = session.tally.conclude(end_at, report)
    return Closed(numbers, End(ending.ROLLED), at, continued_by=by)


def failed(session: Session, total: Emitted, fate: Fate, why: str, utc_ns: int) -> Closed:
    """A stream whose recorder could not go on."""
    if fate is Fate.REMOVED:
        why = f"the directory of stream {session.words.stream} was removed"
    elif fate is Fate.ENDED:
        why = "somebody else told it to end"
    numbers = session.tally.settle(total, session.report(), abi.Loss.DISK)
    kind = _KINDS.get(fate, ending.DISK)
    end = ending.by_failure(session.words.name, kind, why or session.failure())
    return Closed(numbers, end, utc_ns)


def interrupted(session: Session, following: Session | None, total: Emitted, utc_ns: int) -> Closed:
    """A stream that an earlier daemon left; `following` is the running one, `total` what the
    program counts, all zeros where that is not this stream's any more."""
    words, report = session.words, session.report()
    stopped_ns = words.stopped_ns or utc_ns
    if report is None:
        return Closed(counters.reported(None), End(ending.INTERRUPTED), stopped_ns, "recovered")
    if following is not None and following.words.continues == words.stream:
        base = Emitted.of(following.words.baseline)
        return rolled(session, base, report, following.words.stream, ended_ns(report) or stopped_ns)
    numbers = counters.reported(report)
    if ending.is_cap(report.end_reason):
        end = ending.by_cap(words.name, Caps.of(words), abi.EndReason(report.end_reason))
        return Closed(numbers, end, ended_ns(report) or stopped_ns)
    if _counts(total, report):
        numbers = session.tally.settle(total, report, abi.Loss.UNKNOWN)
    whole = report.state == abi.RecorderState.COMPLETE and words.state != "recovered"
    state: State = "complete" if whole else "recovered"
    return Closed(numbers, End(ending.INTERRUPTED), stopped_ns, state)


def _counts(total: Emitted, report: abi.Checkpoint) -> bool:
    """Whether the program's counters are still those of the stream that ended with `report`.

    A roll is followed by others' packets, and one that never emitted has an earlier
    capture's counters, of which its recorder took no notice.
    """
    numbered = sum(report.next_sequence)
    return report.end_reason != abi.EndReason.ROLL and 0 < numbered <= total.seen


def ended_ns(report: abi.Checkpoint) -> int:
    """When the recorder says that the stream ended, UTC; 0 for not at all."""
    return int(report.ended_ns + report.clock_offset_ns) if report.ended_ns else 0
