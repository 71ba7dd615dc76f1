"""When a recorder is said to hang, and when it is given up."""

from __future__ import annotations

import errno

import pytest

from fwdcap import abi
from fwdcap.capture.watchdog import MOST_PATIENCE_NS, Watch

pytestmark = pytest.mark.unit

S = 10**9
BEGAN = 1000 * S


def report(heartbeat_s: float, packets: int = 0, error: int = 0) -> abi.Checkpoint:
    return abi.Checkpoint(heartbeat_ns=BEGAN + int(heartbeat_s * S), packets=packets, error=error)


def looks(*seen: tuple[float, abi.Checkpoint | None, int]) -> list[Watch]:
    """What is thought at each look: (seconds, report, records emitted)."""
    watch, found = Watch.begin(BEGAN), []
    for at_s, value, emitted in seen:
        watch = watch.look(BEGAN + int(at_s * S), value, emitted)
        found.append(watch)
    return found


def test_one_that_reports_and_writes_is_well() -> None:
    found = looks(*((at, report(at, 10 * at), 10 * at + 5) for at in range(1, 60)))
    assert all(not watch.trouble and not watch.hopeless for watch in found)


def test_one_that_has_nothing_to_write_is_well() -> None:
    found = looks(*((at, report(at, 7), 7) for at in range(1, 60)))
    assert all(not watch.trouble for watch in found)


def test_silence_is_said_after_three_seconds_and_ended_at_the_look_after() -> None:
    found = looks(*((at, report(0, 7), 7) for at in range(1, 6)))
    assert [bool(watch.trouble) for watch in found] == [False, False, False, True, True]
    assert [watch.hopeless for watch in found] == [False, False, False, False, True]
    assert found[3].trouble == "The recorder has not reported for 4 s."


def test_a_daemon_that_slept_itself_gives_a_second_look() -> None:
    late, next_ = looks((30, report(0.5, 7), 7), (31, report(30.9, 9), 9))
    assert (bool(late.trouble), late.hopeless) == (True, False)
    assert (next_.trouble, next_.hopeless) == ("", False)


def test_turning_without_getting_anywhere_is_noticed() -> None:
    found = looks(*((at, report(at, 7), 7 + at) for at in range(1, 8)))
    assert "has written nothing for" in found[4].trouble
    assert found[5].hopeless
    assert found[1].trouble == ""


def test_one_that_never_reported_is_noticed() -> None:
    found = looks(*((at, None, 0) for at in range(1, 6)))
    assert found[-1].hopeless


def test_waiting_for_room_on_the_disk_is_no_hanging() -> None:
    full = [(at, report(at, 7, errno.ENOSPC), 7 + at) for at in range(1, 30)]
    assert all(not watch.trouble for watch in looks(*full))


def test_records_lost_on_the_disk_are_progress() -> None:
    values = []
    for at in range(1, 10):
        value = report(at, 7)
        value.lost_records[abi.Loss.DISK] = at
        values.append((at, value, 100))
    assert all(not watch.trouble for watch in looks(*values))


def test_patience_doubles_until_records_arrive() -> None:
    watch = Watch.begin(BEGAN)
    patience = []
    for _ in range(7):
        watch = watch.replaced(BEGAN, hung=True)
        patience.append(watch.patience_ns // S)
    assert patience == [6, 12, 24, 48, 60, 60, 60]
    assert watch.patience_ns == MOST_PATIENCE_NS
    watch = watch.look(BEGAN + S, report(1, 5), 9)
    watch = watch.look(BEGAN + 2 * S, report(2, 6), 9)
    assert watch.patience_ns == 3 * S


def test_longer_patience_is_no_longer_silence() -> None:
    """It is said after three seconds all the same."""
    watch = Watch.begin(BEGAN).replaced(BEGAN, hung=True)
    found = []
    for at in range(1, 9):
        watch = watch.look(BEGAN + at * S, report(0), 5)
        found.append((bool(watch.trouble), watch.hopeless))
    assert found[3] == (True, False)
    assert found[6] == (True, True)
    assert found[5] == (True, False)


def test_one_that_died_costs_no_patience() -> None:
    assert Watch.begin(BEGAN).replaced(BEGAN, hung=False).patience_ns == 3 * S
