"""The recorder on a disk that fails, hangs, goes read-only, disappears or loses its power."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from recorder_rig import (
    Mount,
    Producer,
    Record,
    Recorder,
    assert_each_once,
    assert_sound,
    tool,
)

from fwdcap import abi
from fwdcap.store import checkpoint as checkpoints

pytest_plugins = ["recorder_fixtures"]

DISTURBER = Path(__file__).parent / "disturb_calls.c"
EXT4_IOC_SHUTDOWN = 0x8004587D  # fs/ext4/ext4.h
NO_LOG_FLUSH = 2
MS = 1_000_000
SECOND = 1000 * MS


@dataclass(frozen=True)
class Disturber:
    """Preloaded into a recorder, disturbs calls while its switch is on."""

    directory: Path
    library: Path

    @property
    def switch(self) -> Path:
        return self.directory / "on"

    def environment(self, call: str, name: str = "", error: int = 0) -> dict[str, str]:
        """`call` on files named so fails with `error`, or hangs where that is 0."""
        return {
            "LD_PRELOAD": str(self.library),
            "DISTURB_WHILE": str(self.switch),
            "DISTURB_CALL": call,
            "DISTURB_NAME": name,
            "DISTURB_ERRNO": str(error),
            "DISTURB_LOG": str(self.directory / "log"),
        }

    def calls(self) -> list[tuple[str, str]]:
        """What was called on which file, by the last part of its name."""
        lines = (self.directory / "log").read_text().splitlines()
        return [(call, Path(name).name) for call, name in map(str.split, lines)]

    @contextmanager
    def on(self) -> Iterator[None]:
        self.switch.touch()
        yield
        self.switch.unlink()


@pytest.fixture
def disturber() -> Iterator[Disturber]:
    """In a place that nobody reaches, unlike tmp_path."""
    directory = Path(tempfile.mkdtemp(prefix="fwdcap-test-"))
    directory.chmod(0o777)
    library = directory / "disturb_calls.so"
    command = ["cc", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, DISTURBER, "-ldl"]
    subprocess.run(command, check=True)
    yield Disturber(directory, library)
    shutil.rmtree(directory)


def processor_s(recorder: Recorder) -> float:
    """Processor time used so far."""
    fields = Path(f"/proc/{recorder.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def started(record: Record, producer: Producer, **more: object) -> Recorder:
    """A recorder that has committed a thousand packets and synced them."""
    recorder = record("--segment-bytes=1000000", "--block-bytes=131072", **more).ready()
    producer.activate()
    producer.emit(bytes(500), times=1000)
    recorder.wait_for(lambda found: found.packets == 1000)
    return recorder


def sentence(stream: Path, packets: int, error: int) -> str:
    return (
        f"fwdcap-recorder: cannot write the stream in {stream}, which ends after"
        f" {packets} packets: {os.strerror(error)}\n"
    )


# ---- a disk that fails


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("pwrite", ".pcap"),
        ("pwrite", ".tags"),
        ("pwrite", ".index"),
        ("fdatasync", ".tags"),
        ("fdatasync", "x_20260101_0000"),
    ],
)
def test_an_error_of_the_disk_seals_what_is_committed(
    producer: Producer, record: Record, stream: Path, disturber: Disturber, call: str, name: str
) -> None:
    recorder = started(record, producer, environment=disturber.environment(call, name, errno.EIO))
    with disturber.on():
        for _ in range(60):  # a sync is made every few seconds
            producer.emit(bytes(500), times=100)
            time.sleep(0.1)
            if recorder.process.poll() is not None:
                break
        assert recorder.ended() == 1
    last = recorder.checkpoint()
    assert last
    assert (last.state, last.error) == (abi.RecorderState.FAILED, errno.EIO)
    assert last.end_reason == abi.EndReason.DISK
    assert recorder.said() == sentence(stream, last.packets, errno.EIO)
    assert last.packets >= 1000
    assert last.lost_records[abi.Loss.DISK] == sum(last.next_sequence) - last.packets
    assert_sound(stream, last)
    assert producer.released() == last.ring_position[0]


def test_losses_to_a_disk_begin_with_the_first_record_that_is_not_on_it(
    producer: Producer, record: Record, stream: Path, disturber: Disturber
) -> None:
    """Not when the recorder gave up, which is seconds later where it waited for room."""
    environment = disturber.environment("pwrite", ".pcap", errno.EIO)
    recorder = started(record, producer, environment=environment)
    with disturber.on():
        before_ns = time.monotonic_ns()
        producer.emit(bytes(500), times=10)
        after_ns = time.monotonic_ns()
        assert recorder.ended() == 1
    last = recorder.checkpoint()
    assert last
    assert list(last.lost_records) == [0, 0, 10, 0]
    first_ns, last_ns = (
        at - last.clock_offset_ns for at in (last.first_loss_ns, last.last_loss_ns)
    )
    assert before_ns <= first_ns <= after_ns <= last_ns <= last.ended_ns
    assert last.ring_first_loss_ns[0] == last.first_loss_ns


def test_a_stream_that_cannot_be_sealed_is_failed(
    producer: Producer, record: Record, stream: Path, disturber: Disturber
) -> None:
    environment = disturber.environment("fsync", ".tags", errno.EIO)
    recorder = started(record, producer, environment=environment)
    with disturber.on():
        recorder.send(signal.SIGTERM)
        assert recorder.ended() == 1
    last = recorder.checkpoint()
    assert last
    assert (last.state, last.error) == (abi.RecorderState.FAILED, errno.EIO)
    assert recorder.said() == (
        f"fwdcap-recorder: cannot seal the stream in {stream}: {os.strerror(errno.EIO)}\n"
    )


def test_a_disk_that_takes_nothing_at_all_releases_nothing(
    producer: Producer, record: Record, stream: Path, disturber: Disturber
) -> None:
    recorder = started(record, producer, environment=disturber.environment("pwrite", "", errno.EIO))
    released = producer.released()
    before = recorder.checkpoint()
    assert before
    with disturber.on():
        producer.emit(bytes(500), times=1000)
        assert recorder.ended() == 1
    assert recorder.said() == sentence(stream, 1000, errno.EIO)
    assert producer.released() == released == before.ring_position[0]
    # The disk is well again, and nothing has been lost.
    last = record("--segment-bytes=1000000").ready().finish()
    assert_each_once(assert_sound(stream, last), producer)


def test_a_filesystem_that_turns_read_only_releases_nothing(
    producer: Producer, record: Record, mounted: Mount, ext4: Path
) -> None:
    stream = mounted("ext4", "loop", ext4)
    recorder = started(record, producer, stream=stream)
    released = producer.released()
    tool("mount", "-o", "remount,abort", stream.parent)
    producer.emit(bytes(500), times=1000)
    assert recorder.ended() == 1
    said = recorder.said()
    assert said in (sentence(stream, 1000, error) for error in (errno.EROFS, errno.EIO))
    assert producer.released() == released


def test_a_directory_that_was_removed_ends_it(
    producer: Producer, record: Record, stream: Path
) -> None:
    recorder = started(record, producer)
    released = producer.released()
    shutil.rmtree(stream)
    start = time.monotonic()
    producer.emit(bytes(500), times=100)
    assert recorder.ended() == 1
    assert time.monotonic() - start < 1
    assert recorder.said() == sentence(stream, 1000, errno.ENOENT)
    assert producer.released() == released


def test_a_file_that_was_removed_ends_it_when_nothing_comes(
    producer: Producer, record: Record, stream: Path
) -> None:
    recorder = started(record, producer)
    (stream / "000000.tags").unlink()
    assert recorder.ended() == 1
    last = recorder.checkpoint()
    assert last
    assert (last.state, last.error) == (abi.RecorderState.FAILED, errno.ENOENT)


def test_a_full_disk_that_is_waited_for_says_so_and_keeps_its_heart(
    producer: Producer, record: Record, mounted: Mount
) -> None:
    stream = mounted("tmpfs", "size=8m")
    filler = stream.parent / "filler"
    filler.write_bytes(bytes(6 << 20))
    recorder = record("--segment-bytes=1000000", "--block-bytes=131072", stream=stream).ready()
    producer.activate()
    producer.emit(bytes(1000), times=5000)
    waiting = recorder.wait_for(lambda found: found.error == errno.ENOSPC)
    assert waiting.state == abi.RecorderState.RUNNING
    used = processor_s(recorder)
    beats = set()
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        beats.add(recorder.wait_for(lambda _: True).heartbeat_ns)
        time.sleep(0.02)
    assert len(beats) >= 3
    assert processor_s(recorder) - used < 0.5
    recorder.kill()  # what it said of the disk is not taken over
    recorder = record("--segment-bytes=1000000", "--block-bytes=131072", stream=stream)
    filler.unlink()
    last = recorder.wait_for(lambda found: found.packets == 5000)
    assert last.error == 0
    assert_each_once(assert_sound(stream, recorder.finish()), producer)


# ---- a thread that hangs


@pytest.mark.parametrize(
    ("call", "name"), [("pwrite", ".pcap"), ("pwrite", "checkpoint"), ("nanosleep", "")]
)
def test_whichever_thread_hangs_the_heart_stops(
    producer: Producer, record: Record, stream: Path, disturber: Disturber, call: str, name: str
) -> None:
    recorder = started(record, producer, environment=disturber.environment(call, name))
    with disturber.on():
        producer.emit(bytes(500), times=1000)
        time.sleep(0.3)
        before = recorder.checkpoint()
        used = processor_s(recorder)
        time.sleep(2.5)
        after = recorder.checkpoint()
        assert before
        assert after
        assert after.generation - before.generation <= 1
        assert time.monotonic_ns() - after.heartbeat_ns > 2 * SECOND
        assert processor_s(recorder) - used < 0.5
    recorder.wait_for(lambda found: found.heartbeat_ns > after.heartbeat_ns)
    assert_each_once(assert_sound(stream, recorder.finish()), producer)


def test_a_sync_that_hangs_stops_nothing(
    producer: Producer, record: Record, stream: Path, disturber: Disturber
) -> None:
    with disturber.on():
        recorder = started(record, producer, environment=disturber.environment("fdatasync"))
        for count in range(1, 6):
            time.sleep(0.3)
            producer.emit(bytes(500), times=1000)
            last = recorder.wait_for(lambda found, c=count: found.packets == 1000 * (c + 1))
        assert (last.synced_packets, last.synced_ns) == (0, 0)
    assert_each_once(assert_sound(stream, recorder.finish()), producer)


# ---- power


def test_what_is_committed_is_synced_within_five_seconds(
    producer: Producer, record: Record, disturber: Disturber
) -> None:
    recorder = started(record, producer, environment=disturber.environment("none"))
    syncs = {}
    until = time.monotonic() + 10
    while time.monotonic() < until:
        producer.emit(times=50)
        found = recorder.checkpoint()
        assert found
        syncs[found.synced_ns] = found.synced_packets
        time.sleep(0.02)
    times = sorted(ns for ns in syncs if ns)
    assert len(times) >= 2
    assert max(b - a for a, b in itertools.pairwise(times)) < 5 * SECOND
    assert list(syncs.values()) == sorted(syncs.values())
    recorder.finish()

    synced = [name for call, name in disturber.calls() if call == "fdatasync"]
    rounds = list(zip(*[iter(synced)] * 5, strict=True))
    assert len(rounds) >= 2
    for parts in rounds:
        assert [re.sub(r"^\d{6}\.", "N.", name) for name in parts] == [
            "N.pcap",
            "N.tags",
            "N.index",
            "x_20260101_0000",
            "checkpoint",
        ]


def whole_records(segment: Path) -> int:
    """Records of 500 bytes that stand in the segment before anything else does."""
    raw = segment.read_bytes()
    heads = range(24, len(raw) - 515, 516)
    lengths = (struct.unpack_from("=II", raw, at + 8) for at in heads)
    return sum(1 for _ in itertools.takewhile(lambda each: each == (500, 500), lengths))


@pytest.mark.parametrize("direct", [True, False])
def test_a_power_cut_leaves_what_was_synced(
    producer: Producer, record: Record, mounted: Mount, ext4: Path, direct: bool
) -> None:
    options = "loop" if direct else "loop,data=journal"  # which does without direct I/O
    stream = mounted("ext4", options, ext4)
    recorder = record("--segment-bytes=3000000", "--block-bytes=131072", stream=stream).ready()
    producer.activate()
    with producer.emitting(bytes(500), pause_s=0.02):
        before = recorder.wait_for(lambda found: found.synced_packets > 1000)
        place = os.open(stream.parent, os.O_RDONLY)
        fcntl.ioctl(place, EXT4_IOC_SHUTDOWN, struct.pack("=I", NO_LOG_FLUSH))
        os.close(place)
    assert recorder.ended() == 1
    # A copy: other mount namespaces may still hold on to the one that was cut off.
    disk = ext4.with_name("after.image")
    shutil.copyfile(ext4, disk)
    tool("umount", stream.parent)
    tool("mount", "-o", "loop", disk, stream.parent)

    after = checkpoints.read(stream / "checkpoint")
    assert after
    assert after.packets >= before.synced_packets
    tags = sum(path.stat().st_size for path in stream.glob("*.tags")) // 8
    assert tags >= before.synced_packets
    assert sum(map(whole_records, stream.glob("*.pcap"))) >= before.synced_packets
