"""Requests in clear: refused before anything is read, redirected where a person reads."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from web_fakes import NOW_NS, PASSWORD, FakeControl, write_users

from fwdcap.config import Clear
from webui import create_app
from webui.context import context
from webui.headers import SECURITY

pytestmark = pytest.mark.unit

LOGIN = ("fwdcap", PASSWORD)
SECURE = "https://appliance:8443"
CLEAR = "http://appliance:8443"
FAMILIES = ("/sysmaster/status", "/plain/list", "/pcap/single?StreamName=x")


def client(store: Path, clear: Clear, https: bool = True) -> FlaskClient:
    write_users(store)
    app = create_app(
        store, FakeControl(store), now_ns=lambda: NOW_NS, clock=time.monotonic, clear=clear,
        https=https,
    )  # fmt: skip
    app.extensions["asked"] = asked = list[str]()
    with app.app_context():
        users = context().users
    verify = users.verify
    users.verify = lambda name, *more: (asked.append(name), verify(name, *more))[1]  # type: ignore[method-assign]
    return app.test_client()


def asked(client: FlaskClient) -> list[str]:
    """Whose credentials were looked at."""
    found: list[str] = client.application.extensions["asked"]
    return found


@pytest.mark.parametrize("path", [*FAMILIES, "/api/v1/pcap/timerange", "/live.json", "/nothing"])
def test_in_clear_nothing_is_served_and_no_credentials_are_read(tmp_path: Path, path: str) -> None:
    one = client(tmp_path, "none")
    answer = one.get(path, base_url=CLEAR, auth=LOGIN)
    assert answer.status_code == (307 if path == "/nothing" else 403)
    assert "WWW-Authenticate" not in answer.headers
    if answer.status_code == 403:
        assert "use https" in answer.text
    assert asked(one) == []
    assert one.get(path, base_url=SECURE, auth=LOGIN).status_code not in (307, 403)
    assert asked(one)


def test_a_refusal_has_the_shape_of_its_family(tmp_path: Path) -> None:
    one = client(tmp_path, "none")
    status = one.get("/sysmaster/status", base_url=CLEAR)
    assert status.get_json()["Status"] is False
    assert one.get("/plain/list", base_url=CLEAR).mimetype == "text/plain"
    assert one.get("/live.json", base_url=CLEAR).get_json()["error"]["code"] == "use-https"


@pytest.mark.parametrize(
    ("asked_for", "sent_to"),
    [
        ("/", "/"),
        ("/login?next=/files", "/login?next=/files"),
        ("/capture?a=b%26c&d=%C3%A9", "/capture?a=b%26c&d=%C3%A9"),
        ("/files//x", "/files/x"),
        ("/a%0d%0aSet-Cookie:%20x", "/a%0D%0ASet-Cookie%3A%20x"),
    ],
)
def test_a_page_is_redirected_to_itself(tmp_path: Path, asked_for: str, sent_to: str) -> None:
    one = client(tmp_path, "none")
    for method in ("GET", "HEAD"):
        answer = one.open(asked_for, base_url=CLEAR, method=method)
        assert (answer.status_code, answer.headers["Location"]) == (307, f"{SECURE}{sent_to}")


def test_what_changes_something_is_never_redirected(tmp_path: Path) -> None:
    one = client(tmp_path, "none")
    answer = one.post("/login", base_url=CLEAR, data={"name": "fwdcap", "password": PASSWORD})
    assert answer.status_code == 403
    assert asked(one) == []
    assert "Set-Cookie" not in answer.headers


def test_without_https_there_is_nowhere_to_send_a_reader(tmp_path: Path) -> None:
    one = client(tmp_path, "none", https=False)
    answer = one.get("/capture", base_url=CLEAR)
    assert answer.status_code == 403
    assert "[web] tls" in answer.text


@pytest.mark.parametrize("path", FAMILIES)
def test_the_api_may_be_let_in(tmp_path: Path, path: str) -> None:
    one = client(tmp_path, "api")
    assert one.get(path, base_url=CLEAR, auth=LOGIN).status_code in (200, 404)
    assert one.get(path, base_url=CLEAR).status_code == 401


def test_with_the_api_let_in_pages_still_are_not(tmp_path: Path) -> None:
    one = client(tmp_path, "api")
    assert one.get("/capture", base_url=CLEAR, auth=LOGIN).status_code == 307
    assert one.get("/live.json", base_url=CLEAR, auth=LOGIN).status_code == 403
    assert one.get("/api/v1/pcap/timerange", base_url=CLEAR, auth=LOGIN).status_code == 403
    assert asked(one) == []


@pytest.mark.parametrize("clear", ["none", "api"])
def test_load_balancers_may_ask_in_clear(tmp_path: Path, clear: Any) -> None:
    assert client(tmp_path, clear).get("/healthz", base_url=CLEAR).status_code == 200


def test_every_refusal_carries_the_security_headers(tmp_path: Path) -> None:
    one = client(tmp_path, "none")
    for path in ("/plain/list", "/capture"):
        headers = one.get(path, base_url=CLEAR).headers
        assert SECURITY.items() <= dict(headers).items()


def test_the_session_cookie_is_for_https_alone(tmp_path: Path) -> None:
    answer = client(tmp_path, "none").get("/login", base_url=SECURE)
    assert "Secure;" in answer.headers["Set-Cookie"]


def test_on_loopback_everything_is_as_it_was(tmp_path: Path) -> None:
    one = client(tmp_path, "all", https=False)
    assert one.get("/plain/list", auth=LOGIN).status_code == 200
    assert "Secure" not in one.get("/login").headers["Set-Cookie"]
