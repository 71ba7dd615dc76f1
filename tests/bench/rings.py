"""What a ring shared by CPUs costs, and what merging several costs: docs/decisions/0009.

    .venv/bin/python -m tests.bench.rings        (root; about a minute)

Emission is the test producer's (fwdcap/native/bpf/emit.bpf.c), not the data
path's: no packet is relayed, so a difference shows as large as it can be. Draining
is a recorder that finds its rings full. Of several rounds the least disturbed
counts, since the machine may have other work.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.lab.recorder_rig import Producer, Recorder

ROUNDS = 8
RINGS_BYTES = 128 << 20  # of all together
FRAMES = {64: 300_000, 1500: 40_000}  # size, and how many records a CPU emits


def on_each(cpus: list[int], work: Callable[[], None]) -> None:
    """Run `work` on every CPU at once."""
    begin = threading.Barrier(len(cpus))

    def run(cpu: int) -> None:
        os.sched_setaffinity(threading.get_native_id(), {cpu})
        begin.wait()
        work()

    threads = [threading.Thread(target=run, args=(cpu,)) for cpu in cpus]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def emission_ns(rings: int, cpus: list[int], size: int, records: int) -> float:
    """Nanoseconds a record, on the slowest of the CPUs."""
    with Producer(RINGS_BYTES // rings, rings) as producer:
        producer.activate()
        spent: list[float] = []

        def work() -> None:
            start = time.monotonic_ns()
            producer.emit(bytes(size), times=records)
            spent.append((time.monotonic_ns() - start) / records)

        on_each(cpus, lambda: producer.emit(bytes(size), times=1000))  # touched once
        on_each(cpus, work)
        return max(spent)


def drain_ns(rings: int, cpus: list[int], size: int, records: int) -> float:
    """Processor nanoseconds a record of the thread that merges and copies."""
    place = Path(tempfile.mkdtemp(prefix="fwdcap-bench-", dir=os.environ.get("TMPDIR", "/var/tmp")))
    try:
        with Producer(RINGS_BYTES // rings, rings) as producer:
            Recorder(producer.pins, place, user="root").ready().kill()
            producer.activate()
            on_each(cpus, lambda: producer.emit(bytes(size), times=records))
            total = producer.emitted()
            recorder = Recorder(producer.pins, place, user="root")
            last = recorder.wait_for(lambda found: found.packets >= total)
            statistics = Path(f"/proc/{recorder.process.pid}/schedstat").read_text()
            recorder.finish()
            return int(statistics.split()[0]) / last.packets
    finally:
        shutil.rmtree(place)


def main() -> None:
    cpus = sorted(os.sched_getaffinity(0))
    print(f"{'frame':>6} {'rings':>5} {'CPUs':>5} {'emit':>8} {'drain':>8}   ns a record")
    for size, records in FRAMES.items():
        for rings, used in ((1, cpus[:1]), (1, cpus), (len(cpus), cpus)):
            count = records * len(cpus) // len(used)
            emit = min(emission_ns(rings, used, size, count) for _ in range(ROUNDS))
            drain = min(drain_ns(rings, used, size, count) for _ in range(ROUNDS))
            print(f"{size:>6} {rings:>5} {len(used):>5} {emit:>8.0f} {drain:>8.0f}")


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("tests.bench.rings needs root.")
    main()
