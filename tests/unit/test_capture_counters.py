"""seen = recorded + lost, whatever happened to the records."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwdcap import abi
from fwdcap.capture import counters
from fwdcap.capture.counters import Emitted, Sample

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
