"""What to do with a stream that an earlier fwdcapd left recording.

Its packets are safe either way; the question is only whether more can follow
into the same stream. They can while the ring it was fed from is still there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from fwdcap.store.stream_json import StreamJson

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Step(Enum):
    """GO_ON: as if nothing had been. RESTART: its recorder anew, into the same stream.
    RECOVER: end it, keep everything. LEAVE: it cannot be known yet."""

    GO_ON = "go on"
    RESTART = "restart"
    RECOVER = "recover"
    LEAVE = "leave"


@dataclass(frozen=True)
class Found:
    """What was found: `alive`, its recorder runs or has ended by itself; `path`, there is
    a data path, with the `same` pins and its emission `active`; `waiting`, the data path
    may still come; `taken`, another capture runs already."""

    alive: bool
    path: bool
    same: bool
    active: bool
    waiting: bool
    taken: bool


def decide(found: Found) -> Step:
    """The step to take."""
    if found.taken:
        return Step.RECOVER
    if not found.path:
        if found.alive:
            return Step.GO_ON
        return Step.LEAVE if found.waiting else Step.RECOVER
    if not (found.same and found.active):  # a new ring: what the old one held is gone
        return Step.RECOVER
    return Step.GO_ON if found.alive else Step.RESTART


def goes_on(words: StreamJson, boot: str, pins: Path | None) -> bool:
    """Should that capture, of which nothing more can come, go on as a new stream?

    Yes when it was the machine or the program that was changed under it, by a reboot or an
    upgrade; no when emission was switched off: that was the beginning of a stop.
    """
    if words.boot and boot and words.boot != boot:
        return True
    known = Path(words.pins)
    return bool(words.pins) and pins is not None and known != pins and known.parent == pins.parent


def boot_id() -> str:
    """Of the kernel that runs; '' where it does not say."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""
