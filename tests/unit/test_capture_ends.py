"""Captures that end by themselves, roll, hang, lose, vanish and are interrupted."""

from __future__ import annotations

import errno
import itertools
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from capture_rig import ROUTES, Rig
from control_fakes import STREAM, eventually

from fwdcap import abi
from fwdcap.capture import recorder
from fwdcap.capture.caps import Caps
from fwdcap.capture.session import Session
from fwdcap.capture.words import Around
from fwdcap.errors import Conflict, Invalid, Unavailable

pytest_plugins = ["control_fixtures"]
pytestmark = pytest.mark.unit


# ---- caps


def test_caps_reach_recorder_and_stream(rig: Rig) -> None:
    rig.start("x", caps=Caps(10**10, 7, 60))
    command = Path(f"/proc/{rig.pid()}/cmdline").read_bytes().split(b"\0")
    words = rig.stream_json()
    for name, value in (("max_bytes", 10**10), ("max_packets", 7), ("max_seconds", 60)):
        at = command.index(b"--" + name.replace("_", "-").encode())
        assert int(command[at + 1]) == words[name] == value
    assert rig.captures.status()["caps"] == {
        "max_bytes": 10**10,
        "max_packets": 7,
        "max_seconds": 60,
    }


def test_bad_caps_are_refused(rig: Rig) -> None:
    with pytest.raises(Invalid, match="max_packets of 0 packets"):
        rig.start("x", caps=Caps(max_packets=0))
    assert list((rig.store / "streams").iterdir()) == []


def test_a_capture_ends_at_its_cap_and_the_rest_is_nobodys(rig: Rig) -> None:
    rig.start("x", caps=Caps(max_packets=10))
    rig.source.emit(4)
    rig.captures.tend()
    rig.source.emit(20)
    rig.gone()
    rig.source.emit(9, lost=3)
    lines = rig.captures.tend()
    assert lines == [f"capture [x] ended: 10 packets reached ({STREAM})."]
    assert not rig.source.active
    status = rig.captures.status()
    assert status["message"] == "capture [x] ended: 10 packets reached"
    assert (status["active"], status["recorder"], status["ended"]) == (False, "none", "max-packets")
    assert (status["emitted_records"], status["committed_records"]) == (10, 10)
    assert (status["lost_records"], status["losses"], status["received_packets"]) == (0, [], 10)
    assert rig.stream_json()["state"] == "complete"


def test_a_cap_that_was_reached_while_no_daemon_ran(rig: Rig) -> None:
    rig.start("x", caps=Caps(max_packets=10))
    rig.source.emit(20)
    rig.gone()
    rig.captures = rig.daemon()
    assert rig.captures.adopt() == [f"capture [x] ended: 10 packets reached ({STREAM})."]
    assert not rig.source.active
    assert rig.captures.status()["committed_records"] == 10


def test_a_stop_after_the_cap_tells_of_the_cap(rig: Rig) -> None:
    rig.start("x", caps=Caps(max_packets=10))
    rig.source.emit(20)
    rig.gone()
    stopped = rig.captures.stop()
    assert stopped.summary is not None
    assert (stopped.summary["packets"], stopped.summary["lost_records"]) == (10, 0)
    assert rig.captures.status()["ended"] == "max-packets"


def test_the_message_of_a_cap_survives_the_daemon(rig: Rig) -> None:
    rig.start("x", caps=Caps(max_packets=10))
    rig.source.emit(20)
    rig.gone()
    rig.captures.tend()
    before = rig.captures.status()
    rig.captures = rig.daemon()
    rig.captures.adopt()
    assert rig.captures.status() == before


def test_a_stop_answers_with_a_summary(rig: Rig) -> None:
    rig.start("x")
    rig.source.emit(10, lost=2)
    rig.utc.pass_s(90)
    summary = rig.captures.stop().summary
    assert summary is not None
    assert (summary["packets"], summary["bytes"], summary["seconds"]) == (10, 1000, 90.0)
    assert (summary["lost_records"], summary["lost"]["ring-full"]) == (2, 2)


# ---- rolling


def streams(rig: Rig) -> list[dict[str, Any]]:
    """Every stream.json, oldest first."""
    names = os.listdir(rig.store / "streams")
    return sorted((rig.stream_json(name) for name in names), key=lambda each: each["started_ns"])


def assert_chain(rig: Rig, packets: list[int], lost: list[int]) -> None:
    """Streams follow each other, and each adds up for itself."""
    found = streams(rig)
    for one, following in itertools.pairwise(found):
        assert one["continued_by"] == following["stream"]
        assert following["continues"] == one["stream"]
        assert one["ended"] == "rolled"
    assert [each["counters"]["emitted_records"] for each in found] == packets
    assert [sum(each["counters"]["lost"].values()) for each in found] == lost
    assert [sum(e["records"] for e in each["losses"]) for each in found] == lost
    assert [each["counters"]["received_packets"] for each in found] == [
        one + other for one, other in zip(packets, lost, strict=True)
    ]


def test_a_roll_begins_a_stream_where_the_last_one_ended(rig: Rig) -> None:
    rig.start("x")
    rig.source.emit(10)
    eventually(lambda: rig.committed() == 10)
    rig.captures.tend()
    rig.utc.pass_s(3600)
    outcome = rig.captures.roll()
    assert outcome.message == "capture [x] goes on in x_20270115_0900"
    assert rig.source.active
    assert rig.captures.stream == "x_20270115_0900"
    rig.source.emit(5)
    eventually(lambda: rig.committed() == 5)
    status = rig.captures.status()
    assert (status["emitted_records"], status["continues"]) == (5, STREAM)
    rig.captures.stop()
    assert_chain(rig, [10, 5], [0, 0])


def test_a_capture_rolls_on_and_on(rig: Rig) -> None:
    rig.start("x")
    for records in (10, 20, 30, 40):
        rig.source.emit(records)
        eventually(partial(_committed, rig, records))
        rig.captures.tend()
        rig.utc.pass_s(60)
        rig.captures.roll()
    rig.captures.stop()
    assert_chain(rig, [10, 20, 30, 40, 0], [0, 0, 0, 0, 0])


def _committed(rig: Rig, records: int) -> bool:
    return rig.committed() == records


def test_the_next_daemon_completes_a_roll(rig: Rig) -> None:
    rig.start("x")
    rig.source.emit(10)
    eventually(lambda: rig.committed() == 10)
    rig.captures.tend()
    os.kill(rig.pid(), signal.SIGUSR1)
    rig.gone()
    rig.source.emit(7)  # waits in the ring
    rig.utc.pass_s(60)
    rig.captures = rig.daemon()
    assert rig.captures.adopt() == [f"Capture [x] goes on in x_20270115_0801 after {STREAM}."]
    eventually(lambda: rig.committed() == 7)
    rig.captures.stop()
    assert_chain(rig, [10, 7], [0, 0])


def test_the_next_daemon_completes_a_roll_that_had_begun_its_stream(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last one died between the new stream's first words and the old one's last."""
    rig.start("x")
    rig.source.emit(10)
    eventually(lambda: rig.committed() == 10)
    rig.captures.tend()
    rig.utc.pass_s(60)
    with monkeypatch.context() as patch:
        patch.setattr(Session, "finish", _die)
        with pytest.raises(Death):
            rig.captures.roll()
    rig.source.emit(7)
    rig.captures = rig.daemon()
    lines = rig.captures.adopt()
    assert lines == [
        "Capture [x] is still running and goes on (x_20270115_0801).",
        f"Stream {STREAM} is complete.",
    ]
    eventually(lambda: rig.committed() == 7)
    rig.captures.stop()
    assert_chain(rig, [10, 7], [0, 0])


def test_a_recorder_that_died_before_its_first_report_follows_all_the_same(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.start("x")
    rig.source.emit(10)
    eventually(lambda: rig.committed() == 10)
    rig.utc.pass_s(60)
    with monkeypatch.context() as patch:
        patch.setattr(recorder, "start", _die)
        with pytest.raises(Death):
            rig.captures.roll()
    rig.source.emit(7)
    rig.captures = rig.daemon()
    rig.captures.adopt()
    eventually(lambda: rig.committed() == 7)
    rig.captures.stop()
    assert [each["counters"]["emitted_records"] for each in streams(rig)] == [10, 7]


class Death(BaseException):
    """kill -9 of the daemon."""


def _die(*_: object, **__: object) -> None:
    raise Death


def test_while_the_next_stream_cannot_begin_packets_wait(rig: Rig) -> None:
    rig.start("x")
    rig.source.emit(10)
    eventually(lambda: rig.committed() == 10)
    rig.misbehave("refuse")
    with pytest.raises(Unavailable, match="could not be rolled yet"):
        rig.captures.roll()
    assert rig.source.active
    assert "next stream cannot be begun" in rig.captures.status()["message"]
    rig.source.emit(7)
    rig.behave("refuse")
    rig.utc.pass_s(60)
    assert "goes on in" in rig.captures.tend()[0]
    eventually(lambda: rig.committed() == 7)
    rig.captures.stop()
    assert_chain(rig, [10, 7], [0, 0])


def test_a_next_stream_that_never_begins_ends_the_capture(rig: Rig) -> None:
    rig.start("x")
    rig.source.emit(10)
    eventually(lambda: rig.committed() == 10)
    rig.misbehave("refuse")
    with pytest.raises(Unavailable):
        rig.captures.roll()
    rig.source.emit(7)
    rig.monotonic.pass_s(61)
    (line,) = rig.captures.tend()
    assert "the next stream could not be begun" in line
    status = rig.captures.status()
    assert (status["active"], status["recorder"]) == (False, "failed")
    assert (status["committed_records"], status["lost"]["disk"]) == (10, 7)
    assert len(streams(rig)) == 1


def test_a_stop_in_the_middle_of_a_roll_takes_what_waits(rig: Rig) -> None:
    rig.start("x")
    rig.source.emit(10)
    eventually(lambda: rig.committed() == 10)
    rig.captures.tend()
    os.kill(rig.pid(), signal.SIGUSR1)
    rig.gone()
    rig.source.emit(7)
    rig.utc.pass_s(60)
    rig.captures.stop()
    assert not rig.source.active
    assert_chain(rig, [10, 7], [0, 0])


def test_what_a_capture_may_take_is_for_all_its_streams(rig: Rig) -> None:
    rig.start("x", caps=Caps(max_packets=15))
    rig.source.emit(10)
    eventually(lambda: rig.committed() == 10)
    rig.utc.pass_s(60)
    rig.captures.roll()
    rig.source.emit(10)
    eventually(rig.ended)
    assert rig.captures.status()["message"] == "capture [x] ended: 15 packets reached"
    assert [each["counters"]["emitted_records"] for each in streams(rig)] == [10, 5]


def test_there_must_be_something_to_roll(rig: Rig) -> None:
    with pytest.raises(Conflict):
        rig.captures.roll()


# ---- recorders that hang, directories that go


def test_a_recorder_that_hangs_is_replaced_and_loses_nothing(rig: Rig) -> None:
    rig.start("x")
    rig.source.emit(10)
    eventually(lambda: rig.committed() == 10)
    pid = rig.pid()
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: ") T " in Path(f"/proc/{pid}/stat").read_text())
    report = recorder.report(rig.store / "streams" / STREAM)
    assert report is not None
    rig.source.emit(5)
    rig.monotonic.ns = report.heartbeat_ns + 4 * 10**9
    assert rig.captures.tend() == ["The recorder has not reported for 4 s."]
    rig.monotonic.pass_s(1)
    hung, again = rig.captures.tend()
    assert "It is replaced" in hung
    assert again == f"The recorder of {STREAM} hung and was started again."
    assert rig.pid() != pid
    eventually(lambda: rig.committed() == 15)
    assert rig.captures.status()["message"] == again  # for a minute
    rig.monotonic.pass_s(61)
    assert rig.captures.status()["message"] == ""
    rig.captures.stop()
    assert rig.captures.status()["lost_records"] == 0


def test_a_directory_removed_under_a_capture_ends_it(rig: Rig) -> None:
    rig.start("x")
    rig.source.emit(10)
    eventually(lambda: rig.committed() == 10)
    pid = rig.pid()
    (rig.store / "streams").rename(rig.store / "gone")
    (line,) = rig.captures.tend()
    assert f"the directory of stream {STREAM} was removed" in line
    assert not rig.source.active
    assert rig.captures.status()["recorder"] == "failed"
    assert not Path(f"/proc/{pid}").exists()
    assert rig.start("y").stream.startswith("y_")  # the store's directory is made again


def test_a_recorder_that_the_system_will_not_start_is_said_and_tried_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.start("x")
    rig.kill()
    rig.source.emit(10)

    def refuse(order: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(recorder, "start", refuse)
        (line,) = rig.captures.tend()
        assert line == (
            "The recorder cannot be started: Read-only file system. Packets wait in the ring."
        )
        rig.monotonic.pass_s(10)
        assert rig.captures.tend() == []  # said once
        assert rig.captures.status()["message"] == line
        assert rig.captures.status()["recorder"] == "restarting"
    rig.monotonic.pass_s(10)
    assert rig.captures.tend()
    rig.captures.stop()
    assert (rig.committed(), rig.captures.status()["lost_records"]) == (10, 0)


def test_a_recorder_that_somebody_else_ends_ends_the_capture(rig: Rig) -> None:
    rig.start("x")
    os.kill(rig.pid(), signal.SIGTERM)
    rig.gone()
    (line,) = rig.captures.tend()
    assert "somebody else told it to end" in line
    assert rig.stream_json()["ended"] == "signal"


# ---- a disk that is full, a clock that is set


def test_a_stop_on_a_full_disk_ends_for_the_disk(rig: Rig) -> None:
    rig.misbehave("full")
    rig.start("x")
    rig.source.emit(10)
    summary = rig.captures.stop().summary
    status = rig.captures.status()
    assert (status["ended"], status["recorder"]) == ("disk", "failed")
    assert summary is not None
    assert (summary["ended"], summary["message"]) == ("disk", status["message"])
    assert status["message"] == "Capture [x] was stopped, its recorder failed: the disk is full."
    assert rig.stream_json()["message"] == status["message"]


def test_a_roll_on_a_full_disk_says_how_the_capture_ended(rig: Rig) -> None:
    rig.misbehave("full")
    rig.start("x")
    with pytest.raises(Unavailable, match=r"\[x\] could not be rolled, it has ended") as refused:
        rig.captures.roll()
    assert "the disk is full" in refused.value.hint
    with pytest.raises(Conflict, match="there is nothing to roll"):
        rig.captures.roll()


def test_what_ended_last_is_the_last_one_though_the_clock_was_set_back(rig: Rig) -> None:
    rig.start("future")
    rig.source.emit(10)
    rig.captures.stop()
    rig.captures = rig.daemon()
    rig.captures.adopt()
    rig.utc.pass_s(-3600)
    rig.start("now")
    rig.source.emit(3)
    stopped = rig.captures.stop()
    assert stopped.message == "successfully stopped capture [now]"
    assert stopped.summary is not None
    assert stopped.summary["packets"] == 3
    rig.captures.adopt()  # as when a data path is attached
    assert rig.captures.status()["name"] == "now"


# ---- losses


def test_losses_are_episodes_that_add_up(rig: Rig) -> None:
    rig.start("x")
    rig.captures.tend()
    rig.source.emit(10, lost=3)
    rig.utc.pass_s(1)
    rig.captures.tend()
    first = rig.captures.status()["losses"]
    assert [(each["reason"], each["ring"], each["records"]) for each in first] == [
        ("ring-full", 0, 3)
    ]
    rig.utc.pass_s(60)
    rig.captures.tend()
    rig.source.emit(10, lost=4)
    rig.utc.pass_s(1)
    assert [each["records"] for each in rig.captures.status()["losses"]] == [3, 4]
    rig.captures.stop()
    words = rig.stream_json()
    assert [each["records"] for each in words["losses"]] == [3, 4]  # type: ignore[attr-defined]
    assert rig.captures.status()["lost_records"] == 7


def test_losses_survive_the_daemon(rig: Rig) -> None:
    rig.start("x")
    rig.source.emit(10, lost=3)
    rig.utc.pass_s(1)
    rig.monotonic.pass_s(10)
    rig.captures.tend()
    rig.captures = rig.daemon()
    rig.captures.adopt()
    assert [each["records"] for each in rig.captures.status()["losses"]] == [3]
    rig.captures.stop()
    assert rig.captures.status()["losses"][0]["records"] == 3


def test_losses_that_end_within_seconds_are_noted_as_soon_as_it_is_time(rig: Rig) -> None:
    """For a daemon that is killed then: they would become one with the next ones."""

    def noted() -> list[int]:
        return [each["records"] for each in rig.stream_json()["losses"]]  # type: ignore[attr-defined]

    def tend(seconds: float) -> None:
        for clock in (rig.utc, rig.monotonic):
            clock.pass_s(seconds)
        rig.captures.tend()

    rig.start("x")
    rig.source.emit(10, lost=3)
    tend(10)
    assert noted() == [3]
    rig.source.emit(10, lost=4)
    tend(1)
    assert noted() == [3], "every few seconds is often enough"
    tend(4)
    assert noted() == [7]
    written = (rig.store / "streams" / STREAM / "stream.json").stat().st_ino
    tend(10)
    assert (rig.store / "streams" / STREAM / "stream.json").stat().st_ino == written
    rig.captures = rig.daemon()
    rig.captures.adopt()
    tend(60)
    rig.source.emit(10, lost=5)
    tend(1)
    assert [each["records"] for each in rig.captures.status()["losses"]] == [7, 5]


# ---- after a reboot


def reboot(rig: Rig) -> None:
    rig.kill()
    rig.source.active = False  # a new kernel has new maps
    rig.source.states = [abi.CpuState()]
    (rig.source.directory / "records").unlink()
    rig.boot = "second"
    rig.utc.pass_s(600)
    rig.captures = rig.daemon()
    rig.captures.adopt()


def test_an_interrupted_capture_can_go_on(rig: Rig) -> None:
    rig.start("x", 96, caps=Caps(max_packets=15), row="")
    rig.source.emit(10)
    eventually(lambda: rig.committed() == 10)
    reboot(rig)
    old = rig.captures.take_interrupted()
    assert old is not None
    assert rig.captures.take_interrupted() is None
    wish = rig.captures.wish_after(old)
    assert wish is not None
    assert (wish.name, wish.snaplen, wish.after) == ("x", 96, STREAM)
    outcome = rig.captures.start(wish, Around("cap0", ROUTES))
    assert outcome.stream == "x_20270115_0810"
    rig.source.emit(9)
    eventually(rig.ended)
    assert rig.captures.status()["committed_records"] == 5  # ten were there before
    one, other = streams(rig)
    assert (one["ended"], one["state"]) == ("interrupted", "recovered")
    assert (one["continued_by"], other["continues"]) == (other["stream"], one["stream"])


def test_an_interrupted_capture_whose_caps_are_used_up_does_not(rig: Rig) -> None:
    rig.start("x", caps=Caps(max_packets=10))
    rig.source.emit(10)
    rig.gone()
    rig.source.active = False
    rig.boot = "second"
    rig.captures = rig.daemon()
    rig.captures.adopt()
    old = rig.captures.take_interrupted()
    assert old is not None
    assert rig.captures.wish_after(old) is None
    assert rig.stream_json()["ended"] == "max-packets"


def test_a_capture_whose_stop_was_interrupted_stays_stopped(rig: Rig) -> None:
    rig.start("x")
    rig.source.active = False
    rig.captures = rig.daemon()
    rig.captures.adopt()
    assert rig.captures.take_interrupted() is None
