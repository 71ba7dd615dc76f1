"""What to do with a stream that an earlier fwdcapd left recording. Pure.

Its packets are safe either way; the question is only whether more can follow
into the same stream. They can while the ring it was fed from is still there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Step(Enum):
    """GO_ON: as if nothing had been. RESTART: its recorder anew, into the same stream.
    RECOVER: end it, keep everything. LEAVE: it cannot be known yet."""

    GO_ON = "go on"
    RESTART = "restart"
    RECOVER = "recover"
    LEAVE = "leave"


@dataclass(frozen=True)
class Found:
    """What was found: `alive`, its recorder runs; `path`, there is a data path, with the
    `same` pins and its emission `active`; `waiting`, the data path may still come;
    `taken`, another capture runs already."""

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
