"""The recorder with several rings: one order, one account, each ring's space for itself."""

from __future__ import annotations

import random
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from recorder_rig import (
    RING_BYTES,
    Producer,
    Record,
    assert_each_once,
    assert_sound,
    given,
)

from fwdcap import abi

pytest_plugins = ["recorder_fixtures"]

MS = 1_000_000


@pytest.fixture
def producer(built: None) -> Iterator[Producer]:
    """Three rings; with two CPUs, one that stays empty."""
    with Producer(RING_BYTES, rings=3) as made:
        yield made


def test_records_of_all_rings_leave_in_time_order(
    producer: Producer, record: Record, stream: Path
) -> None:
    chance = random.Random(3)
    recorder = record().ready()
    producer.activate()
    order = [(chance.randrange(2), after_ns) for after_ns in range(0, 2000, 2)]
    sequence = [0, 0]
    # Met all at once, so that one ring is read ahead of the other by a batch at a time.
    recorder.send(signal.SIGSTOP)
    now_ns = time.monotonic_ns()
    for cpu in (0, 1):
        for number, after_ns in order:
            if number == cpu:
                frame = struct.pack("=QH", sequence[cpu], cpu)
                producer.emit_record(given(cpu, sequence[cpu], now_ns + after_ns, frame), frame)
                sequence[cpu] += 1
    recorder.send(signal.SIGCONT)
    last = recorder.finish()
    records = assert_sound(stream, last)
    stored = [(r.frame[8], r.time_ns - last.clock_offset_ns - now_ns) for r in records]
    assert stored == order
    assert (last.late_records, last.nr_rings) == (0, 3)


def test_a_record_is_held_back_for_an_earlier_one_in_another_ring(
    producer: Producer, record: Record, stream: Path
) -> None:
    recorder = record().ready()
    producer.activate()
    # Ahead of the clock, so that it is not time that lets the later ones out.
    now_ns = time.monotonic_ns() + 400 * MS
    producer.emit_record(given(0, 0, now_ns, b"second"), b"second")
    producer.emit_record(given(0, 1, now_ns + 10 * MS, b"third"), b"third")
    time.sleep(0.05)
    producer.emit_record(given(1, 0, now_ns - MS, b"first"), b"first")
    last = recorder.finish()
    assert [r.frame for r in assert_sound(stream, last)] == [b"first", b"second", b"third"]
    assert last.late_records == 0


def test_a_ring_where_nothing_happens_delays_nobody(producer: Producer, record: Record) -> None:
    recorder = record().ready()
    producer.activate()
    with producer.on_one_cpu():
        for count in range(1, 6):
            time.sleep(0.05 * count)
            start = time.monotonic()
            producer.emit()
            recorder.wait_for(lambda found, count=count: found.packets == count)
            assert time.monotonic() - start < 0.25


@pytest.mark.parametrize("frame_bytes", [64, 1500])
def test_kill_under_load_loses_and_doubles_nothing(
    producer: Producer, record: Record, stream: Path, frame_bytes: int
) -> None:
    chance = random.Random(frame_bytes)
    options = ("--segment-bytes=1000000", "--block-bytes=262144")
    recorder = record(*options).ready()
    producer.activate()
    with producer.emitting(bytes(frame_bytes)):
        for _ in range(8):
            time.sleep(chance.uniform(0.02, 0.4))
            recorder.kill()
            recorder = record(*options)
        recorder.ready()
        time.sleep(0.3)
    producer.deactivate()
    last = recorder.finish()
    assert_each_once(assert_sound(stream, last), producer)
    assert sum(last.lost_records) == 0


def test_each_ring_s_space_is_released_behind_a_checkpoint(
    producer: Producer, record: Record
) -> None:
    recorder = record("--block-bytes=131072").ready()
    producer.activate()
    seen: list[set[int]] = [set(), set()]
    with producer.emitting(pause_s=0.001):
        until = time.monotonic() + 1
        while time.monotonic() < until:
            released = [producer.released(ring) for ring in range(2)]
            covered = recorder.wait_for(lambda _: True).ring_position
            for ring in range(2):
                assert released[ring] <= covered[ring]
                seen[ring].add(released[ring])
    assert min(map(len, seen)) > 3
    last = recorder.finish()
    assert [producer.released(ring) for ring in range(3)] == list(last.ring_position[:3])


def test_losses_are_counted_by_ring_with_their_times(
    producer: Producer, record: Record, stream: Path
) -> None:
    with Producer(1 << 16, rings=2) as small:
        recorder = record(pins=small.pins).ready()
        small.activate()
        small.emit(times=10)
        recorder.send(signal.SIGSTOP)
        with small.on_one_cpu(1):
            small.emit(times=3000)
        with small.on_one_cpu(0):
            small.emit(times=20)
        recorder.send(signal.SIGCONT)
        last = recorder.finish()
        states = small.states()
    assert_sound(stream, last)
    lost = states[1].lost_records[abi.Loss.RING_FULL]
    assert lost > 1000
    assert list(last.lost_records) == [lost, 0, 0, 0]
    assert list(last.ring_lost_records[:2]) == [0, lost]
    offset_ns = last.clock_offset_ns
    assert list(last.ring_first_loss_ns[:2]) == [0, states[1].first_loss_ns + offset_ns]
    assert list(last.ring_last_loss_ns[:2]) == [0, states[1].last_loss_ns + offset_ns]


def test_a_cpu_in_a_ring_that_is_not_its_own_is_a_counted_gap(
    producer: Producer, record: Record, stream: Path
) -> None:
    recorder = record().ready()
    producer.activate()
    now_ns = time.monotonic_ns()
    producer.emit_record(given(1, 0, now_ns, b"first"), b"first")
    with producer.as_if_one_ring():
        producer.emit_record(given(1, 1, now_ns, b"astray"), b"astray")
    producer.emit_record(given(1, 2, now_ns, b"third"), b"third")
    last = recorder.finish()
    assert [r.frame for r in assert_sound(stream, last)] == [b"first", b"third"]
    assert last.lost_records[abi.Loss.UNKNOWN] == last.ring_lost_records[1] == 1


def test_a_stream_of_fewer_rings_is_refused(
    producer: Producer, record: Record, stream: Path
) -> None:
    record().ready().kill()
    with producer.as_if_one_ring():
        again = record()
        assert again.ended() == 1
    assert "was not recorded from the ring" in again.said()


def test_sigterm_ends_it_although_emission_goes_on(
    producer: Producer, record: Record, stream: Path
) -> None:
    recorder = record().ready()
    producer.activate()
    with producer.emitting(pause_s=0.0005):
        time.sleep(0.4)
        last = recorder.finish()
    assert_sound(stream, last)
    assert sum(last.lost_records) == 0
    assert last.end_reason == abi.EndReason.SIGNAL
