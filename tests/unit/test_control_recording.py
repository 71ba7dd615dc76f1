"""Captures and schedule as the daemon's verbs: limits, rolls, rows, reboots."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
from control_fakes import STREAM, Clock, FakeMachine, eventually

from fwdcap import abi
from fwdcap.capture import adoption, recorder
from fwdcap.config import Settings
from fwdcap.control import service as service_module
from fwdcap.control.recording import managed_rows, roll_time
from fwdcap.control.service import Service
from fwdcap.errors import Conflict, Invalid

if TYPE_CHECKING:
    from control_fixtures import Make

pytest_plugins = ["control_fixtures"]
pytestmark = pytest.mark.unit

ALL = {"name": "all", "always": True}


@pytest.fixture
def make(make: Make) -> Make:
    """Daemons that have been started."""

    def one(**of: object) -> Service:
        daemon = make(**of)
        daemon.start()
        return daemon

    return one


def committed(daemon: Service) -> int:
    count: int = daemon.status()["capture"]["committed_records"]
    return count


def ended(daemon: Service) -> bool:
    """Whether the capture has, after another second of the daemon's."""
    daemon.tend()
    return not daemon.running


def test_limits_are_kept_and_told(make: Make, machine: FakeMachine) -> None:
    daemon = make()
    daemon.capture_start("x", max_packets=10)
    machine.paths["cap0"].emit(30)
    eventually(lambda: ended(daemon))
    status = daemon.status()["capture"]
    assert (status["committed_records"], status["caps"]) == (10, {"max_packets": 10})
    (found,) = daemon.captures()["captures"]
    assert (found["ended"], found["message"]) == (
        "max-packets",
        "capture [x] ended: 10 packets reached",
    )


def test_a_capture_that_failed_is_a_warning(make: Make, machine: FakeMachine) -> None:
    daemon = make()
    daemon.capture_start("x")
    machine.paths["cap0"].emit(10)
    (machine.paths["cap0"].directory / "fail").touch()
    eventually(lambda: ended(daemon))
    assert "capture-failed" in [each["code"] for each in daemon.status()["warnings"]]


def test_a_capture_rolls_when_asked(make: Make, machine: FakeMachine, clock: Clock) -> None:
    daemon = make()
    daemon.capture_start("x")
    machine.paths["cap0"].emit(10)
    eventually(lambda: committed(daemon) == 10)
    clock.pass_s(61)
    assert daemon.capture_roll()["stream"] == "x_20270115_0801"
    new, old = daemon.captures()["captures"]
    assert (old["continued_by"], new["continues"]) == (new["stream"], old["stream"])


def test_rows_start_and_stop_captures(make: Make) -> None:
    daemon = make()
    assert daemon.schedule()["rows"] == []
    daemon.schedule_put([ALL], 0)
    assert "[all] began" in daemon.tend()[0]
    assert daemon.status()["capture"]["schedule"] == "all"
    daemon.capture_stop()
    assert daemon.tend() == []
    assert daemon.schedule()["rows"][0]["state"] == "stopped"


def test_the_end_of_the_daemon_is_no_stop(make: Make) -> None:
    daemon = make()
    daemon.schedule_put([ALL], 0)
    daemon.tend()
    daemon.capture_stop(pressed=False)
    daemon = make()
    assert "[all] began late" in daemon.tend()[0]


def test_waiting_rows_are_a_warning(make: Make) -> None:
    daemon = make()
    daemon.capture_start("x")
    daemon.schedule_put([ALL], 0)
    daemon.tend()
    assert [each["code"] for each in daemon.status()["warnings"]] == ["schedule-waiting"]


def reboot(
    daemon: Service, machine: FakeMachine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorder is dead, the data path new, the clock an hour later."""
    found = recorder.find(daemon.settings.store.path / "streams" / STREAM)
    assert found is not None
    found.send(signal.SIGKILL)
    assert found.ended_within(10)
    found.close()
    path = machine.paths["cap0"]
    path.active, path.states = False, [abi.CpuState()]
    (path.directory / "records").unlink(missing_ok=True)
    clock.pass_s(3600)
    monkeypatch.setattr(adoption, "BOOT_ID", daemon.settings.store.path / "boot")
    (daemon.settings.store.path / "boot").write_text("another\n")


def test_after_a_reboot_a_capture_goes_on_as_a_new_stream(
    make: Make, machine: FakeMachine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = make()
    daemon.capture_start("x", 96, max_packets=1000)
    reboot(daemon, machine, clock, monkeypatch)
    daemon = make()
    status = daemon.status()["capture"]
    assert (status["active"], status["stream"]) == (True, "x_20270115_0900")
    assert (status["continues"], status["snaplen"]) == (STREAM, 96)
    assert status["caps"] == {"max_packets": 1000}
    _, old = daemon.captures()["captures"]
    assert (old["ended"], old["continued_by"]) == ("interrupted", "x_20270115_0900")


def test_after_a_reboot_a_rows_capture_goes_on_only_inside_its_window(
    make: Make, machine: FakeMachine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = make()
    short = {"name": "x", "days": "daily", "start": "08:00", "stop": "08:30"}
    daemon.schedule_put([short], 0)
    daemon.tend()
    reboot(daemon, machine, clock, monkeypatch)
    daemon = make()
    assert daemon.running is None
    assert daemon.tend() == []


def test_while_one_change_takes_its_time_another_is_refused_and_status_answers(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = make()
    daemon.capture_start("x")
    monkeypatch.setattr(service_module, "_BUSY_S", 0.05)
    going, done = threading.Event(), threading.Event()

    def drain(pressed: bool) -> dict[str, Any]:
        going.set()
        done.wait(10)
        return {}

    monkeypatch.setattr(daemon._recording, "stop", drain)
    thread = threading.Thread(target=daemon.capture_stop)
    thread.start()
    going.wait(10)
    assert daemon.status()["capture"]["active"]
    assert daemon.tend() == []
    for verb in (daemon.capture_stop, daemon.capture_roll, lambda: daemon.capture_start("y")):
        with pytest.raises(Conflict, match=r"\[x\] is being started or ended"):
            verb()
    done.set()
    thread.join()


def test_rows_of_the_settings_are_managed() -> None:
    rows = [{"name": "a", "always": True}, {"name": "b", "days": "mon", "start": "1", "stop": "2"}]
    (row,) = managed_rows(Settings.model_validate({"schedule": rows[:1]}))
    assert (row.name, row.managed) == ("a", True)
    with pytest.raises(Invalid, match=r"\[\[schedule\]\] of the settings, row 2 \[b\]: start"):
        managed_rows(Settings.model_validate({"schedule": rows}))


def test_the_roll_time_of_the_settings() -> None:
    assert str(roll_time(Settings())) == "00:00:00"
    assert roll_time(Settings.model_validate({"capture": {"roll": ""}})) is None
