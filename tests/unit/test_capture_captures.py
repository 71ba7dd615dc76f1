"""Captures with a real process for a recorder: nothing lost, whoever dies."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from control_fakes import ACCOUNTS, RECORDER, STARTED_NS, STREAM, Clock, FakeSource, eventually

from fwdcap import abi
from fwdcap.capture import folder, recorder, session
from fwdcap.capture.caps import Caps
from fwdcap.capture.captures import Captures
from fwdcap.capture.place import Place
from fwdcap.capture.session import Session
from fwdcap.capture.summary import Outcome
from fwdcap.capture.words import Around, Wish
from fwdcap.errors import Conflict, DiskFull, Invalid, Unavailable

pytestmark = pytest.mark.unit

Route = dict[str, Any]

ROUTES: tuple[Route, ...] = ({"name": "demo", "enabled": True, "modes": ["inline"]},)


class Rig:
    """A store, a ring and as many daemons as a test wants, one after the other."""

    def __init__(self, root: Path) -> None:
        self.store = root / "store"
        pins = root / "pins"
        pins.mkdir()
        folder.prepare(self.store, ACCOUNTS)
        self.place = Place(self.store, "UTC", ACCOUNTS, 10**9, 0, RECORDER)
        self.source = FakeSource(pins)
        self.utc, self.monotonic = Clock(), Clock(0)
        self.boot = "first"
        self.captures = self.daemon()

    def daemon(self) -> Captures:
        """Another daemon on the same store and kernel, the earlier one being gone."""
        return Captures(
            self.place,
            self.source,
            utc_ns=self.utc,
            monotonic_ns=self.monotonic,
            boot=lambda: self.boot,
            repair=lambda directory: None,
        )

    def start(
        self, name: str, snaplen: int | None = None, *, routes: Sequence[Route] = ROUTES, **of: Any
    ) -> Outcome:
        return self.captures.start(Wish(name, snaplen, **of), Around("cap0", routes))

    def stream_json(self, stream: str = STREAM) -> dict[str, object]:
        read: dict[str, object] = json.loads(
            (self.store / "streams" / stream / "stream.json").read_text()
        )
        return read

    def pid(self, stream: str = STREAM) -> int:
        found = recorder.find(self.store / "streams" / stream)
        assert found is not None
        found.close()
        return found.pid

    def recording(self) -> bool:
        found = recorder.find(self.store / "streams" / STREAM)
        if found:
            found.close()
        return found is not None

    def kill(self) -> None:
        eventually(self.recording)
        os.kill(self.pid(), signal.SIGKILL)
        eventually(lambda: not self.recording())

    def misbehave(self, how: str) -> None:
        (self.source.directory / how).touch()

    def behave(self, how: str) -> None:
        (self.source.directory / how).unlink()

    def committed(self) -> int:
        count: int = self.captures.status()["committed_records"]
        return count


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    for directory in (rig.store / "streams").iterdir():
        found = recorder.find(directory)
        if found:
            found.send(signal.SIGKILL)
            found.close()


def test_a_capture_from_start_to_stop(rig: Rig) -> None:
    started = rig.start("x")
    assert (started.name, started.stream, started.time_ns) == ("x", STREAM, STARTED_NS)
    assert started.message == "successfully started capture [x]"
    assert rig.source.active
    rig.source.emit(10)
    rig.utc.pass_s(60)
    stopped = rig.captures.stop()
    assert stopped.message == "successfully stopped capture [x]"
    assert not rig.source.active
    status = rig.captures.status()
    assert (status["active"], status["emitted_records"], status["committed_records"]) == (
        False,
        10,
        10,
    )
    assert (status["lost_records"], status["pending_bytes"], status["recorder"]) == (0, 0, "none")
    words = rig.stream_json()
    assert (words["state"], words["stopped_ns"]) == ("complete", STARTED_NS + 60 * 10**9)
    assert words["routes"] == list(ROUTES)


def test_emission_begins_only_when_the_recorder_reports(rig: Rig) -> None:
    seen: list[object] = []
    rig.source.activate = lambda snaplen: seen.append(  # type: ignore[method-assign]
        recorder.report(rig.store / "streams" / STREAM)
    )
    rig.start("x")
    assert seen[0] is not None


def test_a_capture_that_records_nothing_says_so(rig: Rig) -> None:
    forward_only = {"name": "f", "enabled": True, "modes": []}
    off = {"name": "o", "enabled": False, "modes": ["inline"]}
    message = rig.start("x", routes=(forward_only, off)).message
    assert message == "successfully started capture [x], but no route records anything"


def test_the_snaplen_reaches_kernel_and_stream(rig: Rig) -> None:
    rig.start("x", 96)
    assert rig.source.snaplen == rig.stream_json()["snaplen"] == 96
    assert b"--snaplen\x0096\x00" in Path(f"/proc/{rig.pid()}/cmdline").read_bytes()


def test_the_recorder_is_in_a_session_of_its_own(rig: Rig) -> None:
    rig.start("x")
    assert os.getsid(rig.pid()) == rig.pid()


def test_one_capture_at_a_time(rig: Rig) -> None:
    rig.start("x")
    with pytest.raises(Conflict, match=r"\[x\] is already running"):
        rig.start("y")


def test_a_second_start_in_the_same_minute_gets_a_number(rig: Rig) -> None:
    rig.start("x")
    rig.captures.stop()
    assert rig.start("x").stream == f"{STREAM}-2"


def test_there_must_be_something_to_stop(rig: Rig) -> None:
    with pytest.raises(Conflict, match="nothing to stop"):
        rig.captures.stop()


@pytest.mark.parametrize(("name", "snaplen"), [("../x", None), ("", None), ("x", -1), ("x", 10**6)])
def test_bad_input_is_refused(rig: Rig, name: str, snaplen: int | None) -> None:
    with pytest.raises(Invalid):
        rig.start(name, snaplen)
    assert list((rig.store / "streams").iterdir()) == []


def test_without_a_data_path_nothing_can_be_recorded(rig: Rig) -> None:
    rig.source.there = False
    with pytest.raises(Unavailable, match="no capture interface"):
        rig.start("x")


def test_a_recorder_that_refuses_is_quoted_and_leaves_nothing(rig: Rig) -> None:
    rig.misbehave("refuse")
    with pytest.raises(Unavailable, match="did not start: the ring is not there"):
        rig.start("x")
    assert list((rig.store / "streams").iterdir()) == []
    assert not rig.source.active


def test_a_recorder_that_stays_mute_is_ended(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "START_PATIENCE_S", 0.3)
    rig.misbehave("mute")
    with pytest.raises(Unavailable, match="did not report"):
        rig.start("x")
    assert list((rig.store / "streams").iterdir()) == []


def test_a_store_that_cannot_be_written_is_refused(rig: Rig) -> None:
    (rig.store / "streams").rename(rig.store / "gone")
    (rig.store / "streams").touch()
    with pytest.raises(DiskFull):
        rig.start("x")
    (rig.store / "streams").unlink()
    (rig.store / "gone").rename(rig.store / "streams")


def test_rates_are_over_the_last_second(rig: Rig) -> None:
    rig.start("x")
    rig.captures.tend()
    rig.source.emit(100)
    rig.monotonic.pass_s(1)
    status = rig.captures.status()
    assert (status["pps"], status["bps"]) == (100, 80_000)
    rig.captures.tend()
    rig.monotonic.pass_s(1)
    assert rig.captures.status()["pps"] == 0


def test_losses_are_shown_with_their_reason(rig: Rig) -> None:
    rig.start("x")
    rig.source.emit(10, lost=3)
    assert rig.captures.status()["lost"]["ring-full"] == 3
    rig.captures.stop()
    assert rig.captures.status()["lost_records"] == 3
    assert rig.stream_json()["counters"]["lost"]["ring-full"] == 3  # type: ignore[index]


def test_a_recorder_that_died_is_started_again_into_the_same_stream(rig: Rig) -> None:
    rig.start("x")
    rig.source.emit(10)
    rig.kill()
    lines: list[str] = []
    eventually(lambda: lines.extend(rig.captures.tend()) or lines)
    assert "was started again" in lines[0]
    rig.source.emit(5)
    eventually(lambda: rig.committed() == 15)
    assert rig.captures.status()["recorder"] == "running"
    rig.captures.stop()
    assert rig.captures.status()["lost_records"] == 0


def test_a_recorder_that_keeps_dying_is_started_ever_later(rig: Rig) -> None:
    rig.start("x")
    rig.kill()
    eventually(rig.captures.tend)  # at once
    rig.kill()
    eventually(lambda: rig.captures.tend() or rig.captures.status()["recorder"] == "restarting")
    assert rig.captures.tend() == []  # a second later
    assert "packets wait in the ring" in rig.captures.status()["message"]
    rig.monotonic.pass_s(1)
    assert rig.captures.tend()
    assert rig.captures.status()["recorder"] == "running"


def test_a_stop_while_the_recorder_is_away_loses_nothing(rig: Rig) -> None:
    rig.start("x")
    rig.kill()
    rig.source.emit(10)
    rig.captures.stop()
    status = rig.captures.status()
    assert (status["committed_records"], status["lost_records"]) == (10, 0)
    assert rig.stream_json()["state"] == "complete"


@pytest.mark.parametrize(
    ("manner", "why"), [("", "the disk is full"), ("wordless", "No space left on device")]
)
def test_a_recorder_that_gives_up_ends_the_capture_and_is_quoted(
    rig: Rig, manner: str, why: str
) -> None:
    if manner:
        rig.misbehave(manner)
    rig.start("x")
    rig.source.emit(10)
    eventually(lambda: rig.committed() == 10)
    rig.misbehave("fail")
    eventually(lambda: not rig.recording())
    rig.source.emit(7)
    eventually(rig.captures.tend)
    status = rig.captures.status()
    assert (status["active"], status["recorder"]) == (False, "failed")
    assert status["message"] == f"Capture [x] was stopped, its recorder failed: {why}."
    assert status["lost"]["disk"] == 7
    assert not rig.source.active


def test_a_recorder_that_hangs_is_named(rig: Rig) -> None:
    rig.start("x")
    os.kill(rig.pid(), signal.SIGSTOP)
    report = recorder.report(rig.store / "streams" / STREAM)
    assert report is not None
    rig.monotonic.ns = report.heartbeat_ns + 20 * 10**9
    rig.captures.tend()
    assert "has not reported for" in rig.captures.status()["message"]
    os.kill(rig.pid(), signal.SIGCONT)


def test_a_recorder_that_cannot_drain_is_ended_and_the_stream_recovered(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "STOP_PATIENCE_S", 0.2)
    rig.start("x")
    rig.source.emit(10)
    eventually(lambda: rig.committed() == 10)
    os.kill(rig.pid(), signal.SIGSTOP)
    rig.source.emit(5)
    rig.captures.stop()
    assert rig.stream_json()["state"] == "recovered"
    assert rig.captures.status()["lost"]["unknown"] == 5
    assert "did not end cleanly" in rig.captures.status()["message"]


def test_the_next_daemon_takes_a_running_capture_over(rig: Rig) -> None:
    rig.start("x")
    pid = rig.pid()
    rig.captures = rig.daemon()
    assert "still running" in rig.captures.adopt()[0]
    assert (rig.captures.running, rig.pid()) == ("x", pid)
    rig.source.emit(10)
    rig.captures.stop()
    assert rig.captures.status()["committed_records"] == 10


def test_the_next_daemon_restarts_a_recorder_that_died_with_the_last(rig: Rig) -> None:
    rig.start("x")
    rig.source.emit(10)
    rig.kill()
    rig.captures = rig.daemon()
    assert "goes on" in rig.captures.adopt()[0]
    eventually(lambda: rig.committed() == 10)
    rig.captures.stop()
    assert rig.stream_json()["state"] == "complete"


def test_after_a_reboot_the_stream_is_recovered(rig: Rig) -> None:
    rig.start("x")
    rig.source.emit(10)
    eventually(lambda: rig.committed() == 10)
    rig.kill()
    rig.boot = "second"
    rig.source.active = False  # a new kernel has new maps
    rig.source.states = [abi.CpuState()]
    rig.captures = rig.daemon()
    assert "had been interrupted" in rig.captures.adopt()[0]
    assert rig.captures.running is None
    assert rig.stream_json()["state"] == "recovered"
    assert rig.captures.status()["committed_records"] == 10


def test_a_stop_cut_short_leaves_nothing_in_the_ring(rig: Rig) -> None:
    rig.start("x")
    rig.kill()
    rig.source.emit(10)
    rig.source.active = False  # the daemon died here, the recorder had before
    rig.captures = rig.daemon()
    rig.captures.adopt()
    assert rig.captures.running is None
    assert rig.captures.status()["committed_records"] == 10


def test_a_recorder_whose_ring_is_gone_is_ended(rig: Rig) -> None:
    rig.start("x")
    rig.source.active = False
    rig.captures = rig.daemon()
    rig.captures.adopt()
    assert not rig.recording()
    assert rig.stream_json()["state"] == "complete"  # it drained what there was


def test_while_the_interface_is_awaited_a_running_capture_goes_on(rig: Rig) -> None:
    rig.start("x")
    rig.source.there = False
    rig.captures = rig.daemon()
    rig.captures.adopt(waiting=True)
    assert rig.captures.running == "x"
    rig.source.there = True
    assert rig.captures.adopt() == []
    assert rig.captures.running == "x"


def test_while_the_interface_is_awaited_a_dead_recorder_is_no_reason_to_give_up(rig: Rig) -> None:
    rig.start("x")
    rig.kill()
    rig.source.there = False
    rig.captures = rig.daemon()
    assert rig.captures.adopt(waiting=True) == []
    assert rig.stream_json()["state"] == "recording"
    rig.source.there = True
    assert rig.captures.adopt()
    assert rig.captures.running == "x"


def test_emission_that_nobody_records_is_switched_off(rig: Rig) -> None:
    rig.source.active = True
    assert "switched off" in rig.captures.adopt()[0]
    assert not rig.source.active


def test_the_last_captures_numbers_survive_the_daemon(rig: Rig) -> None:
    rig.start("x")
    rig.source.emit(10, lost=2)
    rig.captures.stop()
    before = rig.captures.status()
    rig.captures = rig.daemon()
    rig.captures.adopt()
    assert rig.captures.status() == before


def test_of_several_captures_the_latest_is_shown(rig: Rig) -> None:
    for name in ("old", "new"):
        rig.start(name)
        rig.captures.stop()
        rig.utc.pass_s(3600)
    rig.captures = rig.daemon()
    rig.captures.adopt()
    assert rig.captures.status()["name"] == "new"


def test_before_any_capture_there_are_only_zeros(rig: Rig) -> None:
    status = rig.captures.status()
    assert (status["active"], status["name"], status["stream"]) == (False, None, None)
    assert status["received_packets"] == status["lost_records"] == 0


def test_only_the_streams_own_recorder_is_found(rig: Rig) -> None:
    rig.start("x")
    other = rig.store / "streams" / "other"
    other.mkdir()
    assert recorder.find(other) is None


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
    eventually(lambda: not rig.recording())
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
    eventually(lambda: not rig.recording())
    rig.captures = rig.daemon()
    assert rig.captures.adopt() == [f"capture [x] ended: 10 packets reached ({STREAM})."]
    assert not rig.source.active
    assert rig.captures.status()["committed_records"] == 10


def test_a_stop_after_the_cap_tells_of_the_cap(rig: Rig) -> None:
    rig.start("x", caps=Caps(max_packets=10))
    rig.source.emit(20)
    eventually(lambda: not rig.recording())
    stopped = rig.captures.stop()
    assert stopped.summary is not None
    assert (stopped.summary["packets"], stopped.summary["lost_records"]) == (10, 0)
    assert rig.captures.status()["ended"] == "max-packets"


def test_the_message_of_a_cap_survives_the_daemon(rig: Rig) -> None:
    rig.start("x", caps=Caps(max_packets=10))
    rig.source.emit(20)
    eventually(lambda: not rig.recording())
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
    for at in range(4):
        rig.source.emit(10 * (at + 1))
        eventually(lambda at=at: rig.committed() == 10 * (at + 1))
        rig.captures.tend()
        rig.utc.pass_s(60)
        rig.captures.roll()
    rig.captures.stop()
    assert_chain(rig, [10, 20, 30, 40, 0], [0, 0, 0, 0, 0])


def test_the_next_daemon_completes_a_roll(rig: Rig) -> None:
    rig.start("x")
    rig.source.emit(10)
    eventually(lambda: rig.committed() == 10)
    rig.captures.tend()
    os.kill(rig.pid(), signal.SIGUSR1)
    eventually(lambda: not rig.recording())
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
    eventually(lambda: not rig.recording())
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
    eventually(lambda: rig.captures.tend() or not rig.captures.running)
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
    shutil.rmtree(rig.store / "streams")
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
    eventually(lambda: not rig.recording())
    (line,) = rig.captures.tend()
    assert "somebody else told it to end" in line
    assert rig.stream_json()["ended"] == "signal"


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
    eventually(lambda: rig.captures.tend() or not rig.captures.running)
    assert rig.captures.status()["committed_records"] == 5  # ten were there before
    one, other = streams(rig)
    assert (one["ended"], one["state"]) == ("interrupted", "recovered")
    assert (one["continued_by"], other["continues"]) == (other["stream"], one["stream"])


def test_an_interrupted_capture_whose_caps_are_used_up_does_not(rig: Rig) -> None:
    rig.start("x", caps=Caps(max_packets=10))
    rig.source.emit(10)
    eventually(lambda: not rig.recording())
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
