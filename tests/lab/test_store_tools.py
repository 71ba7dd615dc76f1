"""What the recorder wrote, cut by its index and mended after a crash; read by other tools."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from recorder_rig import (
    NATIVE,
    Producer,
    Recorder,
    Stored,
    expected_index,
    read_index,
    read_records,
    stamps,
)

from fwdcap import abi
from fwdcap.cli import main
from fwdcap.store import checkpoint
from fwdcap.store.download import open_range, open_single
from fwdcap.store.listing import open_splits
from fwdcap.store.recover import recover_stream
from fwdcap.store.views import VIEWS

RING_BYTES = 16 << 20
SEGMENT_BYTES = 1_000_000
FRAME = bytes(range(1, 201))
STREAM = "x_20260101_0000"


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    products = ["build/fwdcap-recorder", "build/emit.bpf.o"]
    subprocess.run(["make", "-s", "-C", NATIVE, *products], check=True)


@pytest.fixture
def producer() -> Iterator[Producer]:
    with Producer(RING_BYTES) as made:
        yield made


@pytest.fixture
def store(tmp_path: Path) -> Path:
    directory = tmp_path / "store" / "streams" / STREAM
    directory.mkdir(parents=True)
    shutil.chown(directory, "nobody")
    return tmp_path / "store"


@pytest.fixture
def recorder(producer: Producer, store: Path) -> Iterator[Recorder]:
    directory = store / "streams" / STREAM
    limit = f"--segment-bytes={SEGMENT_BYTES}"
    made = Recorder(producer.pins, directory, limit).ready()
    yield made
    made.process.kill()
    made.process.communicate()


def record_some(producer: Producer, recorder: Recorder, seconds: float) -> None:
    """Traffic for some seconds, and all of it committed."""
    producer.activate()
    with producer.emitting(FRAME):
        time.sleep(seconds)
    producer.deactivate()
    recorder.wait_for(lambda found: found.packets == producer.emitted())


def counted_by_tools(path: Path) -> int:
    """Packets in that file, by three readers of pcap that must agree."""

    def run(*command: str | Path) -> str:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    counts = {
        int(run("capinfos", "-c", "-M", "-T", "-r", path).split("\t")[-1]),
        int(run("tcpdump", "--count", "-r", path).split()[0]),
        len(run("tshark", "-n", "-T", "fields", "-e", "frame.number", "-r", path).splitlines()),
    }
    (count,) = counts
    return count


def assert_whole(directory: Path) -> list[Stored]:
    """All files of a recovered stream agree. Returns its records."""
    records = read_records(directory)
    last = checkpoint.read(directory / "checkpoint")
    assert last is not None
    assert last.state == abi.RecorderState.COMPLETE
    assert last.packets == len(records)
    assert read_index(directory) == expected_index(records)
    assert sum(counted_by_tools(path) for path in sorted(directory.glob("*.pcap"))) == len(records)
    return records


def test_splits_of_a_running_capture_are_what_their_downloads_hold(
    producer: Producer, recorder: Recorder, store: Path, tmp_path: Path
) -> None:
    record_some(producer, recorder, 2.3)
    whole = open_single(store, STREAM).file.read()
    for view in VIEWS:
        rows = list(open_splits(store, STREAM, view))
        assert sum(row.packets for row in rows) == producer.emitted()
        body = b""
        for row in rows:
            part = open_range(store, STREAM, row.start_ns, row.stop_ns)
            assert part.length == row.size_bytes
            body += part.file.read()[24:]
        assert body == whole[24:]
    for number, row in enumerate(open_splits(store, STREAM, VIEWS[0])):
        path = tmp_path / f"{number}.pcap"
        path.write_bytes(open_range(store, STREAM, row.start_ns, row.stop_ns).file.read())
        assert counted_by_tools(path) == row.packets
    assert number >= 2


def test_a_stream_is_recovered_only_once_its_recorder_is_dead(
    producer: Producer, recorder: Recorder, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record_some(producer, recorder, 0.5)
    directory = store / "streams" / STREAM
    assert main.run(["store", "recover", str(directory)]) == 1
    assert f"process {recorder.process.pid}" in capsys.readouterr().err
    assert main.run(["store", "recover", str(store)]) == 0
    assert "recording" in capsys.readouterr().out
    assert (last := recorder.checkpoint()) is not None
    assert last.state == abi.RecorderState.RUNNING
    recorder.kill()
    tags = [path.read_bytes() for path in sorted(directory.glob("*.tags"))]
    assert main.run(["store", "recover", str(store)]) == 0
    assert "recovered" in capsys.readouterr().out
    records = assert_whole(directory)
    assert len(records) == producer.emitted()
    assert [path.read_bytes() for path in sorted(directory.glob("*.tags"))] == tags
    assert main.run(["store", "recover", str(store)]) == 0
    assert "intact" in capsys.readouterr().out


def test_copies_taken_at_random_moments_are_beginnings_of_the_stream(
    producer: Producer, recorder: Recorder, store: Path, tmp_path: Path
) -> None:
    """A power cut: whatever of the files was on disk then, with torn ends of all kinds."""
    directory = store / "streams" / STREAM
    chance = random.Random(1)
    copies = []
    producer.activate()
    with producer.emitting(FRAME, pause_s=0.002):
        for number in range(8):
            time.sleep(chance.uniform(0.05, 0.4))
            copies.append((tmp_path / f"{number}" / STREAM, recorder.checkpoint()))
            copy(directory, copies[-1][0])
    producer.deactivate()
    recorder.finish()
    truth = [(record.time_ns, record.frame) for record in read_records(directory)]
    for number, (taken, known) in enumerate(copies):
        tear(taken, number, chance)
        recover_stream(taken)
        found = assert_whole(taken)
        kept = [(record.time_ns, record.frame) for record in found]
        assert kept == truth[: len(kept)]
        assert known is not None
        if number % 4 != 3:  # else the torn unit held reported records
            assert len(kept) >= known.packets
        for sequence in stamps(found).values():
            assert sequence == list(range(len(sequence)))
        assert recover_stream(taken, thorough=True).outcome == "intact"


def copy(directory: Path, to: Path) -> None:
    """The files one after the other, while the recorder goes on writing them."""
    to.mkdir(parents=True)
    for path in sorted(directory.iterdir(), reverse=True):
        shutil.copyfile(path, to / path.name)


def tear(directory: Path, kind: int, chance: random.Random) -> None:
    last = max(directory.glob("*.pcap"))
    raw = last.read_bytes()
    if kind % 4 == 0:
        last.write_bytes(raw + chance.randbytes(3000))
    elif kind % 4 == 1:
        last.with_suffix(".index").unlink(missing_ok=True)
        last.with_suffix(".tags").write_bytes(b"")
    elif kind % 4 == 2:
        (directory / "checkpoint").write_bytes(chance.randbytes(16384))
        last.with_suffix(".index").write_bytes(chance.randbytes(400))
    else:
        last.write_bytes(raw[: max(0, len(raw) - 4096)])
