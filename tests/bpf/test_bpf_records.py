"""Records in the ring: how much of a frame, and what happens when there is no room."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable

import pytest
from harness import Bench
from hypothesis import example, given, settings
from hypothesis import strategies as st
from packets import (
    ALL_MODES,
    TO_SERVER,
    CpuNumbers,
    NextHop,
    Outcome,
    Setup,
    Sketch,
    route,
    service_vlan,
    tcp,
    text,
    udp,
    vlan,
)
from scapy.packet import Raw

from fwdcap.abi import Loss, Mode, Reason, RecordFlag

Relayed = Callable[[bytes, Setup], Outcome]

RING_FULL = (1, 0, 0, 0)
HEAD_BYTES = 8 + 40  # the ring's header and the record's
SMALL_PLACES = (64, 128)  # what a frame that is copied straight into the ring gets there


def frame_of(size: int) -> bytes:
    return TO_SERVER.received(Sketch(udp(text(size - 42))))


def ring_bytes(size: int) -> int:
    """What a record of so many frame bytes takes in the ring; all frames here are linear."""
    place = next((place for place in SMALL_PLACES if size <= place), size)
    return (HEAD_BYTES + place + 7) // 8 * 8


# ---- snaplen ----


@pytest.mark.parametrize(
    "snaplen", [1, 2, 14, 34, 60, 100, 127, 128, 129, 200, 1513, 1514, 1515, 65536, 1 << 31]
)
@pytest.mark.parametrize("modes", [ALL_MODES, {Mode.INLINE}, {Mode.INGRESS, Mode.EGRESS}])
def test_records_are_cut_to_snaplen(relayed: Relayed, snaplen: int, modes: set[Mode]) -> None:
    sketch = Sketch(tcp(text(1514 - 54)))
    received = TO_SERVER.received(sketch)
    stages = {
        Mode.INGRESS: received,
        Mode.INLINE: TO_SERVER.inline(sketch),
        Mode.EGRESS: TO_SERVER.sent(sketch),
    }
    outcome = relayed(received, route(modes, snaplen=snaplen))
    assert outcome.frame == stages[Mode.EGRESS]
    assert [(copy.len, copy.frame) for copy in outcome.copies] == [
        (1514, stages[mode][:snaplen]) for mode in Mode if mode in modes
    ]
    assert outcome.cpu.emitted_bytes == len(modes) * min(snaplen, 1514)


@pytest.mark.parametrize("length", range(60, 140, 1))
def test_the_rewritten_part_is_copied_anew_whatever_the_length(
    relayed: Relayed, length: int
) -> None:
    sketch = Sketch(Raw(text(length - 42)), tags=(service_vlan(1), vlan(2)), ip={"proto": 6})
    outcome = relayed(TO_SERVER.received(sketch), route())
    assert [copy.len for copy in outcome.copies] == [length] * 3


@pytest.mark.parametrize("size", [60, 64, 65, 100, 128, 129])
@pytest.mark.parametrize("linear", [42, 60, 64, 65, 100])
@pytest.mark.parametrize("snaplen", [0, 59, 64, 66])
def test_a_small_frame_that_is_not_in_one_piece_is_recorded_whole(
    bench: Bench, size: int, linear: int, snaplen: int
) -> None:
    """Only what is in its first piece can be copied straight into the ring."""
    received = frame_of(size)
    bench.install(route({Mode.INGRESS}, snaplen=snaplen))
    bench.reset()
    try:
        verdict, _ = bench.send(received, linear_bytes=min(linear, size))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        pytest.skip("needs a kernel whose BPF_PROG_TEST_RUN splits a frame at data_end")
    assert verdict == "tx"
    assert [(copy.len, copy.frame) for copy in bench.read()] == [
        (size, received[: snaplen or size])
    ]


# ---- no capture ----


def test_a_capture_that_stops_and_starts(bench: Bench) -> None:
    received = frame_of(100)
    assert len(bench.run(received, route()).copies) == 3
    assert bench.run(received, route(recording=False)).copies == ()
    assert len(bench.run(received, route()).copies) == 3


def test_dropped_packets_are_marked_and_the_next_one_is_not(bench: Bench) -> None:
    """The record's head is put together in memory that the last packet used."""
    received = frame_of(100)
    dropped = bench.run(received, route(enabled=False))
    assert {copy.flags for copy in dropped.copies} == {RecordFlag.DROPPED}
    assert {copy.flags for copy in bench.run(received, route()).copies} == {0}


def test_copies_of_one_packet_have_one_time_and_packets_follow_one_another(bench: Bench) -> None:
    bench.install(route())
    bench.reset()
    before_ns = time.monotonic_ns()
    for _ in range(10):
        bench.send(frame_of(100))
    copies = bench.read()
    times = [copy.time_ns for copy in copies]
    assert times == sorted(times)
    assert before_ns <= times[0]
    assert times[-1] <= time.monotonic_ns()
    assert len(set(times)) == 10
    assert [copy.sequence for copy in copies] == list(range(30))


# ---- no room ----


def fill(bench: Bench, frame: bytes) -> int:
    """Send until a record is lost; how many frames were sent."""
    sent = 0
    while not any(bench.cpu_numbers().lost):
        assert bench.send(frame)[0] == "tx"
        sent += 1
    return sent


@pytest.mark.parametrize("size", [60, 61, 66, 100, 128, 129, 200, 1000, 1024, 1514])
def test_the_ring_is_filled_to_the_last_record_that_fits(small_bench: Bench, size: int) -> None:
    small_bench.install(route({Mode.INGRESS}))
    small_bench.reset()
    fill(small_bench, frame_of(size))
    room = small_bench.ring_bytes - small_bench.ring_used()
    assert room < ring_bytes(size) + 16
    assert small_bench.cpu_numbers().emitted == small_bench.ring_used() // ring_bytes(size)


def test_a_full_ring_loses_records_and_forwards_packets(small_bench: Bench) -> None:
    sketch = Sketch(udp(text(1000)))
    received = TO_SERVER.received(sketch)
    small_bench.install(route())
    small_bench.reset()
    sent = fill(small_bench, received)
    before = small_bench.cpu_numbers()
    assert small_bench.send(received) == ("tx", TO_SERVER.sent(sketch))
    after = small_bench.cpu_numbers()
    assert after.lost[Loss.RING_FULL] == before.lost[Loss.RING_FULL] + 3
    assert after.next_sequence == before.next_sequence + 3
    assert after.emitted == before.emitted
    assert after.received == sent + 1
    tally = small_bench.tally(route().entries[0])
    assert tally.forwarded == sent + 1
    assert sum(tally.recorded) == after.emitted
    assert sum(tally.lost) == after.lost[Loss.RING_FULL]
    assert small_bench.reasons() == {}


def test_the_modes_behind_one_that_found_no_room_are_counted(small_bench: Bench) -> None:
    """Two of three copies fit."""
    received = frame_of(1400)
    outcome = small_bench.run(received, route())
    assert outcome.verdict == "tx"
    assert [copy.mode for copy in outcome.copies] == [Mode.INGRESS, Mode.INLINE]
    assert outcome.tallies[0].recorded == (1, 1, 0)
    assert outcome.tallies[0].lost == (0, 0, 1)
    assert outcome.cpu == CpuNumbers(
        next_sequence=3, received=1, emitted=2, emitted_bytes=2800, lost=RING_FULL
    )
    outcome = small_bench.run(frame_of(2500), route(next_hop=NextHop(mtu=9000)))
    assert outcome.tallies[0].lost == (0, 1, 1)
    assert outcome.cpu.lost == (2, 0, 0, 0)


def test_a_record_larger_than_the_ring_is_lost(small_bench: Bench) -> None:
    outcome = small_bench.run(frame_of(4090), route(interface_mtu=9000))
    assert outcome.reasons == {Reason.DROP_TOO_BIG: 1}
    assert outcome.tallies[0].lost == (1, 1, 0)
    assert outcome.cpu == CpuNumbers(next_sequence=2, received=1, errors=1, lost=(2, 0, 0, 0))


def test_a_ring_that_was_drained_records_again_and_the_gap_is_the_loss(small_bench: Bench) -> None:
    received = frame_of(600)
    small_bench.install(route({Mode.INGRESS, Mode.EGRESS}))
    small_bench.reset()
    fill(small_bench, received)
    for _ in range(5):
        small_bench.send(received)
    lost = sum(small_bench.cpu_numbers().lost)
    last = small_bench.read()[-1]
    assert small_bench.send(received)[0] == "tx"
    resumed = small_bench.read()
    assert [copy.mode for copy in resumed] == [Mode.INGRESS, Mode.EGRESS]
    assert resumed[0].sequence - last.sequence - 1 == lost
    assert sum(small_bench.cpu_numbers().lost) == lost


def test_losses_have_a_first_and_a_last_time(small_bench: Bench) -> None:
    """The first one when a copy found no room, later ones when none was looked for."""
    small_bench.install(route())
    for _ in range(20):
        small_bench.reset()
        assert small_bench.loss_times_ns() == (0, 0)
        before_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        small_bench.send(frame_of(1400))
        first_ns, last_ns = small_bench.loss_times_ns()
        assert before_ns <= first_ns == last_ns <= time.monotonic_ns()
        small_bench.send(frame_of(1400))
        assert small_bench.loss_times_ns()[0] == first_ns
        assert small_bench.loss_times_ns()[1] >= first_ns


sends = st.tuples(st.just("send"), st.integers(60, 1514))
reads = st.tuples(st.just("read"), st.integers(0, 6))


@given(
    steps=st.lists(sends | reads, min_size=10, max_size=60),
    modes=st.sets(st.sampled_from(Mode), min_size=1),
    snaplen=st.sampled_from([0, 0, 61, 300]),
)
@example(steps=[("send", 60)] * 35 + [("send", 66)], modes={Mode.INGRESS}, snaplen=0)
@settings(max_examples=60, deadline=None)
def test_whatever_the_ring_does_records_and_losses_add_up(
    small_bench: Bench, steps: list[tuple[str, int]], modes: set[Mode], snaplen: int
) -> None:
    small_bench.install(route(modes, snaplen=snaplen))
    small_bench.reset()
    taken, sent, sequence = [], 0, 0
    for step, number in steps:
        if step == "read":
            taken += small_bench.read(number)
            continue
        used, lost = small_bench.ring_used(), sum(small_bench.cpu_numbers().lost)
        assert small_bench.send(frame_of(number))[0] == "tx"
        sent += 1
        kept = min(number, snaplen or number)
        if used + len(modes) * ring_bytes(kept) + 16 <= small_bench.ring_bytes:
            assert sum(small_bench.cpu_numbers().lost) == lost, "there was room"
        sequence += len(modes)
        assert small_bench.cpu_numbers().next_sequence == sequence
    taken += small_bench.read()
    numbers = [copy.sequence for copy in taken]
    cpu = small_bench.cpu_numbers()
    assert numbers == sorted(set(numbers))
    assert cpu.received == sent
    assert cpu.emitted == len(taken)
    assert cpu.emitted_bytes == sum(len(copy.frame) for copy in taken)
    assert cpu.lost == (sequence - len(taken), 0, 0, 0)
    tally = small_bench.tally(route().entries[0])
    assert sum(tally.recorded) == len(taken)
    assert sum(tally.lost) == sequence - len(taken)
    for mode, recorded, missed in zip(Mode, tally.recorded, tally.lost, strict=True):
        assert recorded + missed == (sent if mode in modes else 0)
