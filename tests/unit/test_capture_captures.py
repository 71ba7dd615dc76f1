"""Captures with a real process for a recorder: nothing lost, whoever dies."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from capture_rig import ROUTES, Rig
from control_fakes import STARTED_NS, STREAM, eventually
from fake_recorder import OFFSET_NS

from fwdcap import abi
from fwdcap.capture import recorder, session
from fwdcap.errors import Conflict, DiskFull, Invalid, Unavailable
from fwdcap.store.stream_json import interface_list

pytest_plugins = ["control_fixtures"]
pytestmark = pytest.mark.unit


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


def test_what_interfaces_counted_before_the_capture_is_not_its_own(rig: Rig) -> None:
    inline, egress = (3, abi.Mode.INLINE), (3, abi.Mode.EGRESS)
    rig.source.by_interface = {inline: (100, 5)}
    rig.start("x")
    rig.source.emit(10)
    rig.source.by_interface = {inline: (108, 6), egress: (2, 0)}
    rig.captures.stop()
    counted: object = rig.stream_json()["counters"]["interfaces"]  # type: ignore[index]
    assert counted == interface_list({inline: (8, 1), egress: (2, 0)})


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
    eventually(lambda: [rig.captures.tend(), rig.captures.status()["recorder"]][1] == "restarting")
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
    rig.gone()
    rig.source.emit(7)
    eventually(lambda: rig.captures.tend() and rig.captures.running is None)
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


def test_a_stop_waits_as_long_as_the_recorder_gets_on(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "STOP_PATIENCE_S", 0.2)
    rig.start("x")
    rig.source.emit(10)
    rig.misbehave("slow")
    threading.Timer(1, rig.behave, ["slow"]).start()
    rig.captures.stop()
    assert rig.stream_json()["state"] == "complete"
    assert rig.captures.status()["lost_records"] == 0


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


def test_a_stop_cut_short_has_the_numbers_of_one_that_was_not(rig: Rig) -> None:
    key = (3, abi.Mode.INLINE)
    rig.source.by_interface = {key: (100, 5)}
    rig.start("x")
    rig.source.emit(30, lost=2)
    rig.source.states[0].received_packets = 12  # three copies of most
    rig.source.by_interface = {key: (130, 7)}
    rig.kill()
    rig.source.active = False
    rig.captures = rig.daemon()
    rig.captures.adopt()
    status, counted = rig.captures.status(), rig.stream_json()["counters"]
    assert (status["received_packets"], status["committed_records"]) == (12, 30)
    assert status["lost"] == {"ring-full": 2, "copy": 0, "disk": 0, "unknown": 0}
    assert counted["interfaces"] == interface_list({key: (30, 2)})  # type: ignore[index]


def test_a_capture_killed_before_it_emitted_has_no_earlier_ones_numbers(rig: Rig) -> None:
    rig.start("x")
    rig.source.emit(30, lost=2)
    rig.captures.stop()
    states, written = rig.source.states, rig.source.directory / "records"
    written.write_text("0")
    stream = rig.start("x").stream
    rig.source.states, rig.source.active = states, False  # as if not yet activated
    rig.captures = rig.daemon()
    rig.captures.adopt()
    status = rig.captures.status()
    assert (status["stream"], status["received_packets"]) == (stream, 0)
    assert (status["committed_records"], status["lost_records"]) == (0, 0)


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


def test_a_clock_that_is_set_is_noted_once(rig: Rig) -> None:
    """The stream keeps its time; what it is then off by stands in stream.json."""
    rig.clock_is_set = True
    rig.utc.ns = OFFSET_NS
    rig.start("x")
    assert rig.captures.tend() == []
    rig.utc.pass_s(-3600)
    (line,) = rig.captures.tend()
    assert line.startswith("The clock was set back by 3600.0 s; x_")
    for _ in range(3):
        rig.utc.pass_s(1)
        rig.monotonic.pass_s(1)
        assert rig.captures.tend() == []
    rig.utc.pass_s(7200)
    assert "forward by 7200.0 s" in rig.captures.tend()[0]
    stream = rig.captures.stream
    assert stream is not None
    steps = rig.stream_json(stream)["clock_steps"]
    assert [step["by_ns"] for step in steps] == [-3600 * 10**9, 7200 * 10**9]
    assert steps[0]["at_ns"] == OFFSET_NS
    rig.captures.stop()
