"""How the recorder ends a stream by itself: caps, to the record, and rolls without loss."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from recorder_rig import (
    COUNTED,
    FORGOTTEN,
    RING_BYTES,
    UNCOPIED,
    Producer,
    Record,
    Recorder,
    Stored,
    assert_each_once,
    assert_sound,
    build_killer,
    given,
    make_stream,
    stamps,
)

from fwdcap import abi

pytest_plugins = ["recorder_fixtures"]

MS = 1_000_000
SECOND = 1000 * MS
End = abi.EndReason


@pytest.fixture(params=[1, 2], ids=["one-ring", "two-rings"])
def producer(built: None, request: pytest.FixtureRequest) -> Iterator[Producer]:
    with Producer(RING_BYTES, rings=request.param) as made:
        yield made


def ended_by(recorder: Recorder, reason: End) -> abi.Checkpoint:
    """The last checkpoint of a recorder that ended by itself, and well."""
    assert recorder.ended() == 0, recorder.said()
    assert recorder.said() == ""
    last = recorder.checkpoint()
    assert last
    assert (last.state, End(last.end_reason)) == (abi.RecorderState.COMPLETE, reason)
    return last


def assert_prefix(records: list[Stored], last: abi.Checkpoint) -> None:
    """Of every CPU the stream has all from the first to where it ends."""
    counts = {cpu: count for cpu, count in enumerate(last.next_sequence) if count}
    assert stamps(records) == {cpu: list(range(count)) for cpu, count in counts.items()}


# ---- caps


def test_max_packets_is_exact_although_emission_goes_on(
    producer: Producer, record: Record, stream: Path
) -> None:
    recorder = record("--max-packets=12345", "--segment-bytes=200000").ready()
    producer.activate()
    with producer.emitting(pause_s=0.001):
        last = ended_by(recorder, End.MAX_PACKETS)
    assert producer.emitted() > last.packets == 12345
    assert_prefix(assert_sound(stream, last), last)
    assert sum(last.lost_records) == 0


def test_max_packets_ends_it_at_once(producer: Producer, record: Record) -> None:
    recorder = record("--max-packets=3").ready()
    producer.activate()
    producer.emit(times=3)
    start = time.monotonic()
    ended_by(recorder, End.MAX_PACKETS)
    assert time.monotonic() - start < 1


def test_max_bytes_is_never_exceeded_and_nothing_fits_any_more(
    producer: Producer, record: Record, stream: Path
) -> None:
    chance = random.Random(5)
    sizes = [chance.randrange(64, 3000) for _ in range(1000)]
    limit = 24 + sum(16 + size for size in sizes[:701]) - 1  # a byte less than 701 need
    options = (f"--max-bytes={limit}", "--segment-bytes=300000", "--block-bytes=131072")
    recorder = record(*options).ready()
    producer.activate()
    with producer.on_one_cpu():
        for size in sizes:
            producer.emit(bytes(size))
    last = ended_by(recorder, End.MAX_BYTES)
    records = assert_sound(stream, last)
    assert last.segment > 2  # one file header counts, as of the one file that is downloaded
    assert 24 + last.bytes <= limit
    assert [len(r.frame) for r in records] == sizes[:700]


def test_a_stream_that_is_exactly_full_ends_at_once(
    producer: Producer, record: Record, stream: Path
) -> None:
    recorder = record(f"--max-bytes={24 + 10 * 116}").ready()
    producer.activate()
    producer.emit(bytes(100), times=10)
    last = ended_by(recorder, End.MAX_BYTES)
    assert (last.packets, 24 + last.bytes) == (10, 24 + 10 * 116)
    assert (stream / "000000.pcap").stat().st_size == 24 + 10 * 116


def test_a_snaplen_counts_as_it_shortens(producer: Producer, record: Record) -> None:
    recorder = record(f"--max-bytes={24 + 10 * 76}", "--snaplen=60").ready()
    producer.activate()
    producer.emit(bytes(1500), times=20)
    assert ended_by(recorder, End.MAX_BYTES).packets == 10


def test_max_seconds_are_those_of_the_records_from_the_stream_s_begin(
    producer: Producer, record: Record, stream: Path
) -> None:
    recorder = record("--max-seconds=1").ready()
    begun_ns = recorder.wait_for(lambda _: True).begun_ns
    producer.activate()
    for sequence, after_ns in enumerate((10, SECOND - 1, SECOND, SECOND + 1)):
        producer.emit_record(given(0, sequence, begun_ns + after_ns, b"four"), b"four")
    last = ended_by(recorder, End.MAX_SECONDS)
    assert last.ended_ns == begun_ns + SECOND
    assert SECOND < time.monotonic_ns() - begun_ns < 3 * SECOND
    times = [r.time_ns - last.clock_offset_ns - begun_ns for r in assert_sound(stream, last)]
    assert times == [10, SECOND - 1]
    assert last.next_sequence[0] == 2


def test_max_seconds_end_it_when_nothing_comes(record: Record, stream: Path) -> None:
    recorder = record("--max-seconds=1").ready()
    last = ended_by(recorder, End.MAX_SECONDS)
    assert assert_sound(stream, last) == []


def test_a_kill_does_not_begin_the_seconds_anew(record: Record) -> None:
    recorder = record("--max-seconds=1").ready()
    begun_ns = recorder.wait_for(lambda _: True).begun_ns
    time.sleep(0.6)
    recorder.kill()
    last = ended_by(record("--max-seconds=1"), End.MAX_SECONDS)
    assert (last.begun_ns, last.ended_ns) == (begun_ns, begun_ns + SECOND)


def test_caps_hold_through_kills(producer: Producer, record: Record, stream: Path) -> None:
    chance = random.Random(11)
    options = ("--max-packets=60000", "--segment-bytes=1000000", "--block-bytes=131072")
    record(*options).ready().kill()
    producer.activate()
    producer.emit(times=100_000)
    for _ in range(10):
        recorder = record(*options)
        time.sleep(chance.uniform(0.003, 0.02))
        recorder.kill()
    recorder = record(*options)
    ended = recorder.ended(), recorder.said()
    # One that was killed may have been through with it.
    assert ended[0] == 0 or "has ended already" in ended[1]
    last = recorder.checkpoint()
    assert last
    assert (last.packets, End(last.end_reason)) == (60_000, End.MAX_PACKETS)
    assert_prefix(assert_sound(stream, last), last)


def test_caps_hold_while_the_ring_is_drained(
    producer: Producer, record: Record, stream: Path
) -> None:
    recorder = record("--max-packets=100").ready()
    producer.activate()
    recorder.send(signal.SIGSTOP)
    producer.emit(times=500)
    recorder.send(signal.SIGTERM)
    recorder.send(signal.SIGCONT)
    last = ended_by(recorder, End.MAX_PACKETS)
    assert last.packets == 100
    assert_prefix(assert_sound(stream, last), last)


def test_what_was_lost_after_a_cap_is_nobody_s(
    producer: Producer, record: Record, stream: Path
) -> None:
    recorder = record("--max-packets=20").ready()
    producer.activate()
    recorder.send(signal.SIGSTOP)
    with producer.on_one_cpu():
        producer.emit(times=10)
        producer.emit(wanted=UNCOPIED, times=3)
        producer.emit(times=10)
        producer.emit(wanted=UNCOPIED, times=5)
        producer.emit(times=10)
    recorder.send(signal.SIGCONT)
    last = ended_by(recorder, End.MAX_PACKETS)
    assert_sound(stream, last)
    assert list(last.lost_records) == [0, 3, 0, 0]
    assert sum(last.next_sequence) == 23
    assert last.first_loss_ns <= last.last_loss_ns <= last.last_ns


# ---- rolls


@dataclass
class Chain:
    """Streams rolled from one another."""

    parent: Path
    record: Record
    options: tuple[str, ...] = ()
    streams: list[Path] = field(default_factory=list)

    def next(self, *options: str) -> Recorder:
        """A recorder of a new stream, continuing the last one."""
        self.streams.append(make_stream(self.parent, f"x_{len(self.streams)}"))
        return self.again(*options)

    def again(self, *options: str, environment: Mapping[str, str] | None = None) -> Recorder:
        """A recorder of the last stream, which goes on if there was one already."""
        follow = (f"--continue={self.streams[-2]}",) if len(self.streams) > 1 else ()
        options = (*follow, *self.options, *options)
        return self.record(*options, stream=self.streams[-1], environment=environment)

    def assert_joined(self, ends: list[abi.Checkpoint]) -> list[Stored]:
        """What holds of all the streams together. Returns all their records."""
        records: list[Stored] = []
        for number, (stream, last) in enumerate(zip(self.streams, ends, strict=True)):
            found = assert_sound(stream, last)
            if number:
                before = ends[number - 1]
                assert last.begun_ns == before.ended_ns
                assert last.begun_sequence == sum(before.next_sequence)
            if last.end_reason == End.ROLL:
                until_ns = last.ended_ns + last.clock_offset_ns
                assert all(record.time_ns < until_ns for record in found)
            records += found
        return records


@pytest.fixture
def chain(record: Record, tmp_path: Path) -> Chain:
    return Chain(tmp_path, record, ("--segment-bytes=1000000", "--block-bytes=262144"))


def test_rolls_under_load_lose_and_double_nothing(producer: Producer, chain: Chain) -> None:
    recorder = chain.next().ready()
    producer.activate()
    ends = []
    with producer.emitting(pause_s=0.002):
        for _ in range(6):
            time.sleep(0.2)
            asked_ns = time.monotonic_ns()
            recorder.send(signal.SIGUSR1)
            ends.append(ended_by(recorder, End.ROLL))
            assert asked_ns < ends[-1].ended_ns < asked_ns + 100 * MS
            time.sleep(0.05)  # what comes now waits in the rings
            recorder = chain.next().ready()
        time.sleep(0.2)
    producer.deactivate()
    ends.append(recorder.finish())
    assert all(last.packets > 100 for last in ends)
    assert sum(sum(last.lost_records) for last in ends) == 0
    assert_each_once(chain.assert_joined(ends), producer)


def test_kills_between_rolls_lose_and_double_nothing(producer: Producer, chain: Chain) -> None:
    chance = random.Random(13)
    recorder = chain.next().ready()
    producer.activate()
    ends = []
    with producer.emitting(pause_s=0.002):
        for _ in range(5):
            time.sleep(chance.uniform(0.02, 0.2))
            recorder.kill()
            recorder = chain.again().ready()
            recorder.send(signal.SIGUSR1)
            ends.append(ended_by(recorder, End.ROLL))
            recorder = chain.next()
            time.sleep(chance.uniform(0, 0.01))
            recorder.kill()
            recorder = chain.again().ready()
    producer.deactivate()
    ends.append(recorder.finish())
    assert_each_once(chain.assert_joined(ends), producer)


def test_no_point_to_die_at_hurts_a_roll(producer: Producer, chain: Chain, tmp_path: Path) -> None:
    library = str(build_killer(tmp_path))
    chain.options = ("--segment-bytes=300000", "--block-bytes=131072")
    chain.next().ready().kill()
    producer.activate()
    producer.emit(bytes(1000), times=1000)
    roll_at_ns = time.time_ns()
    time.sleep(0.01)
    producer.emit(bytes(1000), times=1000)
    producer.deactivate()
    roll = f"--roll-at={roll_at_ns}"

    def kill_at(call: int, *options: str) -> Recorder:
        environment = {"LD_PRELOAD": library, "KILL_AT": str(call)}
        return chain.again(*options, environment=environment)

    for call in range(1, 60):
        recorder = kill_at(call, roll)
        if recorder.ended() != -signal.SIGKILL:
            break
    # One that was killed may have been through with it.
    assert recorder.process.returncode == 0 or "has ended already" in recorder.said()
    first = recorder.checkpoint()
    assert first
    assert (End(first.end_reason), first.packets) == (End.ROLL, 1000)
    chain.streams.append(make_stream(tmp_path, "x_1"))
    for call in range(1, 12):
        assert kill_at(call).ended() == -signal.SIGKILL
    last = chain.again().ready().finish()
    assert_each_once(chain.assert_joined([first, last]), producer)


def test_roll_at_divides_at_the_nanosecond(producer: Producer, chain: Chain) -> None:
    at_ns = time.time_ns() + 300 * MS
    recorder = chain.next(f"--roll-at={at_ns}").ready()
    offset_ns = recorder.wait_for(lambda _: True).clock_offset_ns
    producer.activate()
    for sequence, after_ns in enumerate((-MS, -1, -1, 0, 0, 1)):
        entry = given(0, sequence, at_ns - offset_ns + after_ns, b"four")
        producer.emit_record(entry, b"four")
    ends = [ended_by(recorder, End.ROLL)]
    assert at_ns < time.time_ns() < at_ns + SECOND
    assert ends[0].ended_ns == at_ns - offset_ns
    ends.append(chain.next().ready().finish())
    chain.assert_joined(ends)
    assert [last.packets for last in ends] == [3, 3]
    assert sum(ends[1].next_sequence) == 6


def test_what_lies_behind_the_rest_in_a_ring_is_not_taken_twice(
    producer: Producer, chain: Chain
) -> None:
    at_ns = time.time_ns() + 300 * MS
    recorder = chain.next(f"--roll-at={at_ns}").ready()
    offset_ns = recorder.wait_for(lambda _: True).clock_offset_ns
    producer.activate()
    for cpu, sequence, after_ns in ((0, 0, 5), (1, 0, -5), (0, 1, 6), (1, 1, -4)):
        frame = bytes([cpu, sequence])
        producer.emit_record(given(cpu, sequence, at_ns - offset_ns + after_ns, frame), frame)
    ends = [ended_by(recorder, End.ROLL)]
    ends.append(chain.next().ready().finish())
    records = chain.assert_joined(ends)
    assert [r.frame for r in records] == [b"\1\0", b"\1\1", b"\0\0", b"\0\1"]


def test_a_roll_of_nothing_happens_too(producer: Producer, chain: Chain) -> None:
    recorder = chain.next(f"--roll-at={time.time_ns() + 200 * MS}").ready()
    first = ended_by(recorder, End.ROLL)
    producer.activate()
    producer.emit(times=10)
    last = chain.next().ready().finish()
    chain.assert_joined([first, last])
    assert (first.packets, last.packets) == (0, 10)


def test_a_time_in_the_past_rolls_at_once(producer: Producer, chain: Chain) -> None:
    recorder = chain.next("--roll-at=1")
    assert ended_by(recorder, End.ROLL).packets == 0


def test_a_backlog_is_divided_by_the_moment_of_the_roll(producer: Producer, chain: Chain) -> None:
    recorder = chain.next().ready()
    producer.activate()
    recorder.send(signal.SIGSTOP)
    producer.emit(times=20_000)
    recorder.send(signal.SIGUSR1)
    recorder.send(signal.SIGCONT)
    first = ended_by(recorder, End.ROLL)
    assert first.packets == 20_000
    producer.emit(times=5)
    last = chain.next().ready().finish()
    assert_each_once(chain.assert_joined([first, last]), producer)


def test_the_rest_waits_in_the_ring_untouched(producer: Producer, chain: Chain) -> None:
    recorder = chain.next().ready()
    producer.activate()
    with producer.emitting(pause_s=0.001):
        time.sleep(0.2)
        recorder.send(signal.SIGUSR1)
        first = ended_by(recorder, End.ROLL)
        time.sleep(0.1)
    rings = range(first.nr_rings)
    assert [producer.released(ring) for ring in rings] == list(first.ring_position[: len(rings)])
    assert producer.emitted() > sum(first.next_sequence)


def test_losses_belong_to_the_stream_they_happened_in(producer: Producer, chain: Chain) -> None:
    recorder = chain.next().ready()
    producer.activate()
    ends = []
    for wanted, count in ((UNCOPIED, 3), (FORGOTTEN, 5), (UNCOPIED, 2), (COUNTED, 1)):
        with producer.on_one_cpu():
            producer.emit(times=10)
            producer.emit(wanted=wanted, times=count)
            producer.emit(times=10)
        time.sleep(0.01)
        recorder.send(signal.SIGUSR1)
        ends.append(ended_by(recorder, End.ROLL))
        recorder = chain.next().ready()
    ends.append(recorder.finish())
    chain.assert_joined(ends)
    assert [list(last.lost_records) for last in ends] == [
        [0, 3, 0, 0],
        [0, 0, 0, 5],
        [0, 2, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]
    for last in ends[:3]:
        assert last.first_ns <= last.first_loss_ns <= last.last_loss_ns <= last.last_ns
    assert (ends[3].first_loss_ns, ends[3].last_loss_ns) == (0, 0)


def test_a_gap_across_a_roll_is_the_second_stream_s(producer: Producer, chain: Chain) -> None:
    recorder = chain.next().ready()
    producer.activate()
    with producer.on_one_cpu():
        producer.emit(times=10)
        producer.emit(wanted=UNCOPIED, times=4)
        time.sleep(0.01)
        recorder.send(signal.SIGUSR1)
        first = ended_by(recorder, End.ROLL)
        producer.emit(times=10)
    last = chain.next().ready().finish()
    chain.assert_joined([first, last])
    assert [list(each.lost_records) for each in (first, last)] == [[0] * 4, [0, 4, 0, 0]]


def test_sigterm_wins_over_a_roll(producer: Producer, record: Record) -> None:
    recorder = record().ready()
    producer.activate()
    recorder.send(signal.SIGSTOP)
    producer.emit(times=100)
    recorder.send(signal.SIGUSR1)
    recorder.send(signal.SIGTERM)
    recorder.send(signal.SIGCONT)
    assert ended_by(recorder, End.SIGNAL).packets == 100


def test_what_did_not_end_with_a_roll_cannot_be_continued(
    producer: Producer, chain: Chain, tmp_path: Path
) -> None:
    chain.next().ready().finish()
    recorder = chain.next()
    assert recorder.ended() == 1
    assert recorder.said() == (
        f"fwdcap-recorder: the stream in {chain.streams[0]} did not end with a roll\n"
    )
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    recorder = chain.record(f"--continue={nothing}", stream=make_stream(tmp_path, "y"))
    assert recorder.ended() == 1
    assert f"cannot read {nothing}/checkpoint" in recorder.said()


def test_a_roll_of_another_capture_is_not_continued(producer: Producer, chain: Chain) -> None:
    recorder = chain.next().ready()
    producer.activate()
    producer.emit(times=100)
    time.sleep(0.01)
    recorder.send(signal.SIGUSR1)
    assert ended_by(recorder, End.ROLL).packets == 100
    producer.activate()  # counts from zero
    recorder = chain.next()
    assert recorder.ended() == 1
    assert "was not recorded from the ring" in recorder.said()
