"""How long a 10 GB unfinished segment takes to recover: `python -m tests.bench.recovery`.

Writes a segment whose index is whole but for its torn end, and of its records
the heads that recovery reads: every one an entry points at, and all of the last
intervals. Drops it from the page cache and recovers it in a fresh process. The
second figure is a look at every record, with the index gone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from array import array
from pathlib import Path

from fwdcap import abi
from fwdcap.store import checkpoint, pcap, stream_json
from fwdcap.store.stream_json import StreamJson
from tests.bench.listing import drop_from_cache

STREAM = "unfinished_20260101_0000"
STARTED_NS = 1_767_225_600 * abi.INDEX_NS
FRAME_BYTES = 1498
RECORD_BYTES = 16 + FRAME_BYTES
STEP_NS = 1200  # 10 Gbit/s
PROMISED_MS = 2000
_RECOVER = (
    "import sys, time\n"
    "from pathlib import Path\n"
    "from fwdcap.store.recover import recover_stream\n"
    "begin = time.perf_counter()\n"
    "found = recover_stream(Path(sys.argv[1]))\n"
    "print(found.packets, (time.perf_counter() - begin) * 1e3)\n"
)


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="fwdcap-recovery-") as top:
        directory = Path(top) / "streams" / STREAM
        packets = write_unfinished(directory, options.bytes, every=options.every)
        drop_from_cache(directory)
        found, milliseconds = _recover_in_a_fresh_process(directory)
        assert found == packets
        print(f"{packets:,} packets, {options.bytes:,} bytes, index whole but for its end")
        print(f"recovered in {milliseconds:.0f} ms, promised {PROMISED_MS}")
        if options.every:
            (directory / "000000.index").unlink()
            drop_from_cache(directory)
            found, milliseconds = _recover_in_a_fresh_process(directory)
            assert found == packets
            print(f"without an index in {milliseconds:.0f} ms")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.recovery", description=__doc__)
    parser.add_argument("--directory", default="/var/tmp", help="where the segment is written")
    parser.add_argument("--bytes", type=int, default=10_000_000_000)
    parser.add_argument("--every", action="store_true", help="write all records: 10 GB on disk")
    return parser.parse_args()


def write_unfinished(directory: Path, size: int, every: bool) -> int:
    """Writes the stream as a killed recorder leaves it; returns its number of packets."""
    directory.mkdir(parents=True)
    packets = size // RECORD_BYTES
    entries = _entries(packets)
    numbers = set(entries[3::5])
    last = entries[3::5][-4]  # the torn index ends before the last three
    with (directory / "000000.pcap").open("wb") as file:
        file.write(pcap.file_header())
        for number in range(packets):
            if every or number in numbers or number > last:
                file.seek(24 + number * RECORD_BYTES)
                file.write(_record(number))
        file.write(pcap.record_header(STARTED_NS * 2, 1000, 1000))
    (directory / "000000.index").write_bytes(entries.tobytes()[:-100])
    (directory / "000000.tags").write_bytes(bytes(8 * packets))
    _write_reports(directory, packets, len(entries) // 5)
    return packets


def _entries(packets: int) -> array[int]:
    words: array[int] = array("Q")
    entry_bytes, second = -abi.INDEX_BYTES, 0
    for number in range(packets):
        ns, before = number * STEP_NS, number * RECORD_BYTES
        if before - entry_bytes < abi.INDEX_BYTES and ns // abi.INDEX_NS == second:
            continue
        entry_bytes, second = before, ns // abi.INDEX_NS
        previous_ns = STARTED_NS + ns - STEP_NS if number else 0
        words.extend((STARTED_NS + ns, previous_ns, 24 + before, number, before))
    return words


def _record(number: int) -> bytes:
    head = pcap.record_header(STARTED_NS + number * STEP_NS, FRAME_BYTES, FRAME_BYTES)
    return head + b"\xa5" * FRAME_BYTES


def _write_reports(directory: Path, packets: int, entries: int) -> None:
    said = abi.Checkpoint(
        generation=1,
        state=abi.RecorderState.RUNNING,
        segment_bytes=24 + packets * RECORD_BYTES,
        segment_tags=packets,
        segment_index=entries,
        packets=packets,
        bytes=packets * RECORD_BYTES,
        first_ns=STARTED_NS,
        last_ns=STARTED_NS + (packets - 1) * STEP_NS,
    )
    slots = bytes(abi.CHECKPOINT_SLOT) + checkpoint.slot_bytes(said)
    (directory / checkpoint.FILE).write_bytes(slots)
    words = StreamJson("unfinished", STREAM, "recording", STARTED_NS)
    stream_json.write(directory / stream_json.FILE, words)


def _recover_in_a_fresh_process(directory: Path) -> tuple[int, float]:
    command = [sys.executable, "-c", _RECOVER, str(directory)]
    begin = time.perf_counter()
    packets, milliseconds = subprocess.check_output(command, text=True).split()
    assert float(milliseconds) <= (time.perf_counter() - begin) * 1e3
    return int(packets), float(milliseconds)


if __name__ == "__main__":
    sys.exit(main())
