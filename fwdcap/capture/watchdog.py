"""Whether a recorder gets on with its work. Pure.

Its heartbeat stands still when either of its threads hangs, and its count stands
still when it turns without getting anywhere. Either is said after three seconds
and ended at the look after, when it is still so. Killing is safe, it goes on from
its checkpoint; but a disk that takes ten seconds over a write would be given ever
the same ten seconds, so the patience doubles until records arrive again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fwdcap import abi
from fwdcap.capture.counters import NS

PATIENCE_NS = 3 * NS
MOST_PATIENCE_NS = 60 * NS


@dataclass(frozen=True)
class Watch:
    """What is remembered from look to look; times are CLOCK_MONOTONIC.

    `began_ns` is when this recorder was started, `moved_ns` when it last got on or had
    nothing to do. `trouble` is the sentence about it, '' when all is well; `hopeless`
    that it should be replaced.
    """

    began_ns: int
    moved_ns: int
    written: int = -1
    patience_ns: int = PATIENCE_NS
    trouble: str = ""
    hopeless: bool = False

    @classmethod
    def begin(cls, now_ns: int) -> Watch:
        return cls(now_ns, now_ns)

    def replaced(self, now_ns: int, hung: bool) -> Watch:
        """For the next recorder; `hung`: the last one was given up, as the one before it may be."""
        patience_ns = min(2 * self.patience_ns, MOST_PATIENCE_NS) if hung else self.patience_ns
        return Watch(now_ns, now_ns, self.written, patience_ns)

    def look(self, now_ns: int, report: abi.Checkpoint | None, emitted: int) -> Watch:
        """After another look; `emitted` records of the stream have gone into the rings."""
        written = _written(report)
        waits = report is not None and bool(report.error)  # for room on the disk, and says so
        if written > self.written or written >= emitted or waits:
            moved = replace(self, moved_ns=now_ns, written=written)
            patience_ns = PATIENCE_NS if written > self.written >= 0 else self.patience_ns
            return moved._judged(now_ns, report, patience_ns)
        return self._judged(now_ns, report, self.patience_ns)

    def _judged(self, now_ns: int, report: abi.Checkpoint | None, patience_ns: int) -> Watch:
        heartbeat_ns = int(report.heartbeat_ns) if report is not None else 0
        silent_ns = now_ns - max(heartbeat_ns, self.began_ns)
        stalled_ns = now_ns - max(self.moved_ns, self.began_ns)
        if silent_ns > PATIENCE_NS:
            trouble = f"The recorder has not reported for {silent_ns // NS} s."
        elif stalled_ns > PATIENCE_NS:
            trouble = f"The recorder has written nothing for {stalled_ns // NS} s; packets wait."
        else:
            trouble = ""
        hopeless = bool(self.trouble and trouble) and max(silent_ns, stalled_ns) > patience_ns
        return replace(self, trouble=trouble, hopeless=hopeless, patience_ns=patience_ns)


def _written(report: abi.Checkpoint | None) -> int:
    """Records that came out of the rings: on disk, or known to be lost there."""
    if report is None:
        return 0
    lost = report.lost_records
    return int(report.packets + lost[abi.Loss.DISK] + lost[abi.Loss.UNKNOWN])
