"""The pages' process: its socket, its command line, its restarts."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from control_fakes import OURSELVES, eventually

from fwdcap.capture.accounts import Account
from fwdcap.control import webchild, webprocess
from fwdcap.control.webprocess import WebOrder, WebProcess
from fwdcap.errors import Invalid, Unavailable

pytestmark = pytest.mark.unit

SERVER = """\
import socket, sys
fd = int(sys.argv[sys.argv.index("--listen") + 1].removeprefix("fd:"))
listener = socket.socket(fileno=fd)
while True:
    connection, _ = listener.accept()
    connection.sendall(" ".join(sys.argv[1:]).encode())
    connection.close()
"""


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebProcess]:
    """A web process that answers each connection with its own arguments."""
    (tmp_path / "fakeweb.py").write_text(SERVER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    account = Account("tester", os.getuid(), os.getgid(), switch=False)
    order = WebOrder(tmp_path, tmp_path / "c.sock", "UTC", account, module="fakeweb")
    web = WebProcess(order, webprocess.listen("127.0.0.1:0"))
    yield web
    web.stop()


def ask(web: WebProcess) -> str:
    with socket.create_connection(web._listener.getsockname(), 10) as connection:
        return connection.makefile().read()


def test_the_process_gets_socket_store_and_zone(web: WebProcess, tmp_path: Path) -> None:
    web.start(0)
    fd = web._listener.fileno()
    said = ask(web)
    place = f"--store {tmp_path} --control {tmp_path}/c.sock"
    how = f"--listen fd:{fd} --zone UTC --logins {{}} --clear all"
    assert said == f"{place} {how}"


def test_a_request_waits_while_it_is_restarted(web: WebProcess) -> None:
    web.start(0)
    ask(web)
    child = web._child
    assert child is not None
    os.kill(child.pid, signal.SIGKILL)
    eventually(lambda: web.tend(1))
    assert web.tend(1) == []  # started at once
    assert ask(web)


def test_one_that_keeps_dying_is_started_ever_later(web: WebProcess) -> None:
    web.start(0)
    lines: list[str] = []
    for _ in range(2):
        child = web._child
        assert child is not None
        child.kill()
        child.wait()
        lines += web.tend(1)
        web.tend(1)
    assert lines == [
        "The web process ended (signal 9) and is started again at once.",
        "The web process ended (signal 9) and is started again in 1 s.",
    ]
    assert web._child is None
    web.tend(2)
    assert web._child is not None


def test_stop_ends_it(web: WebProcess) -> None:
    web.start(0)
    child = web._child
    web.stop()
    assert child is not None
    assert child.returncode is not None


def test_it_does_not_outlive_the_daemon(tmp_path: Path) -> None:
    """The launcher asks the kernel for that; a parent that has gone already ends it at once."""
    account = ["--uid", str(os.getuid()), "--gid", str(os.getgid())]
    command = [sys.executable, "-m", "fwdcap.control.webchild", *account, "--parent", "1"]
    marker = tmp_path / "ran"
    child = os.spawnve(
        os.P_WAIT,
        sys.executable,
        [*command, "--", "/usr/bin/touch", str(marker)],
        webprocess.environment(os.environ),
    )
    assert child != 0
    assert not marker.exists()


def test_the_password_is_not_handed_down() -> None:
    kept = webprocess.environment({"FWDCAP_ADMIN_PASSWORD": "secret", "LANG": "C"})
    assert "FWDCAP_ADMIN_PASSWORD" not in kept
    assert kept["LANG"] == "C"


def test_our_code_is_found_wherever_we_run() -> None:
    kept = webprocess.environment({"PYTHONPATH": "/else"})
    assert kept["PYTHONPATH"].split(":") == [str(Path(webprocess.__file__).parents[2]), "/else"]


def test_a_port_in_use_is_refused() -> None:
    with webprocess.listen("127.0.0.1:0") as first:
        port = first.getsockname()[1]
        with pytest.raises(Unavailable, match=f"cannot be served on 127.0.0.1:{port}"):
            webprocess.listen(f"127.0.0.1:{port}")
        assert webprocess.url(first) == f"http://127.0.0.1:{port}/"


def test_an_inherited_socket_is_used() -> None:
    with socket.create_server(("127.0.0.1", 0)) as outer:
        inner = webprocess.listen(f"fd:{outer.fileno()}")
        assert inner.getsockname() == outer.getsockname()
        inner.detach()


def test_what_nothing_listens_on_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(Invalid, match="not a socket"):
        webprocess.listen(f"fd:{file.fileno()}")
    with socket.socket() as idle, pytest.raises(Invalid, match="nothing listens"):
        webprocess.listen(f"fd:{idle.fileno()}")
    with pytest.raises(Invalid, match="Bad file descriptor"):
        webprocess.listen("fd:9999")


def test_directories_behind_a_wall_are_grouped_by_it(tmp_path: Path) -> None:
    wall = tmp_path / "root"
    needed = [wall / "code", wall / "venv"]
    for directory in needed:
        directory.mkdir(parents=True)
    wall.chmod(0o700)
    found = webchild.hidden([*needed, Path("/usr"), wall / "missing"], Account("x", 4242, 4242))
    (place,) = found
    assert place in (wall, *wall.parents)
    assert found[place] == tuple(needed)


def test_nothing_is_hidden_from_its_owner(tmp_path: Path) -> None:
    owner = Account("owner", tmp_path.stat().st_uid, tmp_path.stat().st_gid)
    assert webchild.hidden([Path("/usr/bin")], owner) == {}
    assert webchild.hidden([Path("/usr/bin")], OURSELVES) == {}


def test_a_steady_process_starts_anew_at_no_delay(web: WebProcess) -> None:
    web.start(0)
    for moment in (100.0, 200.0):
        child = web._child
        assert child is not None
        child.kill()
        child.wait()
        assert web.tend(moment)[0].endswith("at once.")
        web.tend(moment)
