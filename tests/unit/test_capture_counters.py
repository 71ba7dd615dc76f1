"""seen = recorded + lost, whatever happened to the records."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwdcap import abi
from fwdcap.capture import counters
from fwdcap.capture.counters import Emitted, Sample
from fwdcap.capture.tally import Tally
from fwdcap.store.stream_json import StreamJson, parse_interfaces

pytestmark = pytest.mark.unit

SECOND_NS = 1_000_000_000


def cpu(records: int = 0, lost: int = 0, **of: int) -> abi.CpuState:
    state = abi.CpuState(emitted_records=records, next_sequence=records + lost, **of)
    state.lost_records[abi.Loss.RING_FULL] = lost
    return state


def report(packets: int, disk: int = 0, **of: int) -> abi.Checkpoint:
    value = abi.Checkpoint(packets=packets, frame_bytes=packets * 100, **of)
    value.lost_records[abi.Loss.DISK] = disk
    return value


def test_all_cpus_are_summed() -> None:
    sum_ = counters.total([cpu(3, 1, received_packets=4), cpu(5, 0, received_packets=5)])
    assert (sum_.records, sum_.seen, sum_.received_packets) == (8, 9, 9)
    assert sum_.lost[abi.Loss.RING_FULL] == 1


def test_the_first_loss_of_any_cpu_is_the_first() -> None:
    states = [cpu(), cpu(first_loss_ns=70, last_loss_ns=90), cpu(first_loss_ns=50, last_loss_ns=60)]
    assert counters.total(states).first_loss_ns == 50
    assert counters.total(states).last_loss_ns == 90
    assert counters.total([cpu()]).first_loss_ns == 0


def test_loss_times_are_shown_in_utc() -> None:
    emitted = counters.total([cpu(1, 1, first_loss_ns=50, last_loss_ns=90)])
    shown = counters.live(emitted, report(1, clock_offset_ns=1000, first_loss_ns=1040))
    assert (shown.first_loss_ns, shown.last_loss_ns) == (1040, 1090)


def test_a_capture_without_loss_has_no_loss_times() -> None:
    shown = counters.live(counters.total([cpu(1)]), report(1, clock_offset_ns=1000))
    assert (shown.first_loss_ns, shown.last_loss_ns) == (None, None)


def test_what_waits_in_the_ring_is_not_lost_while_it_runs() -> None:
    shown = counters.live(counters.total([cpu(10, 2)]), report(4, disk=1))
    assert shown.committed_records == 4
    assert shown.lost_records == 3


def test_what_nothing_explains_is_unknown_at_the_end() -> None:
    end = counters.settled(counters.total([cpu(10, 2)]), report(7), abi.Loss.UNKNOWN)
    assert counters.losses(end.lost) == {"ring-full": 2, "copy": 0, "disk": 0, "unknown": 3}


def test_after_a_full_disk_the_rest_is_the_disks() -> None:
    end = counters.settled(counters.total([cpu(10)]), report(6, disk=1), abi.Loss.DISK)
    assert counters.losses(end.lost) == {"ring-full": 0, "copy": 0, "disk": 4, "unknown": 0}


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_seen_is_recorded_plus_lost(written: int, waiting: int, full: int, disk: int) -> None:
    emitted = counters.total([cpu(written + waiting + disk, full)])
    end = counters.settled(emitted, report(written, disk), abi.Loss.UNKNOWN)
    assert emitted.seen == end.committed_records + end.lost_records


def test_the_numbers_survive_stream_json() -> None:
    states = [cpu(10, 2, received_packets=12, error_packets=1, emitted_bytes=1000)]
    end = counters.settled(counters.total(states), report(10), abi.Loss.UNKNOWN)
    assert counters.kept(end.stored(), report(10)) == end


def test_without_stored_numbers_the_recorder_is_believed() -> None:
    shown = counters.kept({}, report(5))
    assert (shown.received_packets, shown.committed_records, shown.committed_bytes) == (5, 5, 500)
    assert counters.kept({}, None).committed_records == 0


def test_a_rate_is_over_the_last_second() -> None:
    history = [
        Sample(0, 0, 0),
        Sample(SECOND_NS, 1000, 100_000),
        Sample(2 * SECOND_NS, 1000, 100_000),
    ]
    now = Sample(3 * SECOND_NS, 1500, 150_000)
    assert counters.rates(history, now) == (400_000, 500)


def test_there_is_no_rate_before_a_second_has_passed() -> None:
    assert counters.rates([], Sample(0, 9, 9)) == (0, 0)
    assert counters.rates([Sample(0, 0, 0)], Sample(SECOND_NS // 2, 9, 9)) == (0, 0)


def test_a_rate_is_never_negative() -> None:
    """The counters begin anew with a capture."""
    assert counters.rates([Sample(0, 100, 100)], Sample(SECOND_NS, 0, 0)) == (0, 0)


def test_words_are_those_of_the_api() -> None:
    assert counters.word(abi.Reason.DROP_NO_NEXT_HOP) == "drop-no-next-hop"
    assert counters.word(abi.Loss.RING_FULL) == "ring-full"
    assert counters.losses(Emitted().lost) == {
        "ring-full": 0,
        "copy": 0,
        "disk": 0,
        "unknown": 0,
    }


def ended(packets: int, full: int = 0, unknown: int = 0) -> abi.Checkpoint:
    """The report of a stream that a cap or a roll ended."""
    value = report(packets, clock_offset_ns=1000)
    value.lost_records[abi.Loss.RING_FULL] = full
    value.lost_records[abi.Loss.UNKNOWN] = unknown
    return value


def test_a_streams_share_is_what_came_after_its_baseline() -> None:
    before = counters.total([cpu(10, 2, received_packets=12, emitted_bytes=1000)])
    now = counters.total([cpu(30, 5, received_packets=35, emitted_bytes=2500)])
    own = now.since(before)
    assert (own.seen, own.records, own.received_packets, own.bytes) == (23, 20, 23, 1500)
    assert own.lost[abi.Loss.RING_FULL] == 3


def test_without_a_baseline_all_of_it_is() -> None:
    now = counters.total([cpu(30, 5, first_loss_ns=7)])
    assert now.since(Emitted()) == now


def test_a_baseline_survives_stream_json() -> None:
    base = counters.total([cpu(10, 2, received_packets=12, error_packets=1, emitted_bytes=99)])
    assert Emitted.of(base.to_dict()) == base
    assert Emitted.of({}) == Emitted(lost=dict.fromkeys(abi.Loss, 0))


def test_what_was_received_at_a_cap_is_in_proportion() -> None:
    """Three records a packet; the looks were 100 packets before it and 200 after."""
    before = counters.total([cpu(600, received_packets=200)])
    after = counters.total([cpu(1500, received_packets=500)])
    end = counters.boundary(Emitted(), ended(900), before, after)
    assert (end.seen, end.records, end.received_packets) == (900, 900, 300)


def test_a_cap_before_the_first_look_is_in_proportion_too() -> None:
    after = counters.total([cpu(100, received_packets=100)])
    assert counters.boundary(Emitted(), ended(30), Emitted(), after).received_packets == 30


def test_what_was_emitted_after_a_cap_is_nobodys() -> None:
    after = counters.total([cpu(1000, 500, received_packets=1500)])
    report_ = ended(80, full=20)
    end = counters.boundary(Emitted(), report_, Emitted(), after)
    found = counters.concluded(Emitted(), end, report_)
    assert (found.emitted_records, found.committed_records, found.lost_records) == (80, 80, 20)
    assert found.received_packets == 100


ROUTE = (7, abi.Mode.INLINE)


def test_counts_by_route_and_mode_survive_stream_json() -> None:
    base = Emitted(interfaces={ROUTE: (10, 2), (7, abi.Mode.EGRESS): (0, 0)})
    assert Emitted.of(base.to_dict()).interfaces == base.interfaces
    assert parse_interfaces([{"route_id": 1, "mode": "inline", "lost": 3}, 7]) == {}
    assert parse_interfaces([{"route_id": 1, "mode": [], "recorded": 1, "lost": 3}]) == {}


def test_what_was_counted_by_route_before_the_capture_is_not_its_own() -> None:
    """A route that came later has no baseline; one whose rule was made anew counts from 0."""
    base = Emitted(interfaces={ROUTE: (100, 5), (9, abi.Mode.EGRESS): (50, 0)})
    later = {ROUTE: (130, 6), (8, abi.Mode.INGRESS): (4, 1), (9, abi.Mode.EGRESS): (2, 0)}
    assert counters.total([cpu(7)], later).since(base).interfaces == {
        ROUTE: (30, 1),
        (8, abi.Mode.INGRESS): (4, 1),
        (9, abi.Mode.EGRESS): (0, 0),
    }


pieces = st.lists(
    st.tuples(st.integers(0, 1000), st.integers(0, 100), st.integers(0, 5)), min_size=1, max_size=6
)


@given(pieces, st.integers(0, 1000))
def test_each_stream_of_a_rolled_capture_adds_up_and_so_do_all(
    rolled: list[tuple[int, int, int]], last: int
) -> None:
    """The only look at the program comes after each roll, when more has been emitted."""
    words = StreamJson("x", "x_1", "recording", 1)
    shares, streams, base = [], [], Emitted()
    seen = sum(sum(piece) for piece in rolled) + last
    for packets, full, unknown in rolled:
        tally, report_ = Tally(words), ended(packets, full, unknown)
        late = min(seen, base.seen + packets + full + unknown + 17)
        now = abi.CpuState(next_sequence=late, received_packets=late)
        end = tally.boundary(report_, counters.total([now], {ROUTE: (late, 0)}))
        streams.append(tally.conclude(end, report_))
        shares.append(end.seen - base.seen)
        base, words = end, replace(words, baseline=end.to_dict())
    final = Emitted(
        seen=seen,
        received_packets=seen,
        records=base.records + last,
        lost=base.lost,
        interfaces={ROUTE: (seen, 0)},
    )
    streams.append(Tally(words).settle(final, report(last), abi.Loss.UNKNOWN))
    shares.append(seen - base.seen)
    for found, share in zip(streams, shares, strict=True):
        assert found.committed_records + found.lost_records == share
        assert found.received_packets == share
        assert found.interfaces[ROUTE] == (share, 0)
    assert sum(shares) == seen
