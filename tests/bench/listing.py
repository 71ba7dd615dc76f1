"""How long it takes to list the splits of a terabyte: `python -m tests.bench.listing`.

Writes the index of a synthetic stream (1000 segments of 1 GB, 2 billion packets
in a day, 160 MB of index beside sparse pcap files), drops it from the page
cache before each view, and lists the view in a fresh process.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from array import array
from pathlib import Path

from fwdcap import abi
from fwdcap.store import checkpoint, stream_json
from fwdcap.store.indexer import Totals
from fwdcap.store.listing import open_splits
from fwdcap.store.stream_json import StreamJson
from fwdcap.store.views import VIEWS, view_named

STREAM = "terabyte_20260101_0000"
SEGMENTS = 1000
SEGMENT_BYTES = 1_000_000_000
PACKETS = 2_000_000_000
STARTED_NS = 1_767_225_600 * abi.INDEX_NS
DURATION_NS = 86_400 * abi.INDEX_NS
# The views the project makes a promise for, in milliseconds.
PROMISED_MS = {"split_1hour": 50, "split_1GB": 50, "split_1sec": 1000}
_COUNT = (
    "import sys, time\n"
    "from pathlib import Path\n"
    "from fwdcap.store.listing import open_splits\n"
    "from fwdcap.store.views import view_named\n"
    "begin = time.perf_counter()\n"
    "rows = list(open_splits(Path(sys.argv[1]), sys.argv[2], view_named(sys.argv[3])))\n"
    "print(len(rows), (time.perf_counter() - begin) * 1e3, sum(row.packets for row in rows))\n"
)


def main() -> int:
    options = _options()
    names = options.views or [view.name for view in VIEWS]
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="fwdcap-listing-") as top:
        root = Path(top)
        entries = write_terabyte(root)
        print(f"{SEGMENTS} segments, {PACKETS:,} packets, {entries:,} index entries")
        print(f"{'view':<12} {'splits':>9} {'cold ms':>9} {'again ms':>9} {'promised':>9}")
        for name in names:
            drop_from_cache(root / "streams" / STREAM)
            rows, cold_ms = _list_in_a_fresh_process(root, name)
            again_ms = _list_here(root, name)
            promised = PROMISED_MS.get(name, "")
            print(f"{name:<12} {rows:>9,} {cold_ms:>9.1f} {again_ms:>9.1f} {promised:>9}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.listing", description=__doc__)
    parser.add_argument("--directory", default="/var/tmp", help="where the index is written")
    parser.add_argument("--views", nargs="+", choices=[view.name for view in VIEWS])
    return parser.parse_args()


def write_terabyte(root: Path) -> int:
    """Writes the stream; returns its number of index entries. Rates vary by the minute."""
    directory = root / "streams" / STREAM
    directory.mkdir(parents=True)
    chance = random.Random(1)
    totals, entries = Totals(last_ns=0), 0
    for number in range(SEGMENTS):
        words, size, totals = _segment(totals, number, chance)
        stem = directory / f"{number:06}"
        stem.with_suffix(".index").write_bytes(words.tobytes())
        for suffix, length in ((".pcap", size), (".tags", 8 * (PACKETS // SEGMENTS))):
            stem.with_suffix(suffix).touch()
            os.truncate(stem.with_suffix(suffix), length)
        entries += len(words) // 5
    last = abi.Checkpoint(
        generation=1,
        state=abi.RecorderState.COMPLETE,
        segment=SEGMENTS - 1,
        segment_bytes=size,
        segment_tags=PACKETS // SEGMENTS,
        segment_index=len(words) // 5,
        packets=totals.packets,
        bytes=totals.bytes,
        first_ns=STARTED_NS,
        last_ns=totals.last_ns,
    )
    slots = bytes(abi.CHECKPOINT_SLOT) + checkpoint.slot_bytes(last)
    (directory / checkpoint.FILE).write_bytes(slots)
    words_ = StreamJson("terabyte", STREAM, "complete", STARTED_NS, STARTED_NS + DURATION_NS)
    stream_json.write(directory / stream_json.FILE, words_)
    return entries


def _segment(before: Totals, number: int, chance: random.Random) -> tuple[array[int], int, Totals]:
    """The entries of one segment, its length, and the stream after it."""
    words: array[int] = array("Q")
    length = SEGMENT_BYTES - chance.randrange(1500)
    ns_per_byte = DURATION_NS / (SEGMENTS * SEGMENT_BYTES) * chance.uniform(0.6, 1.4)
    bytes_per_packet = SEGMENTS * SEGMENT_BYTES / PACKETS
    offset, begin_ns = 24, before.last_ns + 1000 if number else STARTED_NS
    ns = begin_ns
    while offset < length:
        done = offset - 24
        packets = before.packets + int(done / bytes_per_packet)
        words.extend((ns, ns - 1000 if done or number else 0, offset, packets, before.bytes + done))
        second_ns = STARTED_NS + ((ns - STARTED_NS) // abi.INDEX_NS + 1) * abi.INDEX_NS
        step = abi.INDEX_BYTES + chance.randrange(1500)
        following_ns = ns + int(step * ns_per_byte)
        if following_ns >= second_ns:
            step = max(2000, int((second_ns - ns) / ns_per_byte))
            following_ns = second_ns + chance.randrange(40_000)
        offset, ns = offset + step, following_ns
    end = PACKETS // SEGMENTS * (number + 1)
    return words, length, Totals(end, before.bytes + length - 24, ns)


def drop_from_cache(directory: Path) -> None:
    """Leaves nothing of the stream's files in the page cache."""
    for path in directory.iterdir():
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def _list_in_a_fresh_process(root: Path, view: str) -> tuple[int, float]:
    command = [sys.executable, "-c", _COUNT, str(root), STREAM, view]
    rows, milliseconds, packets = subprocess.check_output(command, text=True).split()
    assert int(packets) == PACKETS
    return int(rows), float(milliseconds)


def _list_here(root: Path, view: str) -> float:
    begin = time.perf_counter()
    for _ in open_splits(root, STREAM, view_named(view)):
        pass
    return (time.perf_counter() - begin) * 1e3


if __name__ == "__main__":
    sys.exit(main())
