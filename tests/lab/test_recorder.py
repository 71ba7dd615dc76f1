"""fwdcap-recorder alone, against a real ring: what it writes, counts and survives."""

from __future__ import annotations

import itertools
import os
import random
import signal
import struct
import time
from pathlib import Path

import pytest
from recorder_rig import (
    COUNTED,
    FORGOTTEN,
    NOBODY,
    RING_BYTES,
    UNCOPIED,
    Mount,
    Producer,
    Record,
    Recorder,
    assert_each_once,
    assert_sound,
    build_killer,
    build_library,
    given,
    make_stream,
    read_records,
    stamps,
    takes_direct_io,
    tool,
)

from fwdcap import abi

pytest_plugins = ["recorder_fixtures"]

MS = 1_000_000


def test_bytes_lengths_and_tags_are_those_emitted(
    producer: Producer, record: Record, stream: Path
) -> None:
    recorder = record().ready()
    producer.activate()
    frames = [os.urandom(size) for size in (1, 14, 60, 64, 1514, 3000, 9014, 60_000)]
    now_ns = time.monotonic_ns()
    for number, frame in enumerate(frames):
        entry = given(0, number, now_ns + number, frame)
        entry.len = len(frame) + number
        entry.route_id = 1000 + number
        entry.interface = 3
        entry.mode = abi.Mode.EGRESS
        entry.direction = abi.Direction.TO_CLIENT
        entry.flags = abi.RecordFlag.DROPPED
        producer.emit_record(entry, frame)
    last = recorder.finish()

    records = assert_sound(stream, last)
    offset_ns = last.clock_offset_ns
    assert [r.frame for r in records] == frames
    assert [r.len for r in records] == [len(f) + n for n, f in enumerate(frames)]
    assert [r.time_ns - offset_ns for r in records] == [now_ns + n for n in range(len(frames))]
    assert [r.tag for r in records] == [
        struct.pack("=IHBB", 1000 + number, 3, 0x14, 1) for number in range(len(frames))
    ]
    assert abs(offset_ns - (time.time_ns() - time.monotonic_ns())) < MS
    assert last.late_records == 0


def test_pcap_tools_read_it(producer: Producer, record: Record, stream: Path) -> None:
    recorder = record().ready()
    producer.activate()
    producer.emit(bytes(300), times=1000)
    recorder.finish()
    segment = stream / "000000.pcap"
    assert len(tool("tcpdump", "-nn", "-t", "-q", "-r", segment).splitlines()) >= 1000
    told = tool("capinfos", "-M", "-c", "-d", "-o", segment)
    assert "Number of packets:   1000" in told
    assert "Data size:           300000" in told
    assert "Strict time order:   True" in told
    assert "nanosecond" in tool("capinfos", "-t", segment)


def test_nothing_emitted_leaves_an_empty_pcap(record: Record, stream: Path) -> None:
    last = record().ready().finish()
    assert assert_sound(stream, last) == []
    assert "Number of packets:   0" in tool("capinfos", "-M", "-c", stream / "000000.pcap")


def test_blocks_and_segments_join_without_a_gap(
    producer: Producer, record: Record, stream: Path
) -> None:
    recorder = record("--block-bytes=131072", "--segment-bytes=1000000").ready()
    producer.activate()
    for size in itertools.chain(range(64, 1514, 7), (9000, 40_000)):
        producer.emit(bytes(size), times=20)
    last = recorder.finish()

    records = assert_sound(stream, last)
    assert_each_once(records, producer)
    sizes = [path.stat().st_size for path in sorted(stream.glob("*.pcap"))]
    assert len(sizes) > 3
    assert last.direct_io == takes_direct_io(stream)
    assert last.segment == len(sizes) - 1
    assert last.segment_bytes == sizes[-1]
    assert all(1_000_000 - 40_016 < size <= 1_000_000 for size in sizes[:-1])
    for path in stream.glob("*.pcap"):
        tool("capinfos", path)


def test_snaplen_shortens_and_keeps_the_length(
    producer: Producer, record: Record, stream: Path
) -> None:
    recorder = record("--snaplen=60").ready()
    producer.activate()
    producer.emit(bytes(1514), times=10)
    producer.emit(bytes(42), times=10)
    records = assert_sound(stream, recorder.finish())
    assert [(len(r.frame), r.len) for r in records] == [(60, 1514)] * 10 + [(42, 42)] * 10


def test_records_of_several_cpus_leave_in_time_order(
    producer: Producer, record: Record, stream: Path
) -> None:
    recorder = record().ready()
    producer.activate()
    recorder.send(signal.SIGSTOP)
    now_ns = time.monotonic_ns()
    order = [(0, 500), (1, 100), (1, 300), (0, 900), (1, 900), (1, 901), (0, 901)]
    sequence = [0, 0]
    for cpu, after_ns in order:
        frame = struct.pack("=QH", sequence[cpu], cpu)
        producer.emit_record(given(cpu, sequence[cpu], now_ns + after_ns, frame), frame)
        sequence[cpu] += 1
    recorder.send(signal.SIGCONT)
    last = recorder.finish()

    records = assert_sound(stream, last)
    stored = [(r.frame[8], r.time_ns - last.clock_offset_ns - now_ns) for r in records]
    assert stored == sorted(order, key=lambda entry: (entry[1], entry[0]))
    assert last.late_records == 0


def test_a_record_is_held_back_for_an_earlier_one(
    producer: Producer, record: Record, stream: Path
) -> None:
    recorder = record().ready()
    producer.activate()
    # Ahead of the clock, so that it is not time that lets the first one out.
    now_ns = time.monotonic_ns() + 300 * MS
    producer.emit_record(given(0, 0, now_ns, b"second"), b"second")
    time.sleep(0.05)
    producer.emit_record(given(1, 0, now_ns - MS, b"first"), b"first")
    time.sleep(0.05)
    producer.emit_record(given(0, 1, now_ns + 10 * MS, b"third"), b"third")
    last = recorder.finish()
    assert [r.frame for r in assert_sound(stream, last)] == [b"first", b"second", b"third"]
    assert last.late_records == 0


def test_one_cpu_s_records_keep_their_order_whatever_their_times(
    producer: Producer, record: Record, stream: Path
) -> None:
    recorder = record().ready()
    producer.activate()
    now_ns = time.monotonic_ns()
    for sequence, after_ns in enumerate((2000, 1000, 3000)):
        frame = bytes([sequence])
        producer.emit_record(given(0, sequence, now_ns + after_ns, frame), frame)
    last = recorder.finish()
    records = assert_sound(stream, last)
    assert [r.frame[0] for r in records] == [0, 1, 2]
    assert [r.time_ns - last.clock_offset_ns - now_ns for r in records] == [2000, 2000, 3000]
    assert last.late_records == 1


def test_later_than_the_hold_back_is_raised_and_counted(
    producer: Producer, record: Record, stream: Path
) -> None:
    recorder = record().ready()
    producer.activate()
    now_ns = time.monotonic_ns()
    producer.emit_record(given(0, 0, now_ns, b"first"), b"first")
    recorder.wait_for(lambda found: found.packets == 1)
    producer.emit_record(given(1, 0, now_ns - 10 * MS, b"late"), b"late")
    last = recorder.finish()
    records = assert_sound(stream, last)
    assert [r.time_ns - last.clock_offset_ns for r in records] == [now_ns, now_ns]
    assert last.late_records == 1


def test_index_opens_an_interval_every_second_and_never_between_equal_times(
    producer: Producer, record: Record, stream: Path
) -> None:
    recorder = record().ready()
    producer.activate()
    now_ns = time.monotonic_ns() - 60_000 * MS
    # Seconds with and without records, then more than an interval of one time.
    times = [0, 999 * MS, 1000 * MS, 1000 * MS, 4500 * MS, 4999 * MS] + [5100 * MS] * 300
    for sequence, after_ns in enumerate([*times, 5101 * MS]):
        producer.emit_record(given(0, sequence, now_ns + after_ns, b""), bytes(1500))
    last = recorder.finish()
    assert_sound(stream, last)
    assert last.segment_index == 5


def test_a_record_that_cannot_be_is_a_counted_gap(
    producer: Producer, record: Record, stream: Path
) -> None:
    recorder = record().ready()
    producer.activate()
    now_ns = time.monotonic_ns()
    for sequence, caplen in enumerate((4, 5, 2**31, 4)):
        entry = given(0, sequence, now_ns, b"four")
        entry.caplen = caplen
        producer.emit_record(entry, b"four")
    last = recorder.finish()
    assert [r.frame for r in assert_sound(stream, last)] == [b"four"] * 2
    assert list(last.lost_records) == [0, 0, 0, 2]


def overflow(producer: Producer, recorder: Recorder) -> None:
    recorder.send(signal.SIGSTOP)
    producer.emit(times=5000)
    recorder.send(signal.SIGCONT)


def test_a_full_ring_is_counted_to_the_record(
    producer: Producer, record: Record, stream: Path
) -> None:
    with Producer(1 << 16) as small:
        recorder = record(pins=small.pins).ready()
        small.activate()
        with small.on_one_cpu():
            small.emit(times=100)
            recorder.wait_for(lambda found: found.packets == 100)
            overflow(small, recorder)
            recorder.wait_for(lambda found: found.packets > 100)
            small.emit(times=10)
            recorder.wait_for(lambda found: sum(found.lost_records) > 0)
            overflow(small, recorder)
        last = recorder.finish()
        states = small.states()
    assert_sound(stream, last)
    lost = sum(state.lost_records[abi.Loss.RING_FULL] for state in states)
    assert lost > 8000
    assert list(last.lost_records) == [lost, 0, 0, 0]
    assert sum(last.next_sequence) == 10_110
    first_ns = min(s.first_loss_ns for s in states if s.first_loss_ns) + last.clock_offset_ns
    assert last.first_loss_ns == first_ns
    assert last.last_loss_ns == max(s.last_loss_ns for s in states) + last.clock_offset_ns


def test_each_loss_has_its_reason(producer: Producer, record: Record, stream: Path) -> None:
    recorder = record().ready()
    producer.activate()
    producer.emit(times=10)
    producer.emit(wanted=UNCOPIED, times=3)
    producer.emit(times=10)
    recorder.wait_for(lambda found: found.packets == 20)
    producer.emit(wanted=FORGOTTEN, times=2)
    producer.emit(times=5)
    producer.emit(wanted=UNCOPIED, times=4)
    last = recorder.finish()
    assert_sound(stream, last)
    assert last.packets == 25
    assert list(last.lost_records) == [0, 7, 0, 2]


def test_it_needs_little_memory_beside_the_ring(producer: Producer, record: Record) -> None:
    recorder = record().ready()
    producer.activate()
    producer.emit(bytes(64), times=100_000)
    producer.emit(bytes(1500), times=5_000)
    recorder.wait_for(lambda found: found.packets > 100_000)
    assert int(recorder.facts()["RssAnon"].split()[0]) < 32 * 1024
    recorder.finish()


@pytest.mark.parametrize("frame_bytes", [64, 1500])
def test_kill_under_load_loses_and_doubles_nothing(
    producer: Producer, record: Record, stream: Path, frame_bytes: int
) -> None:
    chance = random.Random(frame_bytes)
    # Small enough that a busy machine, which emits little, fills more than one.
    options = (f"--segment-bytes={frame_bytes * 2000}", "--block-bytes=262144")
    recorder = record(*options).ready()
    producer.activate()
    with producer.emitting(bytes(frame_bytes)):
        for _ in range(10):
            time.sleep(chance.uniform(0.02, 0.4))
            recorder.kill()
            recorder = record(*options)
        recorder.ready()
        time.sleep(0.3)
    producer.deactivate()
    last = recorder.finish()
    records = assert_sound(stream, last)
    assert sum(last.lost_records) == 0
    assert last.segment > 0
    assert_each_once(records, producer)


def test_kill_while_catching_up_loses_and_doubles_nothing(
    producer: Producer, record: Record, stream: Path
) -> None:
    chance = random.Random(7)
    options = ("--segment-bytes=1000000", "--block-bytes=131072")
    record(*options).ready().kill()
    producer.activate()
    producer.emit(times=100_000)
    producer.deactivate()
    ready_s = 0.003
    for _ in range(30):
        recorder = record(*options)
        time.sleep(ready_s + chance.uniform(0, 0.02))
        recorder.kill()
    last = record(*options).ready().finish()
    assert_each_once(assert_sound(stream, last), producer)
    assert last.packets == 100_000


def test_a_clock_that_is_set_never_turns_time_back_inside_a_stream(
    producer: Producer, record: Record, tmp_path: Path
) -> None:
    """Not while the recorder runs, not when another goes on; the next stream starts right."""
    step = tmp_path / "step"
    step.write_text("0")
    library = build_library(Path(__file__).parent / "step_clock.c", tmp_path)
    environment = {"LD_PRELOAD": str(library), "STEP_FILE": str(step)}
    first = record(environment=environment).ready()
    producer.activate()
    producer.emit(times=10)
    first.wait_for(lambda report: report.packets == 10)
    step.write_text(str(-3600 * 10**9))
    producer.emit(times=10)
    first.wait_for(lambda report: report.packets == 20)
    first.kill()
    again = record(environment=environment).ready()
    producer.emit(times=10)
    last = again.wait_for(lambda report: report.packets == 30)
    assert_sound(again.stream, again.finish())
    assert last.clock_offset_ns == pytest.approx(time.time_ns() - time.monotonic_ns(), abs=10**9)
    producer.deactivate()
    following = record(stream=make_stream(tmp_path, "next"), environment=environment).ready()
    offset_ns = following.finish().clock_offset_ns
    assert offset_ns == pytest.approx(last.clock_offset_ns - 3600 * 10**9, abs=10**9)


def test_no_point_to_die_at_loses_or_doubles_anything(
    producer: Producer, record: Record, stream: Path, tmp_path: Path
) -> None:
    options = ("--segment-bytes=300000", "--block-bytes=131072")
    total = 15_000
    library = str(build_killer(tmp_path))
    record(*options).ready().kill()
    producer.activate()
    producer.emit(bytes(1000), times=total)
    producer.deactivate()
    for call in range(1, 40):
        recorder = record(*options, environment={"LD_PRELOAD": library, "KILL_AT": str(call)})
        assert recorder.ended() == -signal.SIGKILL
    last = record(*options).ready().finish()
    assert_each_once(assert_sound(stream, last), producer)
    assert last.packets == total
    assert sum(last.lost_records) == 0


def test_space_is_released_only_behind_a_checkpoint(producer: Producer, record: Record) -> None:
    recorder = record("--block-bytes=131072").ready()
    producer.activate()
    seen = set()
    with producer.emitting(pause_s=0.001):
        until = time.monotonic() + 1
        while time.monotonic() < until:
            released = producer.released()
            covered = recorder.wait_for(lambda _: True).ring_position[0]
            assert released <= covered
            seen.add(released)
    assert len(seen) > 3
    recorder.finish()


def test_one_packet_is_committed_within_250_ms(producer: Producer, record: Record) -> None:
    recorder = record().ready()
    producer.activate()
    for count in range(1, 6):
        time.sleep(0.07 * count)
        start = time.monotonic()
        producer.emit()
        recorder.wait_for(lambda found, count=count: found.packets == count)
        assert time.monotonic() - start < 0.25


def test_the_heart_beats_when_nothing_comes(record: Record) -> None:
    recorder = record().ready()
    beats = set()
    until = time.monotonic() + 3.2
    while time.monotonic() < until:
        beats.add(recorder.wait_for(lambda _: True).heartbeat_ns)
        time.sleep(0.05)
    ordered = sorted(beats)
    assert len(ordered) >= 3
    assert max(b - a for a, b in itertools.pairwise(ordered)) < 1_100 * MS


def test_sigterm_ends_it_although_emission_goes_on(
    producer: Producer, record: Record, stream: Path
) -> None:
    recorder = record().ready()
    producer.activate()
    with producer.emitting(pause_s=0.0005):
        time.sleep(0.5)
        last = recorder.finish()
    records = assert_sound(stream, last)
    assert sum(last.lost_records) == 0
    counts = {cpu: count for cpu, count in enumerate(last.next_sequence) if count}
    assert stamps(records) == {cpu: list(range(count)) for cpu, count in counts.items()}


def test_what_an_earlier_capture_left_is_not_of_the_new_stream(
    producer: Producer, record: Record, stream: Path
) -> None:
    producer.activate()
    producer.emit(times=50)
    producer.emit(wanted=UNCOPIED, times=5)
    producer.deactivate()
    recorder = record().ready()
    producer.activate()
    producer.emit(times=20)
    last = recorder.finish()
    assert_each_once(assert_sound(stream, last), producer)
    assert last.packets == 20


def test_an_earlier_capture_s_counters_are_not_losses(
    producer: Producer, record: Record, stream: Path
) -> None:
    producer.activate()
    producer.emit(times=50)
    producer.deactivate()
    last = record().ready().finish()
    assert assert_sound(stream, last) == []
    assert list(last.lost_records) == [0, 0, 0, 0]


def test_an_earlier_capture_s_counters_are_not_losses_of_a_stream_that_is_resumed(
    producer: Producer, record: Record, stream: Path
) -> None:
    """It was begun, and killed before anything was emitted."""
    producer.activate()
    producer.emit(times=50)
    producer.deactivate()
    record().ready().kill()
    last = record().ready().finish()
    assert assert_sound(stream, last) == []
    assert list(last.lost_records) == [0, 0, 0, 0]


@pytest.mark.parametrize("left", [COUNTED, UNCOPIED])
def test_what_was_emitted_under_a_killed_recorder_is_of_the_stream_it_had_begun(
    producer: Producer, record: Record, stream: Path, left: int
) -> None:
    """It had taken nothing yet, and emission is off when it is resumed."""
    record().ready().kill()
    producer.activate()
    producer.emit(times=5, wanted=left)
    producer.emit(times=3, wanted=UNCOPIED)
    producer.deactivate()
    last = record().ready().finish()
    kept = 5 if left == COUNTED else 0
    assert len(assert_sound(stream, last)) == kept
    assert list(last.lost_records) == [0, 8 - kept, 0, 0]


def test_it_runs_as_nobody_without_any_privilege(
    producer: Producer, record: Record, stream: Path
) -> None:
    recorder = record("--user=nobody:nogroup").ready()
    fields = recorder.facts()
    ids = "\t".join([str(NOBODY)] * 4)
    assert (fields["Uid"], fields["Gid"], fields["Groups"].strip()) == (ids, ids, "")
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(fields[kind], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    producer.activate()
    producer.emit(times=10)
    assert recorder.finish().packets == 10
    for path in stream.iterdir():
        facts = path.stat()
        assert (facts.st_uid, facts.st_mode & 0o777) == (NOBODY, 0o640)


def test_files_get_the_directory_s_group(record: Record, stream: Path) -> None:
    os.chown(stream, NOBODY, 12345)
    stream.chmod(0o750)
    record("--user=65534:65534").ready().finish()
    assert {path.stat().st_gid for path in stream.iterdir()} == {12345}


def test_a_second_recorder_is_refused(producer: Producer, record: Record, tmp_path: Path) -> None:
    first = record().ready()
    (tmp_path / "other").mkdir()
    second = record(stream=make_stream(tmp_path / "other"))
    assert second.ended() == 1
    assert second.said() == (
        f"fwdcap-recorder: another recorder already reads the ring in {producer.pins}\n"
    )
    first.finish()


def test_a_stream_that_has_ended_is_refused(record: Record, stream: Path) -> None:
    record().ready().finish()
    again = record()
    assert again.ended() == 1
    assert again.said() == f"fwdcap-recorder: the stream in {stream} has ended already\n"


def test_a_stream_of_another_ring_is_refused(
    producer: Producer, record: Record, stream: Path
) -> None:
    recorder = record().ready()
    producer.activate()
    producer.emit(times=10)
    recorder.wait_for(lambda found: found.packets == 10)
    recorder.kill()
    before = read_all(stream)
    with Producer(RING_BYTES) as other:
        stranger = record(pins=other.pins)
        assert stranger.ended() == 1
        assert "was not recorded from the ring" in stranger.said()
    assert read_all(stream) == before


def test_packets_without_a_checkpoint_are_not_overwritten(
    producer: Producer, record: Record, stream: Path
) -> None:
    recorder = record().ready()
    producer.activate()
    producer.emit(times=1000)
    recorder.wait_for(lambda found: found.packets == 1000)
    recorder.kill()
    (stream / "checkpoint").write_bytes(b"\xff" * 16384)
    before = (stream / "000000.pcap").read_bytes()
    again = record()
    assert again.ended() == 1
    assert "recover it first" in again.said()
    assert (stream / "000000.pcap").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--pins=/nowhere",), 1, "cannot open the directory of pins /nowhere"),
        (("--stream=/nowhere",), 1, "cannot open the stream's directory /nowhere"),
        (("--user=no-such-user",), 1, "there is no user no-such-user"),
        (("--segment-bytes=1GB",), 2, "1GB is not a number from"),
        (("--snaplen=-1",), 2, "-1 is not a number from"),
        (("--what",), 2, "usage: fwdcap-recorder"),
    ],
)
def test_what_cannot_be_done_is_said(
    record: Record, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    recorder = record(*arguments)
    assert recorder.ended() == code
    assert sentence in recorder.said()


def read_all(stream: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in stream.iterdir()}


def test_a_disk_without_direct_io_and_preallocation_will_do(
    producer: Producer, record: Record, mounted: Mount
) -> None:
    stream = mounted("ramfs", "mode=755")
    recorder = record("--segment-bytes=500000", stream=stream).ready()
    producer.activate()
    producer.emit(bytes(1000), times=2000)
    last = recorder.finish()
    assert last.direct_io == 0
    assert_each_once(read_records(stream), producer)


@pytest.mark.parametrize("stopped", [False, True])
def test_a_full_disk_seals_what_is_committed(
    producer: Producer, record: Record, mounted: Mount, stopped: bool
) -> None:
    stream = mounted("tmpfs", "size=3m")
    recorder = record("--segment-bytes=1000000", "--block-bytes=131072", stream=stream).ready()
    producer.activate()
    producer.emit(bytes(1000), times=5000)
    start = time.monotonic()
    if stopped:
        recorder.send(signal.SIGTERM)
    assert recorder.ended() == 1
    assert 4 < time.monotonic() - start < 8
    last = recorder.checkpoint()
    assert last
    assert (last.state, last.error) == (abi.RecorderState.FAILED, 28)
    assert recorder.said() == (
        f"fwdcap-recorder: cannot write the stream in {stream}, which ends after"
        f" {last.packets} packets: No space left on device\n"
    )
    assert list(last.lost_records) == [0, 0, 5000 - last.packets, 0]
    records = assert_sound(stream, last)
    assert len(records) > 2000
    for path in stream.glob("*.pcap"):
        tool("capinfos", path)


def test_a_disk_that_is_full_for_a_while_costs_nothing(
    producer: Producer, record: Record, mounted: Mount
) -> None:
    stream = mounted("tmpfs", "size=8m")
    filler = stream.parent / "filler"
    filler.write_bytes(bytes(6 << 20))
    recorder = record("--segment-bytes=1000000", "--block-bytes=131072", stream=stream).ready()
    producer.activate()
    producer.emit(bytes(1000), times=5000)
    time.sleep(1.5)
    assert recorder.wait_for(lambda _: True).packets < 5000
    filler.unlink()
    recorder.wait_for(lambda found: found.packets == 5000)
    assert_each_once(assert_sound(stream, recorder.finish()), producer)
