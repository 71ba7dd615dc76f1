"""A recorder without a ring: `pins/records` says how many records there are to write.

Takes the real one's command line, reports through a checkpoint as it does, ends at
--max-packets, rolls on SIGUSR1 and goes on with --continue. It misbehaves when a
file of that name lies beside the pins: `refuse` ends it at once with a sentence,
`mute` keeps it from reporting, `slow` from ending, `fail` makes it give up (with
`wordless` beside it, without a sentence), `full` only when it is told to end.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from fwdcap import abi
from fwdcap.store import checkpoint

FRAME_BYTES = 100
OFFSET_NS = 1_000_000_000_000


class Stream:
    """What is reported; `base` is how many records of the ring are other streams'."""

    def __init__(self, directory: Path, follow: Path | None) -> None:
        self.path = directory / checkpoint.FILE
        before = checkpoint.read(self.path)
        rolled = checkpoint.read(follow / checkpoint.FILE) if follow and before is None else None
        self.value = before or abi.Checkpoint(
            begun_ns=rolled.ended_ns if rolled else time.monotonic_ns(),
            clock_offset_ns=OFFSET_NS,
            nr_rings=1,
        )
        if rolled:
            self.value.begun_sequence = rolled.begun_sequence + rolled.packets

    def room(self, ring: int, most: int | None) -> bool:
        """Take in what there is; False when that is as much as there may be."""
        new = ring - int(self.value.begun_sequence)
        self.value.packets = new if most is None else min(new, most)
        self.value.frame_bytes = self.value.packets * FRAME_BYTES
        self.value.bytes = self.value.packets * (FRAME_BYTES + 16)
        self.value.next_sequence[0] = self.value.begun_sequence + self.value.packets
        return most is None or self.value.packets < most

    def report(self, state: abi.RecorderState, reason: abi.EndReason) -> None:
        value = self.value
        value.generation += 1
        value.heartbeat_ns = time.monotonic_ns()
        value.state, value.end_reason = state, reason
        value.error = errno.ENOSPC if state == abi.RecorderState.FAILED else 0
        value.ended_ns = value.heartbeat_ns if reason else 0
        new = self.path.with_suffix(".new")
        new.write_bytes(checkpoint.slot_bytes(value))
        new.rename(self.path)


def ring(pins: Path) -> int:
    try:
        return int((pins / "records").read_text() or 0)
    except FileNotFoundError:
        return 0


def order() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("--pins", "--stream"):
        parser.add_argument(name, type=Path, required=True)
    for name in ("--snaplen", "--segment-bytes", "--user", "--max-bytes", "--max-seconds"):
        parser.add_argument(name)
    parser.add_argument("--max-packets", type=int)
    parser.add_argument("--continue", dest="follow", type=Path)
    return parser.parse_args()


def main() -> int:
    asked = order()
    ending: list[int] = []
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda number, frame: ending.append(number))
    pins: Path = asked.pins
    if (pins / "refuse").exists():
        print("fwdcap-recorder: the ring is not there", file=sys.stderr)
        return 1
    stream = Stream(asked.stream, asked.follow)
    if stream.value.state > abi.RecorderState.RUNNING:
        print("fwdcap-recorder: the stream has ended already", file=sys.stderr)
        return 1
    while True:
        state, reason = abi.RecorderState.RUNNING, abi.EndReason.NONE
        if not stream.room(ring(pins), asked.max_packets):
            reason = abi.EndReason.MAX_PACKETS
        elif ending and not (pins / "slow").exists():
            rolls = signal.SIGTERM not in ending
            reason = abi.EndReason.ROLL if rolls else abi.EndReason.SIGNAL
        if (pins / "fail").exists() or (ending and (pins / "full").exists()):
            state, reason = abi.RecorderState.FAILED, abi.EndReason.DISK
        elif reason:
            state = abi.RecorderState.COMPLETE
        if not (pins / "mute").exists():
            stream.report(state, reason)
        if state == abi.RecorderState.FAILED and not (pins / "wordless").exists():
            print("fwdcap-recorder: the disk is full", file=sys.stderr)
        if state != abi.RecorderState.RUNNING:
            return int(state == abi.RecorderState.FAILED)
        time.sleep(0.01)


if __name__ == "__main__":
    os._exit(main())
