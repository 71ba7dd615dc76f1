"""The daemon's life: signals, locks, what it says."""

from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from control_fakes import Clock, FakeMachine, service, settings

from fwdcap.control import daemon, host
from fwdcap.control.daemon import Signals
from fwdcap.errors import Conflict, Forbidden, Unavailable

pytestmark = pytest.mark.unit


def test_a_signal_ends_the_wait() -> None:
    with Signals((signal.SIGTERM, signal.SIGINT)) as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.wait(10) == signal.SIGTERM


def test_a_signal_in_the_middle_of_the_wait_ends_it() -> None:
    with Signals((signal.SIGINT,)) as signals:
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        assert signals.wait(10) == signal.SIGINT
        timer.join()


def test_no_signal_is_none_and_others_do_not_count() -> None:
    with Signals((signal.SIGTERM,)) as signals:
        assert signals.wait(0) is None
        old = signal.signal(signal.SIGUSR1, lambda number, frame: None)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert signals.wait(0.05) is None
        signal.signal(signal.SIGUSR1, old)


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Signals((signal.SIGTERM,)):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_one_daemon_a_store(tmp_path: Path) -> None:
    with (
        daemon.only_daemon(tmp_path / "c.sock"),
        pytest.raises(Conflict, match="Another fwdcap daemon runs here"),
        daemon.only_daemon(tmp_path / "c.sock"),
    ):
        pass
    with daemon.only_daemon(tmp_path / "c.sock"):
        pass


def test_a_second_daemon_is_told_of_the_first_and_not_of_its_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "effective_capabilities", lambda: -1)
    monkeypatch.setattr(host, "kernel_release", lambda: "6.1.0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        asked = settings(tmp_path)
        asked = asked.model_copy(update={"web": asked.web.model_copy(update={"listen": place})})
        with pytest.raises(Unavailable, match="Address already in use"):
            daemon.run(asked, print, {}, FakeMachine(tmp_path))
        with (
            daemon.only_daemon(asked.control.socket),
            pytest.raises(Conflict, match="Another fwdcap daemon runs here"),
        ):
            daemon.run(asked, print, {}, FakeMachine(tmp_path))


def test_a_place_without_room_for_a_lock_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(Unavailable, match="cannot be made"),
        daemon.only_daemon(tmp_path / "file" / "c.sock"),
    ):
        pass


@pytest.mark.parametrize(
    ("capabilities", "release", "kind"),
    [(0, "6.1.0", Forbidden), (-1, "5.15.0", Unavailable)],
)
def test_it_refuses_before_anything_is_touched(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capabilities: int,
    release: str,
    kind: type[Exception],
) -> None:
    monkeypatch.setattr(host, "effective_capabilities", lambda: capabilities)
    monkeypatch.setattr(host, "kernel_release", lambda: release)
    machine = FakeMachine(tmp_path)
    with pytest.raises(kind):
        daemon.run(settings(tmp_path), print, {}, machine)
    assert not machine.mounted
    assert not (tmp_path / "store").exists()


class Ended:
    """A service at the end of its life."""

    def __init__(self, running: str | None, attached: bool) -> None:
        self.running = running
        self.datapath_attached = attached
        self.stopped = False

    def capture_stop(self, pressed: bool) -> dict[str, Any]:
        assert not pressed
        self.stopped = True
        return {"message": f"successfully stopped capture [{self.running}]"}


@pytest.mark.parametrize(
    ("received", "stopped", "said"),
    [
        (signal.SIGINT, True, "Successfully stopped capture [aX]."),
        (signal.SIGTERM, False, "Capture [aX] goes on recording"),
        (signal.SIGHUP, False, "Capture [aX] goes on recording"),
    ],
)
def test_ctrl_c_stops_the_capture_and_a_supervisor_leaves_it(
    received: signal.Signals, stopped: bool, said: str
) -> None:
    lines: list[str] = []
    service = Ended("aX", attached=True)
    daemon._end(service, received, lines.append)  # type: ignore[arg-type]
    assert service.stopped is stopped
    assert lines[0].startswith(said)
    assert "fwdcap datapath detach" in lines[1]


def test_without_capture_and_data_path_there_is_nothing_to_say() -> None:
    lines: list[str] = []
    daemon._end(Ended(None, attached=False), signal.SIGINT, lines.append)  # type: ignore[arg-type]
    assert lines == []


def introduce(root: Path, password: str | None = None, **of: Any) -> str:
    machine = FakeMachine(root)
    machine.plug("cap0")
    one = service(root, machine, Clock(), **of)
    lines: list[str] = []
    daemon._introduce(one, one.start(), "http://127.0.0.1:8080/", password, lines.append)
    one.close()
    return "\n".join(lines)


def test_it_says_what_a_person_wants_to_know(tmp_path: Path) -> None:
    said = introduce(tmp_path, "s3cret")
    for part in (
        "cap0, 10.0.0.100/24, generic mode: the driver has no native XDP",
        "demo: 10.0.0.1 -> 10.0.0.100 -> 10.0.0.2, inline",
        "http://127.0.0.1:8080/ as user fwdcap",
        "s3cret",
    ):
        assert part in said


def test_it_says_what_does_not_work_yet(tmp_path: Path) -> None:
    said = introduce(tmp_path, interface="late0", routes=None)
    assert "Interface late0 is not there yet. Nothing is forwarded." in said
    assert "none: nothing is relayed" in said
    assert "password" not in said
