"""How captures end, in a word for programs and a sentence for people. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from fwdcap import abi
from fwdcap.capture.caps import Caps

STOPPED = "stopped"
SCHEDULE = "schedule"
ROLLED = "rolled"
DISK = "disk"
FAILED = "failed"
REMOVED = "removed"
SIGNAL = "signal"
INTERRUPTED = "interrupted"

# Ends that nobody asked for: a scheduled capture is tried again after them.
FAILURES = frozenset({DISK, FAILED, REMOVED, SIGNAL})
_CAPS = {
    abi.EndReason.MAX_BYTES: "max-bytes",
    abi.EndReason.MAX_PACKETS: "max-packets",
    abi.EndReason.MAX_SECONDS: "max-seconds",
}


@dataclass(frozen=True)
class End:
    """`kind` is `ended` of stream.json, `message` what there is to say beside the stop itself."""

    kind: str
    message: str = ""

    @property
    def failed(self) -> bool:
        return self.kind in FAILURES


def by_cap(name: str, caps: Caps, reason: abi.EndReason) -> End:
    """A capture that ended by itself."""
    return End(_CAPS[reason], f"capture [{name}] ended: {caps.reached(reason)}")


def is_cap(reason: int) -> bool:
    """Whether that end_reason is a cap's."""
    return reason in _CAPS


def by_failure(name: str, kind: str, why: str) -> End:
    """A capture whose recorder could not go on."""
    return End(kind, f"Capture [{name}] was stopped, its recorder failed: {why.rstrip('.')}.")
