"""Users, tokens and the audit log on the control socket: who may, and what is written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_control_server import ROOT, STRANGER, WEB, FakeService, ask

from fwdcap.control.client import FROM_HEADER, USER_HEADER
from fwdcap.control.whoasks import REPORTS, WEB_MAY
from fwdcap.errors import NotFound

pytestmark = pytest.mark.unit

HEADERS = {USER_HEADER: "ann", FROM_HEADER: "192.0.2.9"}
ANN = {"name": "ann", "role": "viewer", "password": "correct horse"}


@pytest.fixture
def service(tmp_path: Path) -> FakeService:
    made = FakeService(tmp_path)
    made.access.people._hash_of = lambda password: "h"
    made.access.people.user_add({**ANN, "name": "fwdcap", "role": "admin"})
    return made


def rows(service: FakeService) -> list[tuple[str, str, str, str, str]]:
    keys = ("who", "from", "what", "target", "result")
    return [tuple(row[key] for key in keys) for row in reversed(service.access.audit.last(99))]  # type: ignore[misc]


def test_users_and_tokens_come_and_go(service: FakeService) -> None:
    assert ask(service, WEB, "POST", "/users", json=ANN).status_code == 200
    assert ask(service, WEB, "PATCH", "/users/ann", json={"role": "operator"}).status_code == 200
    made = ask(service, WEB, "POST", "/tokens", json={"name": "ci", "user": "ann"}).json
    assert made["role"] == "operator"
    assert made["token"]
    assert [each["name"] for each in ask(service, WEB, "GET", "/users").json["users"]] == [
        "fwdcap",
        "ann",
    ]
    assert [each["name"] for each in ask(service, WEB, "GET", "/tokens").json["tokens"]] == ["ci"]
    assert ask(service, WEB, "DELETE", "/tokens/ci").status_code == 200
    assert ask(service, WEB, "DELETE", "/users/ann").status_code == 200
    assert ask(service, WEB, "DELETE", "/users/ann").status_code == 404


def test_strangers_may_nothing_of_it(service: FakeService) -> None:
    for method, path in WEB_MAY:
        answer = ask(service, STRANGER, method, path.replace("<name>", "fwdcap"), json={})
        assert answer.status_code == 403, (method, path)


def test_whatever_changes_something_is_written_down(service: FakeService) -> None:
    def asked(method: str, path: str, **of: Any) -> None:
        ask(service, WEB, method, path, headers=HEADERS, **of)

    asked("POST", "/capture", json={"name": "x"})
    asked("DELETE", "/capture")
    asked("PUT", "/schedule", json={"rows": []})
    asked("DELETE", "/streams/x_20270115_0800")
    asked("POST", "/users", json=ANN)
    asked("POST", "/users", json=ANN)
    asked("DELETE", "/tokens/none")
    asked("POST", "/datapath/attach", json={"interface": "cap0"})
    asked("GET", "/status")
    service.problem = NotFound("There is none.", code="no-such-stream")
    asked("DELETE", "/streams/y_20270115_0800")
    assert [row[2:] for row in rows(service)] == [
        ("capture-start", "x", "done"),
        ("capture-stop", "", "done"),
        ("schedule", "", "done"),
        ("delete", "x_20270115_0800", "done"),
        ("user-add", "ann", "done"),
        ("user-add", "ann", "user-exists"),
        ("token-remove", "none", "no-such-token"),
        ("attach", "cap0", "done"),
        ("delete", "y_20270115_0800", "no-such-stream"),
    ]
    assert {row[:2] for row in rows(service)} == {("ann", "192.0.2.9")}


def test_headers_count_only_from_the_web(service: FakeService) -> None:
    ask(service, ROOT, "DELETE", "/capture", headers=HEADERS)
    assert rows(service) == [("root", "command line", "capture-stop", "", "done")]


def test_the_web_process_is_never_written_down_as_root(service: FakeService) -> None:
    ask(service, WEB, "DELETE", "/capture")
    assert rows(service) == [("(web process)", "", "capture-stop", "", "done")]


def test_passwords_are_never_written_down(service: FakeService, tmp_path: Path) -> None:
    ask(service, WEB, "POST", "/users", json=ANN, headers=HEADERS)
    token = ask(service, WEB, "POST", "/tokens", json={"name": "ci", "user": "ann"}).json["token"]
    ask(service, WEB, "POST", "/pam", json={"name": "ann", "password": ANN["password"]})
    text = (tmp_path / "audit.jsonl").read_text()
    assert ANN["password"] not in text
    assert token not in text


@pytest.mark.parametrize("what", sorted(REPORTS))
def test_the_web_reports_what_it_saw(service: FakeService, what: str) -> None:
    event = {"who": "ann", "from": "192.0.2.9", "what": what, "target": "t", "result": "r"}
    assert ask(service, WEB, "POST", "/audit", json=event).status_code == 200
    assert rows(service) == [("ann", "192.0.2.9", what, "t", "r")]


@pytest.mark.parametrize(
    ("peer", "what"), [(WEB, "delete"), (WEB, ""), (WEB, "user-add"), (ROOT, "login")]
)
def test_nothing_else_can_be_reported(service: FakeService, peer: str, what: str) -> None:
    assert ask(service, peer, "POST", "/audit", json={"what": what}).status_code == 403
    assert rows(service) == []


def test_the_log_is_read_from_its_end(service: FakeService) -> None:
    for _ in range(3):
        ask(service, ROOT, "DELETE", "/capture")
    assert len(ask(service, WEB, "GET", "/audit?last=2").json["events"]) == 2
    assert len(ask(service, WEB, "GET", "/audit").json["events"]) == 3
    for text in ("x", "-1", "1e9", "9" * 20):
        assert ask(service, WEB, "GET", f"/audit?last={text}").status_code == 400
