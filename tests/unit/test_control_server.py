"""Client and server over a real socket: who may ask what, and errors on their way back."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_fakes import ACCOUNTS

from fwdcap.capture.accounts import Accounts
from fwdcap.config import Settings
from fwdcap.control.client import Client
from fwdcap.control.server import ControlServer, create_app
from fwdcap.control.whoasks import Access
from fwdcap.errors import Conflict, DiskFull, Forbidden, FwdcapError, Invalid, Unavailable

pytestmark = pytest.mark.unit

WEB_UID = 4242
ROOT, WEB, STRANGER = "uid=0", f"uid={WEB_UID}", "uid=4243"


class FakeService:
    """Answers every verb with its name, or raises `problem`."""

    accounts: Accounts = ACCOUNTS

    def __init__(self, store: Path) -> None:
        self.access = Access.of(Settings(), ACCOUNTS.web, store=store, utc_ns=lambda: 7)
        self.problem: Exception | None = None
        self.asked: list[Any] = []

    def _answer(self, *what: Any) -> dict[str, Any]:
        if self.problem:
            raise self.problem
        self.asked.append(what)
        return {"verb": what[0]}

    def status(self) -> Any:
        return self._answer("status")

    def captures(self) -> Any:
        return self._answer("captures")

    def routes(self) -> Any:
        return self._answer("routes")

    def datapath(self) -> Any:
        return self._answer("datapath")

    def doctor(self) -> Any:
        return self._answer("doctor")

    def store(self) -> Any:
        return self._answer("store")

    def capture_start(self, name: str, **sizes: int | None) -> Any:
        given = {key: size for key, size in sizes.items() if size is not None}
        return self._answer("capture_start", name, given)

    def capture_roll(self) -> Any:
        return self._answer("capture_roll")

    def schedule(self) -> Any:
        return self._answer("schedule")

    def schedule_put(self, rows: object, revision: int | None) -> Any:
        return self._answer("schedule_put", rows, revision)

    def capture_stop(self) -> Any:
        return self._answer("capture_stop")

    def stream_delete(self, stream: str) -> Any:
        return self._answer("stream_delete", stream)

    def datapath_attach(self, interface: str) -> Any:
        return self._answer("datapath_attach", interface)

    def datapath_detach(self, interface: str | None) -> Any:
        return self._answer("datapath_detach", interface)

    def interfaces(self) -> Any:
        return self._answer("interfaces")


@pytest.fixture
def service(tmp_path: Path) -> FakeService:
    return FakeService(tmp_path)


@pytest.fixture
def server(service: FakeService, tmp_path: Path) -> Iterator[ControlServer]:
    server = ControlServer(service, tmp_path / "c.sock")  # type: ignore[arg-type]
    server.start()
    yield server
    server.close()


@pytest.fixture
def client(server: ControlServer, tmp_path: Path) -> Client:
    return Client(tmp_path / "c.sock")


def ask(service: FakeService, peer: str, method: str, path: str, **of: Any) -> Any:
    app = create_app(service, WEB_UID)  # type: ignore[arg-type]
    return app.test_client().open(
        path, method=method, environ_overrides={"REMOTE_ADDR": peer}, **of
    )


def test_each_verb_arrives(client: Client, service: FakeService) -> None:
    assert client.status() == {"verb": "status"}
    for verb in (client.captures, client.routes, client.datapath, client.doctor):
        verb()
    client.capture_start("x")
    client.capture_start("x", 96, max_bytes=10**10, max_packets=7, max_seconds=60)
    client.capture_stop()
    client.capture_roll()
    client.schedule()
    client.schedule_put([{"name": "all", "always": True}], 3)
    client.schedule_put([])
    client.stream_delete("x_20270115_0800-2")
    client.datapath_attach("cap0")
    client.datapath_detach()
    client.datapath_detach("cap0")
    client.interfaces()
    assert service.asked[5:] == [
        ("capture_start", "x", {}),
        (
            "capture_start",
            "x",
            {"snaplen": 96, "max_bytes": 10**10, "max_packets": 7, "max_seconds": 60},
        ),
        ("capture_stop",),
        ("capture_roll",),
        ("schedule",),
        ("schedule_put", [{"name": "all", "always": True}], 3),
        ("schedule_put", [], None),
        ("stream_delete", "x_20270115_0800-2"),
        ("datapath_attach", "cap0"),
        ("datapath_detach", None),
        ("datapath_detach", "cap0"),
        ("interfaces",),
    ]


@pytest.mark.parametrize("kind", [Invalid, Conflict, Unavailable, DiskFull, FwdcapError])
def test_a_refusal_arrives_as_it_was(
    client: Client, service: FakeService, kind: type[FwdcapError]
) -> None:
    service.problem = kind("It is so.", code="so", hint="Do otherwise.")
    with pytest.raises(kind) as raised:
        client.status()
    assert type(raised.value) is kind
    assert (raised.value.message, raised.value.code, raised.value.hint) == (
        "It is so.",
        "so",
        "Do otherwise.",
    )


def test_a_defect_is_no_traceback(client: Client, service: FakeService) -> None:
    service.problem = ZeroDivisionError("division by zero")
    with pytest.raises(FwdcapError, match="could not do that") as raised:
        client.status()
    assert "division" not in str(raised.value)


def test_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="not running") as raised:
        Client(tmp_path / "c.sock").status()
    assert raised.value.code == "daemon-not-running"


def test_a_socket_left_behind_is_no_daemon(server: ControlServer, tmp_path: Path) -> None:
    os.link(tmp_path / "c.sock", tmp_path / "old.sock")
    server.close()
    with pytest.raises(Unavailable, match="not running"):
        Client(tmp_path / "old.sock").status()


def test_the_socket_goes_with_the_server(server: ControlServer, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "c.sock").stat().st_mode) == 0o660
    server.close()
    assert not (tmp_path / "c.sock").exists()


def test_a_socket_that_cannot_be_made_is_refused(service: FakeService, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be made"):
        ControlServer(service, tmp_path / ("x" * 120))  # type: ignore[arg-type]


def test_the_socket_is_found_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FWDCAP_CONTROL", str(tmp_path / "e.sock"))
    assert Client().socket == tmp_path / "e.sock"
    assert Client(tmp_path / "a.sock").socket == tmp_path / "a.sock"
    monkeypatch.delenv("FWDCAP_CONTROL")
    assert Client().socket == Path("/run/fwdcap/control.sock")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/status"),
        ("GET", "/captures"),
        ("GET", "/routes"),
        ("GET", "/datapath"),
        ("DELETE", "/capture"),
        ("DELETE", "/streams/x_20270115_0800"),
        ("GET", "/interfaces"),
        ("POST", "/datapath/attach"),
        ("POST", "/datapath/detach"),
    ],
)
def test_the_web_may_what_pages_need(service: FakeService, method: str, path: str) -> None:
    body = {"json": {"interface": "cap0"}} if method == "POST" else {}
    assert ask(service, WEB, method, path, **body).status_code == 200


@pytest.mark.parametrize("body", [{}, {"interface": None}, [], ["interface"]])
def test_the_web_must_name_what_it_detaches(service: FakeService, body: Any) -> None:
    answer = ask(service, WEB, "POST", "/datapath/detach", json=body)
    assert (answer.status_code, answer.json["error"]["code"]) == (400, "bad-request")
    assert service.asked == []
    assert ask(service, ROOT, "POST", "/datapath/detach", json={}).status_code == 200


@pytest.mark.parametrize(("method", "path"), [("GET", "/doctor")])
def test_the_web_may_nothing_else(service: FakeService, method: str, path: str) -> None:
    answer = ask(service, WEB, method, path, json={"interface": "cap0"})
    assert answer.status_code == 403
    assert answer.json["error"]["code"] == "not-permitted"
    assert service.asked == []
    assert ask(service, ROOT, method, path, json={"interface": "cap0"}).status_code == 200


@pytest.mark.parametrize("peer", [STRANGER, "localhost", ""])
def test_strangers_may_nothing(service: FakeService, peer: str) -> None:
    assert ask(service, peer, "GET", "/status").status_code == 403


def test_a_stranger_is_turned_away_at_the_socket(server: ControlServer, client: Client) -> None:
    server._server._admitted = frozenset()
    with pytest.raises(Forbidden, match="may not use the control socket"):
        client.status()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": 7},
        {"name": "x", "snaplen": "96"},
        {"name": "x", "snaplen": True},
        {"name": "x", "max_bytes": "1GB"},
        [],
    ],
)
def test_a_bad_body_is_named(service: FakeService, body: Any) -> None:
    answer = ask(service, ROOT, "POST", "/capture", json=body)
    assert (answer.status_code, answer.json["error"]["code"]) == (400, "bad-request")


@pytest.mark.parametrize("body", [{}, {"rows": [], "revision": "3"}, []])
def test_a_bad_schedule_body_is_named(service: FakeService, body: Any) -> None:
    answer = ask(service, ROOT, "PUT", "/schedule", json=body)
    assert (answer.status_code, answer.json["error"]["code"]) == (400, "bad-request")


def test_what_is_not_there_is_not_found(service: FakeService) -> None:
    assert ask(service, ROOT, "GET", "/nothing").status_code == 404
    assert ask(service, ROOT, "PUT", "/capture").status_code == 405
