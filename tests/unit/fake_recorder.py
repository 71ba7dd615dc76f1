"""A recorder without a ring: `pins/records` says how many records there are to write.

Takes the real one's command line, reports through a checkpoint as it does, and
misbehaves when a file of that name lies beside the pins: `refuse` ends it at
once with a sentence, `mute` keeps it from reporting, `fail` makes it give up (with
`wordless` beside it, without a sentence).
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


def report(stream: Path, generation: int, records: int, state: abi.RecorderState) -> None:
    value = abi.Checkpoint(
        generation=generation,
        heartbeat_ns=time.monotonic_ns(),
        state=state,
        error=errno.ENOSPC if state == abi.RecorderState.FAILED else 0,
        packets=records,
        frame_bytes=records * FRAME_BYTES,
        clock_offset_ns=OFFSET_NS,
    )
    path = stream / checkpoint.FILE
    new = path.with_suffix(".new")
    new.write_bytes(checkpoint.slot_bytes(value))
    new.rename(path)


def ring(pins: Path) -> int:
    try:
        return int((pins / "records").read_text() or 0)
    except FileNotFoundError:
        return 0


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("--pins", "--stream"):
        parser.add_argument(name, type=Path, required=True)
    for name in ("--snaplen", "--segment-bytes", "--user"):
        parser.add_argument(name)
    order = parser.parse_args()
    ending: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: ending.append(number))
    if (order.pins / "refuse").exists():
        print("fwdcap-recorder: the ring is not there", file=sys.stderr)
        return 1
    before = checkpoint.read(order.stream / checkpoint.FILE)
    generation = before.generation if before else 0
    while True:
        generation += 1
        failed = (order.pins / "fail").exists()
        state = abi.RecorderState.FAILED if failed else abi.RecorderState.RUNNING
        if ending and not failed:
            state = abi.RecorderState.COMPLETE
        if not (order.pins / "mute").exists():
            report(order.stream, generation, ring(order.pins), state)
        if failed and not (order.pins / "wordless").exists():
            print("fwdcap-recorder: the disk is full", file=sys.stderr)
        if state != abi.RecorderState.RUNNING:
            return int(failed)
        time.sleep(0.01)


if __name__ == "__main__":
    os._exit(main())
